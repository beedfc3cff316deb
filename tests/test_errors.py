"""What errors say."""

import pytest

from harmbench.errors import RunError, describe


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(), "ValueError"),
        (MemoryError(), "MemoryError"),
        (KeyError("x"), "KeyError: 'x'"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (RunError("a folder is locked"), "a folder is locked"),
    ],
)
def test_every_error_has_words(error: Exception, told: str) -> None:
    assert describe(error) == told
