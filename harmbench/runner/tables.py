"""The tables of a run folder, which are damaged, and writing them so that this can be known.

The record of an invocation has the SHA-256 of each table that it wrote. A table whose SHA-256 no
invocation recorded is not as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from harmbench.errors import DamagedRecordError, HarmbenchError
from harmbench.runner.fold_table import read_fold_rows
from harmbench.runner.folder import RunFolder
from harmbench.runner.inputs import read_inputs
from harmbench.runner.progress_file import why_planned_damaged
from harmbench.storage import write_bytes

__all__ = ["REMADE_FROM", "damaged_tables", "text_sums", "write_tables"]

REMADE_FROM: Final[Mapping[str, str]] = {
    "inputs.csv": "the scans of this run; those of other runs here come back when they run again",
    "folds.csv": "the folds of this run",
    "config.yaml": "the settings of this run",
    "planned.json": "the cells of this run",
    "results.csv": "the scores of the cells",
    "results.parquet": "the scores of the cells",
    "training-sizes.csv": "the scores of the cells",
}
"""What each table is made again from."""


def damaged_tables(folder: RunFolder) -> dict[str, str]:
    """Say which tables of a run folder are missing or damaged: name to a sentence without it.

    A folder that no run has recorded anything in has none.
    """
    if not folder.is_run:
        return {}
    found: dict[str, str] = {}
    for path in (folder.inputs, folder.folds):
        if not path.is_file():
            found[path.name] = "missing"
    try:
        sums = folder.read_record().tables
    except DamagedRecordError:
        sums = {}
    for name in REMADE_FROM:
        known = sums.get(name, ())
        if name not in found and (why := folder.why_not_as_written(folder.root / name, known)):
            found[name] = why
    for path, read in ((folder.inputs, read_inputs), (folder.folds, read_fold_rows)):
        if path.name not in found and path.name not in sums:  # of an earlier harmbench
            try:
                read(path)
            except (HarmbenchError, ValueError) as error:
                found[path.name] = str(error)
    if why := why_planned_damaged(folder.root):
        found["planned.json"] = why
    return found


def text_sums(tables: Mapping[str, str | bytes]) -> dict[str, tuple[str, ...]]:
    """Return what a record keeps of tables that are about to be written: name to SHA-256."""
    return {name: (sha256(_bytes(table)).hexdigest(),) for name, table in tables.items()}


def write_tables(folder: RunFolder, tables: Mapping[str, str | bytes]) -> None:
    """Write tables of a run folder, text in UTF-8, each atomically."""
    for name, table in tables.items():
        write_bytes(folder.root / name, _bytes(table))


def _bytes(table: str | bytes) -> bytes:
    return table.encode() if isinstance(table, str) else table
