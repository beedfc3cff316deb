"""The exported file: a ZIP archive with one record and one table. Files of others are not trusted.

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
from pathlib import Path
from typing import Final

import pandas as pd
from pydantic import JsonValue, TypeAdapter

from harmbench.bounded import parse_json, read_bytes
from harmbench.errors import DamagedRecordError, ReportError
from harmbench.exchange.schema import SharedResults
from harmbench.results import COLUMNS, STATUSES, read_results, results_text
from harmbench.runner.records import FORMAT, parse_record
from harmbench.segmentation import TISSUES
from harmbench.storage import atomic

__all__ = ["MOST_BYTES", "digest", "read_archive", "write_archive"]

RECORD: Final = "export.json"
TABLE: Final = "results.csv"
MOST_BYTES: Final = {RECORD: 4 << 20, TABLE: 128 << 20}
"""Part of the file to the bytes that it may have, uncompressed."""

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


def digest(results: pd.DataFrame) -> str:
    """Return the SHA-256 of a results table as the file holds it."""
    return hashlib.sha256(results_text(results).encode()).hexdigest()


def write_archive(record: SharedResults, results: pd.DataFrame, path: Path) -> None:
    """Write a file of results, atomically; the same results always give the same bytes.

    Raises:
        ReportError: there are more results than a reader takes.
    """
    values = {**record.model_dump(mode="json"), "format": FORMAT}
    parts = {
        RECORD: json.dumps(values, indent=1, sort_keys=True).encode(),
        TABLE: results_text(results).encode(),
    }
    for name, content in parts.items():
        if len(content) > MOST_BYTES[name]:
            raise ReportError(f"{path}: {name} would have more than {MOST_BYTES[name] >> 20} MiB")
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in parts.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=9)


def read_archive(path: Path) -> tuple[SharedResults, pd.DataFrame]:
    """Read a file of results, and check everything that later steps rely on.

    Returns:
        The record, and the results table with numbers (as text) for subjects and visits.

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
    if hashlib.sha256(parts[TABLE]).hexdigest() != record.table:
        raise DamagedRecordError(f"{path}: damaged, the table is not the one that was exported")
    try:
        results = read_results(io.StringIO(parts[TABLE].decode("utf-8", errors="replace")))
    except ReportError as error:
        why = str(error).partition(": ")[2]
        raise DamagedRecordError(f"{path}: damaged, {TABLE} is {why}") from error
    problem = _problem(record, results)
    if problem:
        raise DamagedRecordError(f"{path}: damaged, {problem}")
    return record, results


def _read_parts(path: Path) -> dict[str, bytes]:
    """Read both parts, each up to its limit, whatever sizes the file claims."""
    parts = {}
    content = read_bytes(path, sum(MOST_BYTES.values()))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        if sorted(names) != sorted(MOST_BYTES):
            raise ValueError(f"it must hold {RECORD} and {TABLE} alone")
        for name, most in MOST_BYTES.items():
            with archive.open(name) as part:
                parts[name] = part.read(most + 1)
            if len(parts[name]) > most:
                raise ValueError(f"{name} has more than {most >> 20} MiB")
    return parts


def _problem(record: SharedResults, results: pd.DataFrame) -> str:
    """Say what is wrong with a table; empty where nothing is."""
    if len(results) != record.rows:
        return f"{record.rows} rows were exported, {len(results)} are there"
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
