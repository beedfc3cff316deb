"""A cohort from a BIDS folder, raw or derivative."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harmbench.cohorts.alike import spelling_notes
from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.bids_choice import (
    chosen_scans,
    differing,
    for_scanner,
)
from harmbench.cohorts.bids_groups import groups_of, same_person_notes
from harmbench.cohorts.bids_ignore import IGNORE_FILE
from harmbench.cohorts.bids_masks import lesions_of, mask_of, unused_masks
from harmbench.cohorts.bids_names import BidsFile, Listing, Unknown, list_images
from harmbench.cohorts.bids_selection import select
from harmbench.cohorts.bids_sessions import PREPARED, Identity, identify
from harmbench.cohorts.bids_settings import BidsSettings, short_name
from harmbench.cohorts.bids_tables import StudyTables
from harmbench.cohorts.left_out import LeftOut, grouped
from harmbench.cohorts.masks import missing_masks
from harmbench.cohorts.participants import Participants, read_participants
from harmbench.cohorts.proposal import require_clear_scanners
from harmbench.errors import CohortError
from harmbench.files.field_strength import FIELD, nominal_label, parse_tesla
from harmbench.files.sidecars import field_text, odd_sidecars, sidecar_fields, simulated_among
from harmbench.files.text import label_text, read_object
from harmbench.notes import Note

__all__ = ["BidsSettings", "read_bids"]

_DESCRIPTION = "dataset_description.json"
_SOFTWARE = "SoftwareVersions"

Key = tuple[str, str]
"""Subject and session."""


def read_bids(folder: Path, settings: BidsSettings | None = None) -> Cohort:
    """Read a BIDS folder.

    What says the scanner is the ses- label, or what `settings` name: a pattern, sidecar fields,
    columns of tables. A field strength gets its nominal value and the unit (`1.5T`). Scans that
    `harmbench prepare` made are found by themselves, and keep their scanners and visits. A scan's
    mask has suffix `mask`, desc `brain` (of lesions: label `lesion`), and else its entities and folder.

    Raises:
        UnclearScannersError: nothing says the scanners, and the ses- labels are not them.
        CohortError: not a BIDS folder, no scan matches, or lists every problem: a file name that is
            not understood, a sidecar field that is missing, several files that fit one visit, a
            subject that is not in participants.tsv, or that has two groups.
    """
    folder = folder.absolute()
    settings = settings or BidsSettings()
    described, notes = _described(folder)
    people = read_participants(folder, settings.group_column)
    tables = StudyTables(folder)
    listing = list_images(folder)
    preparation = described.get("Preparation")
    if isinstance(preparation, Mapping) and people is not None:
        listing, found = _without_withdrawn(listing, people)
        notes += found
    selection = select(folder, listing, settings, tables)
    gaps = tables.without_row(selection.found)
    files, notes = selection.files, [*notes, *tables.notes, *selection.notes, *gaps]
    require_clear_scanners(folder, files, settings, tables)
    identified = identify(files, settings, tables)
    problems = list(identified.problems)
    identities, lost = for_scanner(identified.scans, settings.per_scanner)
    chosen, others = chosen_scans(identities, settings.run, problems)
    left_out = [*selection.left_out, *identified.left_out, *lost, *others]
    notes += [*identified.notes, *_ignored(listing, folder)]
    notes += _strangers(listing, selection.suffix, selection.found, problems)
    groups, found = groups_of(folder, people, listing, chosen, left_out, problems)
    notes += [*found, *same_person_notes(chosen, tables)]
    scans, lesions, found = _scans(chosen, files, listing, tables, problems)
    notes += [*found, *spelling_notes(groups, (own.scanner for own in scans.values()))]
    if not scans or problems:
        raise CohortError(f"{folder} cannot be used:", problems or _why_nothing(left_out))
    paths = [scan.path for scan in scans.values()]
    simulated, partly = simulated_among(paths)
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
        notes=(*notes, *partly, *odd_sidecars(paths), *_mixed(chosen, settings)),
        left_out=tuple(left_out),
        lesions=lesions,
    )


def _ignored(listing: Listing, folder: Path) -> list[Note]:
    """Count what `.bidsignore` leaves out."""
    text = f"{listing.ignored} images are left out by it"
    return [Note("bidsignore", text, str(folder / IGNORE_FILE))] if listing.ignored else []


def _why_nothing(left_out: Iterable[LeftOut]) -> list[str]:
    return [
        f"{group.count} scans are left out: {group.reason} (the first: {group.where[0]})"
        for group in grouped(left_out)
    ] or ["there is no scan"]


def _described(folder: Path) -> tuple[dict[str, object], list[Note]]:
    path = folder / _DESCRIPTION
    if not os.path.lexists(path):
        inner = sorted(p.parent.name for p in folder.glob(f"*/{_DESCRIPTION}"))
        hint = f"; {' and '.join(inner)} below it has one" if inner else ""
        raise CohortError(f"{folder}: not a BIDS folder, it has no {_DESCRIPTION}{hint}")
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
        listing.ignored,
    )
    return kept, [Note("withdrawn-subject", text, f"subject {subject}") for subject in gone]


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
        own = {(one.subject, one.session), *_named(one.path)}
        if like and person and not own <= known:
            problems.append(f"{one.path}: not understood, {one.reason}; rename or remove it")
        else:
            notes.append(Note("file-not-understood", one.reason, str(one.path)))
    return notes


def _named(path: Path) -> set[tuple[str, str]]:
    """Subject and session by a file's name alone; empty where it names no subject."""
    name = label_text(path.name)
    subject = re.search(r"(?:^|_)(sub-[^_]+)_", name)
    session = re.search(r"_ses-([^_]+)_", name)
    return {(subject[1], session[1] if session else "")} if subject else set()


def _stem(suffix: str) -> str:
    """`t1` of `T1w`, `T1W`, `t1` and `T1w_defaced`."""
    return suffix.partition("_")[0].casefold().removesuffix("w")


def _scans(
    chosen: Mapping[Key, tuple[Identity, BidsFile]],
    files: Sequence[BidsFile],
    listing: Listing,
    tables: StudyTables,
    problems: list[str],
) -> tuple[dict[Key, Scan], dict[Path, Path], list[Note]]:
    """Return the scans with brain masks and times, masks of lesions by scan, and notes on both."""
    beside: dict[Path, list[BidsFile]] = defaultdict(list)
    for file in listing.files:
        beside[file.path.parent].append(file)
    scans, lesions = {}, {}
    notes: list[Note] = []
    for (subject, session), (own, file) in chosen.items():
        mask = None
        try:
            mask = mask_of(file, beside[file.path.parent])
            found = lesions_of(file, beside[file.path.parent])
            lesions.update({file.path: found} if found else {})
        except CohortError as error:
            problems.append(f"subject {subject}, session {session}: {error}")
        when, odd = tables.when(file)
        notes += odd
        scans[subject, session] = Scan(
            subject,
            session,
            file.path,
            mask,
            scanner=own.scanner,
            visit=own.visit,
            when=when or _prepared_time(file),
        )
    kind, text = "mask-without-scan", "the brain mask has not the entities of any scan; not used"
    folders = sorted({file.path.parent for file in files})
    notes += [Note(kind, text, str(m)) for where in folders for m in unused_masks(beside[where])]
    return scans, lesions, [*notes, *missing_masks({key: scan.mask for key, scan in scans.items()})]


def _prepared_time(file: BidsFile) -> str:
    """Return the time of the raw scan that a prepared one was made from; empty if unknown."""
    if file.entities.get("desc") != PREPARED:
        return ""
    return str(sidecar_fields(file.path).get("ScanTime") or "")


def _mixed(chosen: Mapping[Key, tuple[Identity, BidsFile]], settings: BidsSettings) -> list[Note]:
    """Say what differs inside a scanner across its scans."""
    scanners: dict[str, list[BidsFile]] = defaultdict(list)
    for own, file in chosen.values():
        scanners[own.scanner].append(file)
    notes = [
        Note(
            "software-differs",
            f"scans differ in {_SOFTWARE}: {counts}; an upgrade may be another scanner",
            f"scanner {scanner}",
        )
        for scanner, files in sorted(scanners.items())
        if (counts := _software(files))
    ]
    notes += [
        Note(
            "field-strength-differs",
            f"scans differ in {FIELD}: {counts}; this may be several scanners (--session-by {FIELD})",
            f"scanner {scanner}",
        )
        for scanner, files in sorted(scanners.items())
        if (counts := _counts(map(_nominal, files)))
    ]
    # With `all`, runs are scans of their own and differ by intention.
    skipped = {short_name(settings.session_by), *(["run"] if settings.run == "all" else [])}
    return notes + [
        Note("entities-differ", f"scans differ in {entity}-: {counts}", f"session {scanner}")
        for scanner, files in sorted(scanners.items())
        for entity, counts in differing(files, skipped)
    ]


def _software(files: Iterable[BidsFile]) -> str:
    """Count the software versions of one scanner's scans; empty where there is one, or none."""
    return _counts(field_text(sidecar_fields(file.path).get(_SOFTWARE)) for file in files)


def _nominal(file: BidsFile) -> str | None:
    """Return the nominal field strength of a scan by its sidecar, such as `3T`; `None` without one."""
    try:
        return nominal_label(parse_tesla(sidecar_fields(file.path).get(FIELD)))
    except ValueError:
        return None


def _counts(values: Iterable[str | None]) -> str:
    """Count different values; empty where there is one, or none."""
    known = {text: count for text, count in Counter(values).items() if text}
    if len(known) < 2:
        return ""
    return ", ".join(f"{text} in {count}" for text, count in sorted(known.items()))


def _citation(described: Mapping[str, object]) -> str:
    parts = [described.get("HowToAcknowledge"), described.get("DatasetDOI")]
    return "; ".join(part for part in parts if isinstance(part, str) and part)
