"""Writing and reading the results table of a run, as CSV and by columns (Parquet).

    python benchmarks/results_table.py                         # 200 subjects x 8 methods x 2 directions
    python benchmarks/results_table.py --subjects 1000

Needs pyarrow (`harmbench[parquet]`). Scores are random; times are of the processors.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from tabulate import tabulate

from harmbench.results import COLUMNS, merge, read_results, results_text
from harmbench.runner.columns import columns_of, read_columns
from harmbench.runner.scoring import missing_rows

T = TypeVar("T")

DIRECTIONS = ("3T-to-1.5T", "1.5T-to-3T")
FOLDS = 4


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what some work gives, and the seconds that it took on the processors."""
    before = time.process_time()
    return work(), time.process_time() - before


def random_results(subjects: int, methods: int) -> pd.DataFrame:
    """Return a results table with a score of each metric and tissue of each volume."""
    rows = missing_rows("ok")
    volumes = [
        (f"method_{number}", way, place % FOLDS, f"sub-{place:05d}")
        for number in range(methods)
        for way in DIRECTIONS
        for place in range(subjects)
    ]
    whose = pd.DataFrame(volumes, columns=["method", "direction", "fold", "subject"])
    frame = whose.loc[np.repeat(whose.index, len(rows))].reset_index(drop=True)
    for name in ("metric", "tissue", "unit"):
        frame[name] = [row[name] for row in rows] * len(volumes)
    value = np.random.default_rng(0).random(len(frame))
    frame = frame.assign(seed=0, visit="", group="HC", segmenter="hmrf", value=value, status="ok")
    ordered: pd.DataFrame = frame[list(COLUMNS)]
    return ordered


def import_s(with_pyarrow: bool) -> float:
    """Return the CPU seconds that importing pandas takes, which brings pyarrow in where it is there."""
    code = (
        "import sys, time; start = time.process_time(); "
        + ("import pandas, pyarrow.parquet; " if with_pyarrow else "")
        + "sys.modules.setdefault('pyarrow', None); import pandas; "
        "print(time.process_time() - start)"
    )
    times = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(3)]
    return min(map(float, times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subjects", type=int, default=200)
    parser.add_argument("--methods", type=int, default=8)
    options = parser.parse_args()
    frame = random_results(options.subjects, options.methods)
    merged, merge_s = timed(lambda: merge([frame]))
    text, text_s = timed(lambda: results_text(merged))
    content, columns_s = timed(lambda: columns_of(text))
    if content is None:
        sys.exit("pyarrow is not installed")
    with tempfile.TemporaryDirectory() as place:
        csv, parquet = Path(place) / "results.csv", Path(place) / "results.parquet"
        csv.write_text(text)
        parquet.write_bytes(content)
        known = [sha256(content).hexdigest()]
        read_columns(parquet, csv, known)  # imports pyarrow
        from_csv, csv_s = timed(lambda: read_results(csv))
        from_parquet, parquet_s = timed(lambda: read_columns(parquet, csv, known))
        assert from_parquet is not None
        assert from_parquet.equals(from_csv)
    _, parse_s = timed(lambda: read_results(StringIO(text)))
    _, sum_s = timed(lambda: sha256(text.encode()).hexdigest())
    rows = [
        ["CSV", text_s, csv_s, len(text) / 1e6],
        ["Parquet", columns_s, parquet_s, len(content) / 1e6],
    ]
    print(f"{len(frame)} rows, {from_csv.memory_usage().sum() / 1e6:.0f} MB as a table in memory\n")
    print(tabulate(rows, ["", "write (s)", "read (s)", "MB"], floatfmt=".3g"))
    print(
        f"\nbringing together takes {merge_s:.2f} s before; writing Parquet reads the CSV first, "
        f"{parse_s:.2f} s; reading it makes the CSV's SHA-256, {sum_s:.2f} s; importing pandas takes "
        f"{import_s(True):.2f} s with pyarrow, {import_s(False):.2f} s without"
    )


if __name__ == "__main__":
    main()
