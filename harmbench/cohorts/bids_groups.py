"""The group of each subject of a BIDS folder, where one person may have several sub- labels."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harmbench.cohorts.alike import folded
from harmbench.cohorts.bids_names import BidsFile, Listing
from harmbench.cohorts.bids_sessions import Identity
from harmbench.cohorts.bids_tables import StudyTables
from harmbench.cohorts.left_out import LeftOut
from harmbench.cohorts.participants import EVERYBODY, Participants, other_tables
from harmbench.errors import CohortError
from harmbench.notes import Note

__all__ = ["groups_of", "same_person_notes"]

_PERSONS = r"person|individual|travell?er"
_ANSWERS = {"", "yes", "no", "y", "n", "true", "false", "0", "1"}
_SHOWN = 3

Key = tuple[str, str]
"""Subject and session."""


def groups_of(
    folder: Path,
    people: Participants | None,
    listing: Listing,
    chosen: Mapping[Key, tuple[Identity, BidsFile]],
    left_out: Sequence[LeftOut],
    problems: list[str],
) -> tuple[dict[str, str], list[Note]]:
    """Return each subject's group, and notes on those who have no scan.

    Args:
        folder: root of the data set.
        people: participants.tsv; `None` where there is none.
        listing: the folder.
        chosen: the scans, by (subject, session).
        left_out: scans that are not used for a reason that is given elsewhere.
        problems: gets a line for each subject that is not listed, or has two groups.
    """
    members = _members(chosen)
    used = {label for labels in members.values() for label in labels}
    told = {item.where.split("_")[0] for item in left_out}
    lost = [s for s in listing.subjects if s not in used]
    text = "no scan of it fits"
    notes = [Note("subject-without-scan", text, f"subject {s}") for s in lost if s not in told]
    subjects = sorted(members)
    if people is None:
        return dict.fromkeys(subjects, EVERYBODY), [*notes, *other_tables(folder)]
    text = "listed in participants.tsv, has no folder"
    absent = [s for s in people.groups if s not in listing.subjects]
    # Those that .bidsignore leaves out have a folder; a note counts their images.
    # `Path.is_dir` raises for a label that is too long for a folder's name.
    absent = [s for s in absent if not os.path.isdir(folder / s)]  # noqa: PTH112
    notes += [Note("participant-without-scan", text, f"subject {s}") for s in absent]
    if people.grouped:
        problems += [
            f"participants.tsv does not list {s}{_lists(s, absent)}"
            for s in sorted(used)
            if s not in people.groups
        ]
        problems += [people.twice[s] for s in sorted(used) if s in people.twice]
    notes += [n for n in people.notes if n.where.removeprefix("subject ") not in {*absent, *lost}]
    groups = {}
    for subject in subjects:
        own = {people.groups.get(label, EVERYBODY): label for label in members[subject]}
        groups[subject] = next(iter(own))
        if len(own) > 1:
            each = " and ".join(f"'{group}' ({label})" for group, label in own.items())
            problems.append(f"subject {subject} has two groups in participants.tsv: {each}")
    return groups, notes


def same_person_notes(
    chosen: Mapping[Key, tuple[Identity, BidsFile]], tables: StudyTables
) -> list[Note]:
    """Note columns of participants.tsv that may say that several subjects are one person.

    Args:
        chosen: the scans, by (subject, session).
        tables: of the data set.
    """
    notes = []
    labels = {file.subject: (own.subject, file) for own, file in chosen.values()}
    for column in tables.columns("participants.tsv"):
        if not re.search(_PERSONS, column.casefold()):
            continue
        people: dict[str, set[str]] = defaultdict(set)
        for subject, file in labels.values():
            with suppress(CohortError):
                people[tables.value(file, "participants.tsv", column, of_person=True) or ""].add(
                    subject
                )
        several = [
            value
            for value, subjects in people.items()
            if len(subjects) > 1 and value.casefold() not in _ANSWERS
        ]
        if several:
            text = (
                f"{len(several)} values of {column} stand for several subjects each, such as "
                f"'{several[0]}'; where they are persons, one may be in training and in test: "
                f"--subject-by {column} makes each person one subject"
            )
            notes.append(Note("persons-with-several-labels", text, "participants.tsv"))
    return notes


def _lists(subject: str, absent: Sequence[str]) -> str:
    """Say what a table lists in the place of a subject: another spelling, else labels without folder."""
    # `Sub-01` and `sub_01` have another prefix than BIDS: they are shown as they stand.
    bare = [label.removeprefix("sub-") for label in absent]
    plain = [b if b[:3].casefold() == "sub" else s for b, s in zip(bare, absent, strict=True)]
    for label, shown in zip(absent, plain, strict=True):
        if re.sub("^(sub)+", "", folded(label)) == folded(subject).removeprefix("sub"):
            return f"; '{shown}' in it is another spelling"
    first = ", ".join(f"'{own}'" for own in plain[:_SHOWN])
    more = f" and {len(plain) - _SHOWN} more" if len(plain) > _SHOWN else ""
    return f"; it lists {first}{more}, without a folder" if first else ""


def _members(chosen: Mapping[Key, tuple[Identity, BidsFile]]) -> dict[str, dict[str, None]]:
    """Return the sub- labels that each subject stands under."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for own, file in chosen.values():
        found[own.subject][file.subject] = None
    return found
