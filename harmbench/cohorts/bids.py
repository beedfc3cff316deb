"""A cohort from a BIDS folder, raw or derivative."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.bids_choice import choose, differing, mask_of, matching, unused_masks
from harmbench.cohorts.bids_names import ENTITIES, BidsFile, Listing, Unknown, list_images
from harmbench.cohorts.bids_sessions import PREPARED, session_of
from harmbench.cohorts.bids_settings import BidsSettings, short_name
from harmbench.cohorts.masks import missing_masks
from harmbench.cohorts.participants import (
    EVERYBODY,
    Participants,
    other_tables,
    read_participants,
    similar_groups,
)
from harmbench.errors import CohortError, suggest
from harmbench.files.sidecars import odd_sidecars, simulated_among
from harmbench.files.text import read_object
from harmbench.notes import Note

__all__ = ["BidsSettings", "read_bids"]

_DESCRIPTION = "dataset_description.json"

Key = tuple[str, str]
"""Subject and session."""


def read_bids(folder: Path, settings: BidsSettings | None = None) -> Cohort:
    """Read a BIDS folder.

    A sidecar field's value becomes the session's label; a field strength gets its nominal value and
    the unit (`1.5T`). Scans that `harmbench prepare` made are found without further settings, and
    their sessions keep their names. The brain mask of a scan has desc `brain`, suffix `mask`, and
    otherwise the scan's own entities and folder.

    Raises:
        CohortError: not a BIDS folder, no scan matches, or lists every problem: a file name that is
            not understood, a sidecar field that is missing, several files that fit one session, a
            subject that is not in participants.tsv.
    """
    folder = folder.absolute()
    settings = settings or BidsSettings()
    described, notes = _described(folder)
    people = read_participants(folder, settings.group_column)
    listing = list_images(folder)
    preparation = described.get("Preparation")
    if isinstance(preparation, Mapping) and people is not None:
        listing, found = _without_withdrawn(listing, people)
        notes += found
    files, found = _files(folder, listing, settings)
    notes += found
    problems: list[str] = []
    sessions, found = _by_session(files, settings, problems)
    notes += found
    chosen: dict[Key, BidsFile] = {}
    for key, options in sorted(sessions.items()):
        try:
            chosen[key] = choose(options, settings.run)
        except CohortError as error:
            problems.append(f"subject {key[0]}, session {key[1]}: {error}")
    notes += _strangers(listing, settings.suffix, files, problems)
    groups, found = _groups(people, listing, sessions, problems)
    notes += (*found, *similar_groups(groups.values()))
    notes += other_tables(folder) if people is None else []
    scans, found = _with_masks(chosen, files, listing, problems)
    notes += found
    if problems:
        raise CohortError(f"{folder} cannot be used:", problems)
    paths = [scan.path for scan in scans.values()]
    simulated, partly = simulated_among(paths)
    notes += (*partly, *odd_sidecars(paths), *_mixed(chosen, settings))
    title = str(described.get("Name") or folder.name)
    return Cohort(
        name="bids",
        path=folder,
        description=f"{'SIMULATED scans of ' * simulated}{len(groups)} subjects of the BIDS data "
        f"set “{title}”",
        simulated=simulated,
        groups=groups,
        scans=scans,
        citation=_citation(described),
        title=title,
        preparation=preparation.get("settings") if isinstance(preparation, Mapping) else None,
        notes=tuple(notes),
    )


def _described(folder: Path) -> tuple[dict[str, Any], list[Note]]:
    path = folder / _DESCRIPTION
    if not os.path.lexists(path):
        raise CohortError(f"{folder}: not a BIDS folder, it has no {_DESCRIPTION}")
    found, notes = read_object(path)
    return found, list(notes)


def _without_withdrawn(listing: Listing, people: Participants) -> tuple[Listing, list[Note]]:
    """Leave out subjects that an earlier preparation wrote and the last one did not include."""
    gone = [subject for subject in listing.subjects if subject not in people.groups]
    text = "left by an earlier preparation and not in participants.tsv; it is not used"
    kept = Listing(
        tuple(s for s in listing.subjects if s not in gone),
        tuple(f for f in listing.files if f.subject not in gone),
        tuple(u for u in listing.unknown if u.subject not in gone),
    )
    return kept, [Note("withdrawn-subject", text, f"subject {subject}") for subject in gone]


def _files(
    folder: Path, listing: Listing, settings: BidsSettings
) -> tuple[list[BidsFile], list[Note]]:
    """Return the files that may be the scans."""
    suffixed = [file for file in listing.files if file.suffix == settings.suffix]
    wanted = settings.wanted()
    known = {entity for file in suffixed for entity in file.entities}
    unknown = [entity for entity in wanted if entity not in {*known, *ENTITIES.values()}]
    if unknown:
        raise CohortError(f"data.bids.entities.{unknown[0]}: {suggest(unknown[0], known)}")
    if "desc" not in wanted and any(f.entities.get("desc") == PREPARED for f in suffixed):
        wanted["desc"] = PREPARED
    files, notes = matching(suffixed, wanted)
    if files:
        return files, notes
    asked = [f"suffix {settings.suffix}", *(f"{k} {v or 'absent'}" for k, v in wanted.items())]
    there = {file.suffix for file in listing.files}
    there |= {f"{key}-{v}" for f in suffixed for key, v in f.entities.items() if key in wanted}
    odd = [f"{u.path}: {u.reason}" for u in listing.unknown]
    raise CohortError(
        f"{folder}: no scan with {', '.join(asked)}; "
        + (suggest(settings.suffix, there) if there else "there is no image with a name of BIDS")
        + (f"; {len(odd)} images are not understood:" if odd else ""),
        odd,
    )


def _by_session(
    files: Sequence[BidsFile], settings: BidsSettings, problems: list[str]
) -> tuple[dict[Key, list[BidsFile]], list[Note]]:
    by = settings.session_by
    by = "label" if short_name(by) == "ses" else short_name(by)
    found: dict[Key, list[BidsFile]] = defaultdict(list)
    notes: list[Note] = []
    for file in files:
        try:
            label, own = session_of(file, by)
        except CohortError as error:
            problems.append(f"{file.path.name}: {error}")
        else:
            found[file.subject, label].append(file)
            notes += own
    return found, notes


def _strangers(
    listing: Listing, suffix: str, files: Sequence[BidsFile], problems: list[str]
) -> list[Note]:
    """Note files that are not understood; report a problem where a subject would lose a scan."""
    known = {(file.subject, file.session) for file in files}
    notes = []
    near = [
        Unknown(f.path, f"its suffix is '{f.suffix}', not '{suffix}'", f.subject, f.session)
        for f in listing.files
        if f.suffix != suffix and _stem(f.suffix) == _stem(suffix)
    ]
    like_scan = re.compile(rf"(^|[^0-9a-z]){re.escape(_stem(suffix))}", re.IGNORECASE)
    for one in (*listing.unknown, *near):
        like = like_scan.search(one.path.name)
        person = one.subject.casefold().startswith("sub")
        if like and person and (one.subject, one.session) not in known:
            problems.append(f"{one.path}: not understood, {one.reason}; rename or remove it")
        else:
            notes.append(Note("file-not-understood", one.reason, str(one.path)))
    return notes


def _stem(suffix: str) -> str:
    """`t1` of `T1w`, `T1W` and `t1`."""
    return suffix.casefold().removesuffix("w")


def _groups(
    people: Participants | None,
    listing: Listing,
    sessions: Iterable[Key],
    problems: list[str],
) -> tuple[dict[str, str], list[Note]]:
    """Return each subject's group, and notes on subjects without a scan."""
    subjects = sorted({subject for subject, _ in sessions})
    lost = [s for s in listing.subjects if s not in subjects]
    notes = [Note("subject-without-scan", "no scan of it fits", f"subject {s}") for s in lost]
    if people is None:
        return dict.fromkeys(subjects, EVERYBODY), notes
    text = "listed in participants.tsv, has no folder"
    absent = [s for s in people.groups if s not in listing.subjects]
    notes += [Note("participant-without-scan", text, f"subject {s}") for s in absent]
    if people.grouped:
        problems += [
            f"participants.tsv does not list {s}" for s in subjects if s not in people.groups
        ]
    notes += [n for n in people.notes if n.where.removeprefix("subject ") not in {*absent, *lost}]
    return {s: people.groups.get(s, EVERYBODY) for s in subjects}, notes


def _with_masks(
    chosen: Mapping[Key, BidsFile],
    files: Sequence[BidsFile],
    listing: Listing,
    problems: list[str],
) -> tuple[dict[Key, Scan], list[Note]]:
    beside: dict[Path, list[BidsFile]] = defaultdict(list)
    for file in listing.files:
        beside[file.path.parent].append(file)
    scans = {}
    for (subject, session), file in chosen.items():
        mask = None
        try:
            mask = mask_of(file, beside[file.path.parent])
        except CohortError as error:
            problems.append(f"subject {subject}, session {session}: {error}")
        scans[subject, session] = Scan(subject, session, file.path, mask)
    kind, text = "mask-without-scan", "the brain mask has not the entities of any scan; not used"
    folders = sorted({file.path.parent for file in files})
    notes = [Note(kind, text, str(m)) for where in folders for m in unused_masks(beside[where])]
    return scans, [*notes, *missing_masks({key: scan.mask for key, scan in scans.items()})]


def _mixed(chosen: Mapping[Key, BidsFile], settings: BidsSettings) -> list[Note]:
    """Note the entities in which the scans of one session differ across subjects."""
    sessions: dict[str, list[BidsFile]] = defaultdict(list)
    for (_, session), file in chosen.items():
        sessions[session].append(file)
    return [
        Note("entities-differ", f"scans differ in {entity}-: {counts}", f"session {session}")
        for session, files in sorted(sessions.items())
        for entity, counts in differing(files, short_name(settings.session_by))
    ]


def _citation(described: Mapping[str, Any]) -> str:
    parts = [described.get("HowToAcknowledge"), described.get("DatasetDOI")]
    return "; ".join(part for part in parts if isinstance(part, str) and part)
