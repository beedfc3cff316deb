"""The real scans of a run: `inputs.csv`, read once, and the scans that it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd

from harmbench.code_keys import stage_code
from harmbench.cohorts.base import Cohort, Rescale, Scan, load_scan
from harmbench.errors import RunError
from harmbench.storage import atomic, file_key, key_of
from harmbench.volume import Volume

__all__ = [
    "InputScan",
    "InputScans",
    "keys_of_inputs",
    "read_inputs",
    "read_table",
    "scans_of",
    "write_inputs",
]

_NEEDED = ("subject", "group", "session", "path", "mask", "sha256")
_COLUMNS = (*_NEEDED, "mask_sha256", "rescale")


@dataclass(frozen=True, slots=True)
class InputScan:
    """A real scan as a run uses it.

    Attributes:
        subject, group, session: whose, and which.
        path: its file.
        mask: the file of its brain mask, if it has one.
        sha256, mask_sha256: of the files; empty without a mask.
        rescale: how intensities are brought into [0, 1].
    """

    subject: str
    group: str
    session: str
    path: Path
    mask: Path | None
    sha256: str
    mask_sha256: str
    rescale: Rescale

    def volume(self) -> Volume:
        """Read the scan as methods see it, in [0, 1].

        Raises:
            VolumeError: the file is gone or damaged.
        """
        return load_scan(Scan(self.subject, self.session, self.path, self.mask), self.rescale)


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
        scan = self.scans.get((subject, session))
        if scan is None:
            raise RunError(f"{self.root}: no scan of subject {subject}, session {session}")
        return scan.volume()

    def and_later(self, later: InputScans) -> InputScans:
        """Return these scans and those of a later run, which count where both have one."""
        others = {name: scan for name, scan in self.scans.items() if name not in later.scans}
        return InputScans(self.root, {**others, **later.scans})


def scans_of(
    root: Path,
    cohort: Cohort,
    sessions: Sequence[str],
    files: Mapping[tuple[str, str], str],
    rescale: Rescale,
) -> InputScans:
    """Return the scans that a run on a cohort uses.

    Args:
        root: the run folder.
        cohort: where the scans are.
        sessions: those that the run needs.
        files: (subject, session) to the SHA-256 of the scan's file.
        rescale: how intensities are brought into [0, 1].
    """
    found = {}
    for subject in cohort.subjects:
        for session in sessions:
            scan = cohort.scans[subject, session]
            found[subject, session] = InputScan(
                subject=subject,
                group=cohort.groups[subject],
                session=session,
                path=scan.path,
                mask=scan.mask,
                sha256=files[subject, session],
                mask_sha256=file_key(scan.mask) if scan.mask else "",
                rescale=rescale,
            )
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
        )
        found[scan.subject, scan.session] = scan
    return InputScans(path.parent, found)


def write_inputs(inputs: InputScans, path: Path) -> None:
    """Write `inputs.csv`, atomically."""
    rows = [
        {name: getattr(scan, name) or "" for name in _COLUMNS} for scan in inputs.scans.values()
    ]
    with atomic(path) as temporary:
        frame = pd.DataFrame(rows, columns=list(_COLUMNS))
        frame.to_csv(temporary, index=False, lineterminator="\n")


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
