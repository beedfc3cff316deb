"""The exported file: a ZIP archive with one record and one table, or two. Files of others are not trusted.

Reading never writes to the disk, takes at most `MOST_BYTES` of each part, and uses no name from the file as a
path.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pandas as pd
from pydantic import JsonValue, TypeAdapter

from harmbench.bounded import parse_json, read_bytes
from harmbench.errors import DamagedRecordError, ReportError
from harmbench.exchange.schema import SharedResults
from harmbench.results import (
    COLUMNS,
    STATUSES,
    read_results,
    read_training_sizes,
    results_text,
    training_sizes_text,
)
from harmbench.runner.records import FORMAT, parse_record
from harmbench.segmentation import TISSUES
from harmbench.storage import atomic

__all__ = ["MOST_BYTES", "Shared", "digest", "read_archive", "write_archive"]

RECORD: Final = "export.json"
TABLE: Final = "results.csv"
SIZES: Final = "training-sizes.csv"
MOST_BYTES: Final = {RECORD: 4 << 20, TABLE: 128 << 20, SIZES: 128 << 20}
"""Part of the file to the bytes that it may have, uncompressed; the last one may be absent."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_NAME = re.compile(r"(?![=+\-@])[^\x00-\x1f\x7f]{0,200}")
"""What names may look like: one line, and nothing that a spreadsheet takes for a formula."""
_NUMBER = re.compile("[1-9][0-9]{0,6}")
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    MemoryError,
)


class Shared(NamedTuple):
    """Results without names: what an exported file holds.

    Attributes:
        record: what the file says of itself.
        results: the results table, with numbers (as text) for subjects and visits.
        training_sizes: the same of cells that learned from fewer subjects, with the column
            `train_subjects`; empty where there are none.
    """

    record: SharedResults
    results: pd.DataFrame
    training_sizes: pd.DataFrame


def digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 of a results table, or a table of learning curves, as the file holds it."""
    return hashlib.sha256(_text(table).encode()).hexdigest()


def _text(table: pd.DataFrame) -> str:
    return training_sizes_text(table) if "train_subjects" in table else results_text(table)


def write_archive(shared: Shared, path: Path) -> None:
    """Write a file of results, atomically; the same results always give the same bytes.

    Raises:
        ReportError: there are more results than a reader takes.
    """
    values = {**shared.record.model_dump(mode="json"), "format": FORMAT}
    parts = {
        RECORD: json.dumps(values, indent=1, sort_keys=True).encode(),
        TABLE: _text(shared.results).encode(),
    }
    if len(shared.training_sizes):
        parts[SIZES] = _text(shared.training_sizes).encode()
    for name, content in parts.items():
        if len(content) > MOST_BYTES[name]:
            raise ReportError(f"{path}: {name} would have more than {MOST_BYTES[name] >> 20} MiB")
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in parts.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=9)


def read_archive(path: Path) -> Shared:
    """Read a file of results, and check everything that later steps rely on.

    Raises:
        ReportError: it is not such a file, is damaged or changed, or a later harmbench wrote it.
    """
    try:
        parts = _read_parts(path)
        found = parse_json(parts[RECORD].decode("utf-8"))
        values = TypeAdapter(dict[str, JsonValue]).validate_python(found)
    except _DAMAGE as error:
        raise DamagedRecordError(f"{path}: not a file of exported results ({error})") from error
    if values.get("kind") != "harmbench-results":
        raise DamagedRecordError(f"{path}: not a file of exported results")
    record = parse_record(SharedResults, values, str(path))
    results = _table(path, parts, TABLE, record.table)
    problem = "" if len(results) == record.rows else _rows_lost(record, results)
    sizes = pd.DataFrame()
    if SIZES in parts or record.sizes is not None:
        sizes = _table(path, parts, SIZES, record.sizes)
        problem = problem or _problem(record, sizes)
    problem = problem or _problem(record, results)
    if problem:
        raise DamagedRecordError(f"{path}: damaged, {problem}")
    return Shared(record, results, sizes)


def _table(path: Path, parts: Mapping[str, bytes], name: str, key: str | None) -> pd.DataFrame:
    """Read one table of the file, which must be the one that was exported."""
    content = parts.get(name, b"")
    if hashlib.sha256(content).hexdigest() != key:
        raise DamagedRecordError(
            f"{path}: damaged, the table is not the one that was exported ({name})"
        )
    text = io.StringIO(content.decode("utf-8", errors="replace"))
    try:
        return read_training_sizes(text) if name == SIZES else read_results(text)
    except ReportError as error:
        why = str(error).partition(": ")[2]
        raise DamagedRecordError(f"{path}: damaged, {name} is {why}") from error


def _rows_lost(record: SharedResults, results: pd.DataFrame) -> str:
    return f"{record.rows} rows were exported, {len(results)} are there"


def _read_parts(path: Path) -> dict[str, bytes]:
    """Read all parts, each up to its limit, whatever sizes the file claims."""
    parts = {}
    content = read_bytes(path, sum(MOST_BYTES.values()))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if sorted(names) not in (sorted([RECORD, TABLE]), sorted(MOST_BYTES)):
            raise ValueError(f"it must hold {RECORD} and {TABLE}, perhaps {SIZES}, alone")
        for name in names:
            most = MOST_BYTES[name]
            with archive.open(name) as part:
                parts[name] = part.read(most + 1)
            if len(parts[name]) > most:
                raise ValueError(f"{name} has more than {most >> 20} MiB")
    return parts


def _problem(record: SharedResults, results: pd.DataFrame) -> str:
    """Say what is wrong with a table; empty where nothing is."""
    if str(results["value"].dtype) not in {"float64", "int64"}:
        return "values are no numbers"
    if any(str(results[name].dtype) != "int64" for name in ("fold", "seed")):
        return "folds or seeds are no whole numbers"
    return _unknown_entry(record, results) or _odd_name(record, results)


def _unknown_entry(record: SharedResults, results: pd.DataFrame) -> str:
    allowed = {
        "method": set(record.methods),
        "direction": {str(direction) for direction in record.directions},
        "status": set(STATUSES),
        "tissue": {"", *TISSUES},
        "subject": {str(number) for number in range(1, record.cohort.subjects + 1)},
    }
    for name, known in allowed.items():
        others = set(results[name]) - known
        if others:
            return f"unknown {name} {min(others)[:40]!r}"
    groups = results[["subject", "group"]].drop_duplicates()
    return "a subject is in two groups" if groups["subject"].duplicated().any() else ""


def _odd_name(record: SharedResults, results: pd.DataFrame) -> str:
    if any(visit and not _NUMBER.fullmatch(visit) for visit in set(results["visit"])):
        return "visits are no numbers"
    texts = [name for name in COLUMNS if name not in {"value", "fold", "seed"}]
    names = {text for name in texts for text in set(results[name])}
    names |= {record.cohort.label, *(method.title for method in record.methods.values())}
    odd = [text for text in sorted(names) if not _NAME.fullmatch(text)]
    return f"a name that is not allowed: {odd[0][:40]!r}" if odd else ""
