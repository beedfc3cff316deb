"""The real scans of a run: `inputs.csv`, read once, and the scans that it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pandas as pd

from harmbench.code_keys import stage_code
from harmbench.cohorts.base import Cohort, Rescale, Scan, load_scan
from harmbench.cohorts.covariates import CovariateKind
from harmbench.cohorts.pairing import nearest_rescans
from harmbench.errors import RunError
from harmbench.storage import file_key, key_of
from harmbench.study.covariates import CovariateTable, Value
from harmbench.volume import Volume

__all__ = [
    "InputScan",
    "InputScans",
    "inputs_text",
    "keys_of_inputs",
    "read_inputs",
    "read_table",
    "scans_of",
]

_NEEDED = ("subject", "group", "session", "path", "mask", "sha256")
_COLUMNS = (*_NEEDED, "mask_sha256", "rescale")
_LESIONS = ("lesions", "lesions_sha256")
"""Columns that a table has where a scan has a mask of lesions."""
_KINDS: tuple[CovariateKind, ...] = ("number", "category")
"""What the name of a covariate's column begins with: `number:age`."""
_IDENTITY = ("scanner", "visit", "when")
"""Columns that a table has where sessions are not simply the scanners."""


@dataclass(frozen=True, slots=True)
class InputScan:
    """A real scan as a run uses it.

    Attributes:
        subject, group, session: whose, and which.
        path: its file.
        mask: the file of its brain mask, if it has one.
        sha256, mask_sha256: of the files; empty without a mask.
        rescale: how intensities are brought into [0, 1].
        scanner, visit, when: as in `Scan`; the scanner is the session where it is left empty.
        lesions: the file of the mask of its lesions, if it has one.
        lesions_sha256: of that file; empty without one.
        covariates: of the subject: (kind, name) to value, empty where it is missing.
    """

    subject: str
    group: str
    session: str
    path: Path
    mask: Path | None
    sha256: str
    mask_sha256: str
    rescale: Rescale
    scanner: str = ""
    visit: str = ""
    when: str = ""
    lesions: Path | None = None
    lesions_sha256: str = ""
    covariates: Mapping[tuple[CovariateKind, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take the session for the scanner where no scanner is given."""
        if not self.scanner:
            object.__setattr__(self, "scanner", self.session)

    @property
    def state(self) -> str:
        """What the scan's scores depend on: its files, by their SHA-256, and the scaling."""
        parts = (self.sha256, self.mask_sha256, self.lesions_sha256, self.rescale)
        return " ".join(part for part in parts if part)

    @property
    def scan(self) -> Scan:
        """The scan as a cohort has it."""
        return Scan(
            *(self.subject, self.session, self.path, self.mask),
            *(self.scanner, self.visit, self.when),
        )

    def volume(self) -> Volume:
        """Read the scan as methods see it, in [0, 1].

        Raises:
            VolumeError: the file is gone or damaged.
        """
        return load_scan(self.scan, self.rescale)


@dataclass(frozen=True, slots=True)
class InputScans:
    """The real scans of a run by subject and session, in the order of `inputs.csv`.

    Attributes:
        root: the run folder, for errors.
        scans: (subject, session) to scan.
    """

    root: Path
    scans: Mapping[tuple[str, str], InputScan]

    def volume(self, subject: str, session: str) -> Volume:
        """Read a scan as methods see it, in [0, 1].

        Raises:
            RunError: the run has no such scan.
            VolumeError: the file is gone or damaged.
        """
        return self.scan(subject, session).volume()

    def lesions_key(self, subject: str, *sessions: str) -> tuple[str, ...]:
        """Return the SHA-256 of the first mask of lesions of several scans; nothing where there is none."""
        keys = [self.scan(subject, session).lesions_sha256 for session in sessions]
        return tuple([key for key in keys if key][:1])

    def scan(self, subject: str, session: str) -> InputScan:
        """Return a scan; raise `RunError` where the run has no such scan."""
        scan = self.scans.get((subject, session))
        if scan is None:
            raise RunError(f"{self.root}: no scan of subject {subject}, session {session}")
        return scan

    def covariates(self, names: Sequence[str]) -> CovariateTable:
        """Return those covariates of the subjects that `names` lists."""
        found: dict[str, dict[str, Value]] = {name: {} for name in names}
        for scan in self.scans.values():
            for (kind, name), text in scan.covariates.items():
                if name in found and text:
                    found[name][scan.subject] = float(text) if kind == "number" else text
        return CovariateTable(found)

    def scanner(self, subject: str, session: str) -> str:
        """Return the scanner of a scan; the session's label where the run has no such scan."""
        scan = self.scans.get((subject, session))
        return session if scan is None else scan.scanner

    def rescans(self, scanner: str) -> dict[str, dict[str, str]]:
        """Return, by subject, each session on a scanner with the nearest other one there.

        Subjects with one scan on the scanner are not in it.
        """
        found: dict[str, list[Scan]] = {}
        for own in self.scans.values():
            if own.scanner == scanner:
                found.setdefault(own.subject, []).append(own.scan)
        return {
            subject: {session: other.session for session, other in nearest_rescans(scans).items()}
            for subject, scans in found.items()
            if len(scans) > 1
        }

    def and_later(self, later: InputScans) -> InputScans:
        """Return these scans and those of a later run, which count where both have one."""
        others = {name: scan for name, scan in self.scans.items() if name not in later.scans}
        return InputScans(self.root, {**others, **later.scans})


def scans_of(
    root: Path,
    cohort: Cohort,
    files: Mapping[tuple[str, str], str],
    rescale: Rescale,
) -> InputScans:
    """Return the scans that a run on a cohort uses.

    Args:
        root: the run folder.
        cohort: where the scans are.
        files: (subject, session) to the SHA-256 of the scan's file.
        rescale: how intensities are brought into [0, 1].
    """
    place = {subject: number for number, subject in enumerate(cohort.subjects)}
    found = {
        key: InputScan(
            subject=scan.subject,
            group=cohort.groups[scan.subject],
            session=scan.session,
            path=scan.path,
            mask=scan.mask,
            sha256=files[key],
            mask_sha256=file_key(scan.mask) if scan.mask else "",
            rescale=rescale,
            scanner=scan.scanner,
            visit=scan.visit,
            when=scan.when,
            lesions=(lesions := cohort.lesions.get(scan.path)),
            lesions_sha256=file_key(lesions) if lesions else "",
            covariates={
                (one.kind, name): one.by_subject.get(key[0], "")
                for name, one in cohort.covariates.items()
            },
        )
        for key, scan in sorted(cohort.scans.items(), key=lambda item: (place[item[0][0]], item[0]))
    }
    return InputScans(root, found)


def keys_of_inputs(inputs: InputScans) -> dict[tuple[str, str], str]:
    """Return the key of each scan, by subject and session.

    It covers the files, how they are rescaled, and the code that reads them.
    """
    code = stage_code("read")
    return {
        name: key_of(scan.sha256, scan.mask_sha256, scan.rescale, code)
        for name, scan in inputs.scans.items()
    }


def read_inputs(path: Path) -> InputScans:
    """Read a run's `inputs.csv`.

    Raises:
        RunError: it is missing or damaged.
    """
    found = {}
    for row in read_table(path, _NEEDED).to_dict("records"):
        scan = InputScan(
            subject=row["subject"],
            group=row["group"],
            session=row["session"],
            path=Path(row["path"]),
            mask=Path(row["mask"]) if row["mask"] else None,
            sha256=row["sha256"],
            mask_sha256=row.get("mask_sha256", ""),
            rescale=cast(Rescale, row.get("rescale", "none")),
            **{name: row.get(name, "") for name in _IDENTITY},
            lesions=Path(row["lesions"]) if row.get("lesions") else None,
            lesions_sha256=row.get("lesions_sha256", ""),
            covariates={
                (kind, str(column).partition(":")[2]): text
                for column, text in row.items()
                for kind in _KINDS
                if str(column).startswith(f"{kind}:")
            },
        )
        found[scan.subject, scan.session] = scan
    return InputScans(path.parent, found)


def inputs_text(inputs: InputScans) -> str:
    """Return the scans of a run as CSV, the content of `inputs.csv`."""
    scans = inputs.scans.values()
    plain = all(scan.session == scan.scanner and not scan.visit for scan in scans)
    lesions = any(scan.lesions is not None for scan in scans)
    columns = [*_COLUMNS, *(() if plain else _IDENTITY), *(_LESIONS if lesions else ())]
    named = list(dict.fromkeys(key for scan in scans for key in scan.covariates))
    rows = [
        {name: getattr(scan, name) or "" for name in columns}
        | {":".join(key): scan.covariates.get(key, "") for key in named}
        for scan in scans
    ]
    columns += [":".join(key) for key in named]
    return pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator="\n")


def read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a CSV table of a run folder, all columns as text.

    Raises:
        RunError: it is missing or damaged, or lacks one of `columns`.
    """
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: missing or damaged ({error}); choose another --out") from error
    missing = [column for column in columns if column not in found.columns]
    if missing:
        raise RunError(f"{path}: damaged, columns missing: {', '.join(missing)}")
    return found
