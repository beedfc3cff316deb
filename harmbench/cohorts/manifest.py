"""A cohort from a table: `subject,group,session,path[,mask]`, paths relative to the file."""

from __future__ import annotations

from pathlib import Path

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.masks import missing_masks
from harmbench.cohorts.participants import similar_groups
from harmbench.errors import CohortError, suggest
from harmbench.files.kinds import why_no_file
from harmbench.files.sidecars import odd_sidecars, simulated_among
from harmbench.files.text import TextTable, label_text, read_table

__all__ = ["read_manifest"]

_REQUIRED = ("subject", "group", "session", "path")
_OPTIONAL = ("mask",)
_LABELS = ("subject", "group", "session")


def read_manifest(path: Path) -> Cohort:
    """Read a manifest.

    The cohort counts as simulated where the sidecars of one of its scans say `Simulated`, as those
    of the simulated cohort do.

    Raises:
        CohortError: the file cannot be read, or lists every bad row: a column or value is missing,
            a subject's session is listed twice, a subject has two groups, a file is absent.
    """
    table = _read(path)
    problems = []
    groups: dict[str, str] = {}
    scans: dict[tuple[str, str], Scan] = {}
    for row in table.rows:
        line = row.line
        values = {n: label_text(v) if n in _LABELS else v for n, v in row.values.items()}
        empty = [column for column in _REQUIRED if not values[column]]
        if empty:
            problems.append(f"line {line}: {', '.join(empty)} is empty")
            continue
        subject, group, session = (values[column] for column in _LABELS)
        if (subject, session) in scans:
            problems.append(f"line {line}: subject {subject}, session {session} is listed twice")
            continue
        if groups.setdefault(subject, group) != group:
            problems.append(
                f"line {line}: subject {subject} is in group {group} and in {groups[subject]}"
            )
        image = path.parent / values["path"]
        mask = path.parent / values["mask"] if values.get("mask") else None
        problems += [
            f"line {line}: {file}: {problem}"
            for file in (image, mask)
            if file is not None and (problem := why_no_file(file))
        ]
        scans[subject, session] = Scan(subject, session, image.absolute(), mask and mask.absolute())
    if problems:
        raise CohortError(f"{path} cannot be used:", problems)
    images = [scan.path for scan in scans.values()]
    simulated, notes = simulated_among(images)
    bare = missing_masks({key: scan.mask for key, scan in scans.items()})
    notes = (*notes, *bare, *similar_groups(groups.values()))
    return Cohort(
        name="manifest",
        path=path.absolute(),
        description=f"{'SIMULATED scans of ' * simulated}{len(groups)} subjects listed in {path.name}",
        simulated=simulated,
        groups=groups,
        scans=scans,
        title=path.stem,
        notes=(*table.notes, *notes, *odd_sidecars(images)),
    )


def _read(path: Path) -> TextTable:
    """Read the table, and check its columns."""
    table = read_table(path, ",")
    missing = [column for column in _REQUIRED if column not in table.columns]
    unknown = [c for c in table.columns if c not in (*_REQUIRED, *_OPTIONAL)]
    if missing or unknown:
        problems = [f"column '{column}' is missing" for column in missing]
        problems += [
            f"column '{c}' is unknown; {suggest(c, _REQUIRED + _OPTIONAL)}" for c in unknown
        ]
        raise CohortError(f"{path} is not a manifest:", problems)
    if not table.rows:
        raise CohortError(f"{path} lists no scan")
    return table
