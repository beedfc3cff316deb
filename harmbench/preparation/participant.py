"""What a preparation records of a subject: the numbers of quality control, notes, and the picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from harmbench.cohorts.covariates import GROUP, PEOPLE, Covariate
from harmbench.cohorts.whole_subjects import read_record
from harmbench.errors import PreparationError
from harmbench.notes import Note
from harmbench.preparation.qc.numbers import SessionNumbers
from harmbench.storage import write_json, write_text

__all__ = ["Participant", "read_participant", "write_participants"]


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


def write_participants(
    root: Path,
    people: Mapping[str, Participant],
    covariates: Mapping[str, Covariate] = MappingProxyType({}),
) -> None:
    """Write `participants.tsv`: participant_id, group and covariates of each finished subject.

    `participants.json` declares the covariates that are categories, so that codes stay categories.

    Args:
        root: the data set.
        people: subject to its record.
        covariates: of the cohort; the group is written without it.
    """
    others = {name: own for name, own in covariates.items() if name != GROUP}
    lines = ["\t".join(("participant_id", "group", *others))]
    for subject, person in people.items():
        values = [own.by_subject.get(subject, "n/a") for own in others.values()]
        lines.append("\t".join((person.participant_id, person.group, *values)))
    write_text(root / PEOPLE, "\n".join(lines) + "\n")
    levels = {
        name: {"Levels": {label: label for label in sorted(set(own.by_subject.values()))}}
        for name, own in others.items()
        if own.kind == "category"
    }
    if levels:
        write_json((root / PEOPLE).with_suffix(".json"), levels)
