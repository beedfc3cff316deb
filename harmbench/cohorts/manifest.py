"""A cohort from a table of scans; paths are relative to the table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from harmbench.cohorts.alike import spelling_notes
from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.contents import missing_contents
from harmbench.cohorts.dates import NOT_ISO, parse_time
from harmbench.cohorts.exclude_column import read_exclude
from harmbench.cohorts.exclusion import Candidate, excluded
from harmbench.cohorts.expression import LABELS
from harmbench.cohorts.left_out import LeftOut
from harmbench.cohorts.masks import missing_masks
from harmbench.errors import CohortError, suggest
from harmbench.files.kinds import unexpanded, why_no_file
from harmbench.files.sidecars import odd_sidecars, simulated_among
from harmbench.files.text import TextRow, label_text, read_table
from harmbench.notes import Note

__all__ = ["read_manifest"]

_REQUIRED = ("subject", "group", "session", "path")
_OPTIONAL = ("mask", "lesions", "scanner", "visit", "date", "exclude")
_PERSONAL = ("age", "sex")
_LABELS = ("subject", "group", "session", "scanner", "visit")


def read_manifest(
    path: Path,
    covariates: Collection[str] = (),
    conditions: Sequence[str] = (),
    exclude_list: Path | None = None,
) -> Cohort:
    """Read a manifest: `subject,group,session,path`, and optional columns.

    - `mask`: a brain mask on the scan's grid.
    - `lesions`: a mask of the lesions on the scan's grid; empty for a subject without.
    - `scanner`: where it is not the session; the session is then a label of the scan, and may be
      empty or left out.
    - `visit`: on that scanner.
    - `date`: of the scan, in ISO 8601 (`2024-05-31`): visits are ordered and paired by it.
    - `exclude`: takes a scan out, with its reason; see `harmbench.cohorts.exclude_column`.
    - `age`, `sex`, and those that `covariates` names, which `harmbench.cohorts.covariates` reads.

    The cohort counts as simulated where the sidecars of one of its scans say `Simulated`, as those
    of the simulated cohort do.

    Args:
        path: the table.
        covariates: columns that may be there too.
        conditions, exclude_list: scans to take out beside those of the column `exclude`; see
            `harmbench.cohorts.exclusion`.

    Raises:
        ConfigError: a text of `conditions` is not a condition.
        CohortError: the file or `exclude_list` cannot be read, a condition cannot be tried, or lists
            every bad row: a column or value is missing, a subject's session is listed twice, a
            subject has two groups, a file is absent, or `exclude` is neither yes, no nor a reason.
    """
    table = read_table(path, ",")
    required = _required(path, table.columns, covariates)
    if not table.rows:
        raise CohortError(f"{path} lists no scan")
    chosen = [_candidate(row, path) for row in table.rows]
    out = excluded(chosen, conditions, exclude_list, (*table.columns, "session", "scanner"))
    rows = _Rows(path.parent)
    for place, row in enumerate(table.rows):
        rows.add(row, required, out.reasons.get(place, ""))
    if problems := _problems(rows, path):
        raise CohortError(f"{path} cannot be used:", problems)
    images = [scan.path for scan in rows.scans.values()]
    simulated, notes = simulated_among(images)
    bare = missing_masks({key: scan.mask for key, scan in rows.scans.items()})
    alike = spelling_notes(rows.groups, (own.scanner for own in rows.scans.values()))
    return Cohort(
        name="manifest",
        path=path.absolute(),
        description=f"{'SIMULATED scans of ' * simulated}{len(rows.groups)} subjects listed in "
        f"{path.name}",
        simulated=simulated,
        groups=rows.groups,
        scans=rows.scans,
        title=path.stem,
        notes=(*table.notes, *out.notes, *rows.notes, *notes, *bare, *alike, *odd_sidecars(images)),
        left_out=tuple(rows.left_out),
        lesions=rows.lesions,
    )


def _problems(rows: _Rows, path: Path) -> list[str]:
    """Return what is wrong with the rows of a manifest; many files of git-annex are one problem."""
    if not rows.scans:
        return rows.problems or ["every scan is excluded"]
    files = [
        file
        for scan in rows.scans.values()
        for file in (scan.path, scan.mask, rows.lesions.get(scan.path))
        if file is not None
    ]
    many = missing_contents(files, path.parent)
    return [one for one in rows.problems if not (many and "git-annex" in one)] + many


def _required(path: Path, columns: Sequence[str], covariates: Collection[str]) -> tuple[str, ...]:
    """Return the columns that need a value in each row.

    Raises:
        CohortError: one is missing, or a column is unknown.
    """
    required = tuple(c for c in _REQUIRED if c != "session" or "scanner" not in columns)
    required = (*required, *(["scanner"] if "scanner" in columns else []))
    missing = [column for column in required if column not in columns]
    allowed = (*_REQUIRED, *_OPTIONAL, *_PERSONAL)
    unknown = [c for c in columns if c not in (*allowed, *covariates)]
    if missing or unknown:
        problems = [f"column '{column}' is missing" for column in missing]
        problems += [f"column '{c}' is unknown; {suggest(c, allowed)}" for c in unknown]
        raise CohortError(f"{path} is not a manifest:", problems)
    return required


def _candidate(row: TextRow, path: Path) -> Candidate:
    """Return a row as a scan that may be taken out; its scanner and session stand for each other."""
    values = {n: label_text(v) if n in _LABELS else v for n, v in row.values.items()}
    scanner = values.get("scanner") or values.get("session", "")
    session = values.get("session") or scanner
    labels = {"sub": values.get("subject", ""), "ses": session}
    values["scanner"] = scanner
    file = values.get("path", "")
    return Candidate(
        names=(file, Path(file).name),
        subject=labels["sub"].removeprefix("sub-"),
        session=session.removeprefix("ses-"),
        value=lambda column: labels[LABELS[column]] if column in LABELS else values.get(column),
        place=lambda _: f"{path}, line {row.line}",
    )


class _Rows:
    """The rows of a manifest as scans, with every problem found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups: dict[str, str] = {}
        self.scans: dict[tuple[str, str], Scan] = {}
        self.lesions: dict[Path, Path] = {}
        self.left_out: list[LeftOut] = []
        self.notes: list[Note] = []
        self.problems: list[str] = []

    def add(self, row: TextRow, required: Sequence[str], out: str = "") -> None:
        """Take in one row; `out`: why its scan takes no part, where the column does not say so."""
        line = row.line
        values = {n: label_text(v) if n in _LABELS else v for n, v in row.values.items()}
        empty = [column for column in required if not values[column]]
        if empty:
            self.problems.append(f"line {line}: {', '.join(empty)} is empty")
            return
        try:
            reason, note = read_exclude(values.get("exclude", ""))
        except CohortError as error:
            self.problems.append(f"line {line}: {error}")
            return
        self.notes += [Note(note.kind, note.text, f"line {line}")] if note else []
        if reason or out:
            self.left_out.append(LeftOut("excluded", reason or out, values["path"]))
            return
        subject, visit = values["subject"], values.get("visit", "")
        scanner = values.get("scanner") or values["session"]
        session = values.get("session", "") if values.get("scanner") else ""
        session = session or (f"{scanner}-{visit}" if visit else scanner)
        if (subject, session) in self.scans:
            self.problems.append(
                f"line {line}: subject {subject}, session {session} is listed twice"
            )
            return
        group = self.groups.setdefault(subject, values["group"])
        if group != values["group"]:
            self.problems.append(
                f"line {line}: subject {subject} is in group {values['group']} and in {group}"
            )
        date = values.get("date", "")
        if date and parse_time(date) is None:
            self.problems.append(f"line {line}: date '{date}' is {NOT_ISO}")
        image = self.folder / values["path"]
        mask = self.folder / values["mask"] if values.get("mask") else None
        lesions = self.folder / values["lesions"] if values.get("lesions") else None
        self.problems += [
            f"line {line}: {file}: {problem}{unexpanded(values[column])}"
            for column, file in (("path", image), ("mask", mask), ("lesions", lesions))
            if file is not None and (problem := why_no_file(file))
        ]
        self.scans[subject, session] = Scan(
            subject,
            session,
            image.absolute(),
            mask and mask.absolute(),
            scanner,
            visit,
            date,
        )
        if lesions is not None:
            self.lesions[image.absolute()] = lesions.absolute()
