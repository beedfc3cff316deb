"""A cohort from a CSV file: `subject,group,session,path[,mask]`, paths relative to the file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harmbench.cohorts.base import Cohort, Scan
from harmbench.errors import CohortError, suggest
from harmbench.filetypes import why_no_file
from harmbench.sidecars import simulated_among

__all__ = ["read_manifest"]

_REQUIRED = ("subject", "group", "session", "path")
_OPTIONAL = ("mask",)


def read_manifest(path: Path) -> Cohort:
    """Read a manifest.

    The cohort counts as simulated where the sidecars of one of its scans say `Simulated`, as those
    of the simulated cohort do.

    Raises:
        CohortError: the file cannot be read, or lists every bad row: a column or value is missing,
            a subject's session stands there twice, a subject has two groups, a file is absent.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise CohortError(f"{path}: not a readable CSV file ({error})") from error
    frame.columns = frame.columns.str.strip()
    missing = [column for column in _REQUIRED if column not in frame.columns]
    unknown = [c for c in frame.columns if c not in (*_REQUIRED, *_OPTIONAL)]
    if missing or unknown:
        problems = [f"column '{column}' is missing" for column in missing]
        problems += [
            f"column '{c}' is unknown; {suggest(c, _REQUIRED + _OPTIONAL)}" for c in unknown
        ]
        raise CohortError(f"{path} is not a manifest:", problems)
    if frame.empty:
        raise CohortError(f"{path} lists no scan")
    problems = []
    groups: dict[str, str] = {}
    scans: dict[tuple[str, str], Scan] = {}
    for line, row in enumerate(frame.to_dict("records"), start=2):
        values = {str(key): str(value).strip() for key, value in row.items()}
        empty = [column for column in _REQUIRED if not values[column]]
        if empty:
            problems.append(f"line {line}: {', '.join(empty)} is empty")
            continue
        subject, session = values["subject"], values["session"]
        if (subject, session) in scans:
            problems.append(f"line {line}: subject {subject}, session {session} is listed twice")
            continue
        if groups.setdefault(subject, values["group"]) != values["group"]:
            problems.append(
                f"line {line}: subject {subject} is in group {values['group']} and in {groups[subject]}"
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
    simulated, notes = simulated_among([scan.path for scan in scans.values()])
    return Cohort(
        name="manifest",
        description=f"{'SIMULATED scans of ' * simulated}{len(groups)} subjects listed in {path.name}",
        simulated=simulated,
        groups=groups,
        scans=scans,
        title=path.stem,
        notes=notes,
    )
