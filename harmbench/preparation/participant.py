"""What a preparation records of a subject: the numbers of quality control, notes, and the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harmbench.cohorts.whole_subjects import read_record
from harmbench.errors import PreparationError
from harmbench.notes import Note
from harmbench.preparation.qc.numbers import SessionNumbers
from harmbench.storage import write_text

__all__ = ["Participant", "read_participant", "write_participants"]

_PARTICIPANTS = "participants.tsv"


class Participant(BaseModel):
    """A prepared subject.

    Attributes:
        participant_id: its folder, such as `sub-01`.
        group: cohort group.
        numbers: of each session.
        picture: file name of its figure.
        notes: on its raw scans; empty in data sets of earlier versions.
    """

    model_config = ConfigDict(frozen=True)

    participant_id: str
    group: str
    numbers: tuple[SessionNumbers, ...]
    picture: str
    notes: tuple[Note, ...] = ()


def read_participant(root: Path, folder: str) -> Participant:
    """Read the record of a prepared subject.

    Args:
        root: the data set.
        folder: the subject's folder in it.

    Raises:
        PreparationError: the record is missing or damaged.
    """
    record = read_record(root, folder)
    try:
        if record is not None:
            return Participant.model_validate(record.participant)
    except ValidationError:
        pass
    raise PreparationError(f"{root / folder}: its record is missing or damaged")


def write_participants(root: Path, people: Sequence[Participant]) -> None:
    """Write `participants.tsv`: participant_id and group of each finished subject."""
    lines = ["participant_id\tgroup", *(f"{p.participant_id}\t{p.group}" for p in people)]
    write_text(root / _PARTICIPANTS, "\n".join(lines) + "\n")
