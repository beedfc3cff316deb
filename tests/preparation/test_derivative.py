"""Names of subjects and sessions as BIDS labels."""

import pytest

from harmbench.errors import CohortError
from harmbench.preparation.derivative import labels


def test_names_become_labels() -> None:
    assert labels(["sub-01", "1.5T", "a-b"], "subject") == {
        "sub-01": "01",
        "1.5T": "1p5T",
        "a-b": "ab",
    }


@pytest.mark.parametrize("pair", [("a-1", "a1"), ("1.5T", "1p5T"), ("A1", "a1")])
def test_names_that_share_a_label_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(CohortError, match=f"becomes the same as {pair[0]}"):
        labels(pair, "subject")
