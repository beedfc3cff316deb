"""The results table of a run by columns, in Parquet, beside `results.csv`: the same rows, read faster.

It is written and read where pyarrow is installed (`harmbench[parquet]`). `results.csv` is the table that
counts: the file names the SHA-256 of the one that it was made from, and is used with that one alone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from hashlib import sha256
from importlib.util import find_spec
from io import BytesIO, StringIO
from pathlib import Path
from typing import Final

import pandas as pd

from harmbench.results import read_results
from harmbench.storage import file_key

__all__ = ["columns_of", "read_columns"]

log = logging.getLogger(__name__)

_MADE_FROM: Final = b"harmbench.results.csv.sha256"


def columns_of(text: str) -> bytes | None:
    """Return a results table in Parquet, with what reading its CSV gives.

    Args:
        text: the table as CSV.

    Returns:
        The content of the file; `None` where pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        return None
    import pyarrow  # 45 MB, which nothing else needs
    from pyarrow import parquet

    whole = pyarrow.Table.from_pandas(read_results(StringIO(text)), preserve_index=False)
    key = sha256(text.encode()).hexdigest().encode()
    known = whole.schema.metadata or {}
    whole = whole.replace_schema_metadata({**known, _MADE_FROM: key})
    content = BytesIO()
    parquet.write_table(whole, content, compression="zstd")
    return content.getvalue()


def read_columns(path: Path, table: Path, known: Collection[str]) -> pd.DataFrame | None:
    """Read a results table by columns.

    Args:
        path: the file in Parquet.
        table: the table as CSV.
        known: the SHA-256 that the file had when it was written.

    Returns:
        What `read_results` gives for `table`; `None` where there is no such file, it was made from
        another table, it is damaged, or pyarrow is not installed.
    """
    if not path.is_file() or not table.is_file() or find_spec("pyarrow") is None:
        return None
    import pyarrow
    from pyarrow import parquet

    try:
        if file_key(path) not in known:
            log.warning("%s: damaged or changed, %s is read instead", path, table.name)
            return None
        made_from = (parquet.read_schema(path).metadata or {}).get(_MADE_FROM, b"")
        if made_from.decode() != file_key(table):
            return None
        frame: pd.DataFrame = parquet.read_table(path).to_pandas()
    except (OSError, pyarrow.ArrowException) as error:  # such as of a later pyarrow
        log.warning("%s: not readable, %s is read instead (%s)", path, table.name, error)
        return None
    return frame
