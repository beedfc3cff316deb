"""The record of a prepared subject: written once, read by every later preparation."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmbench.cohorts.whole_subjects import publish, record
from harmbench.errors import PreparationError
from harmbench.notes import Note
from harmbench.preparation.participant import Participant, read_participant
from harmbench.preparation.qc.numbers import SessionNumbers

PERSON = Participant(
    participant_id="sub-01",
    group="HC",
    numbers=(
        SessionNumbers(session="A", mask_ml=1400.0, bias_range=1.1),
        SessionNumbers(session="B", mask_ml=1390.5, bias_range=1.2, mask_change=-0.7),
    ),
    picture="sub-01.png",
    notes=(Note("odd", "the header is odd", "subject 1, session A"),),
)


def publish_person(root: Path, row: dict[str, object]) -> None:
    made = root / "new"
    (made / "sub-01").mkdir(parents=True)
    (made / "sub-01" / "scan.nii").write_text("data")
    publish(made, root, "sub-01", row, "key")


def test_a_record_comes_back(tmp_path: Path) -> None:
    publish_person(tmp_path, PERSON.model_dump(exclude_none=True))
    assert read_participant(tmp_path, "sub-01") == PERSON
    assert "null" not in record(tmp_path, "sub-01").read_text()


def test_a_record_of_an_earlier_version_has_no_notes(tmp_path: Path) -> None:
    publish_person(tmp_path, PERSON.model_dump(exclude_none=True, exclude={"notes"}))
    assert read_participant(tmp_path, "sub-01").notes == ()


def test_a_record_that_lacks_something_is_damaged(tmp_path: Path) -> None:
    publish_person(tmp_path, {"participant_id": "sub-01", "group": "HC"})
    with pytest.raises(PreparationError, match="sub-01: its record is missing or damaged"):
        read_participant(tmp_path, "sub-01")
    with pytest.raises(PreparationError, match="sub-02: its record is missing or damaged"):
        read_participant(tmp_path, "sub-02")
