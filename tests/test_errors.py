"""What errors say."""

import pytest

from harmbench.errors import CohortError, RunError, describe


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


def test_many_problems_of_one_kind_are_condensed() -> None:
    grids = [
        f"subject s{n}: session A has shape (1, 2, {n}), session B has (3, 2, 1)" for n in range(30)
    ]
    others = ["line 3: path is empty", "subject x y is odd"]
    error = CohortError("the cohort cannot be used:", [*grids, *others])
    lines = str(error).splitlines()
    assert len(error.problems) == 32
    assert len(lines) == 1 + 3 + 1 + 2
    assert lines[4] == "  - and 27 more like this"
    assert lines[5:] == [f"  - {other}" for other in others]
    few = CohortError("no:", grids[:20])
    assert len(str(few).splitlines()) == 21
