"""Remake a published report, such as reports/reference: from its stored results, or from a new run.

    python docs/published_report.py reports/reference                    every table, from its results.zip
    python docs/published_report.py reports/reference runs/reference     results, tables, figures: from a run

The stored results are a run folder without volumes, labels and models. Unpacked, `harmbench report` opens it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from demo_report import picture, sentences

from harmbench.report import make_report
from harmbench.runner.folder import RunFolder
from harmbench.storage import file_key
from harmbench.sums import read_sealed, write_sealed

RESULTS = "results.zip"
KEPT = (
    "config.yaml",
    "folds.csv",
    "inputs.csv",
    "planned.json",
    "results.csv",
    "run.json",
    "training-sizes.csv",
    "invocations/*.json",
    "study/*.csv",
    "cells/**/cell.json",
)
"""Files of a run folder that its tables are made of."""
_PATHS = ("path", "mask", "lesions")
_OF_SCANS = ("figure-slices", "figure-segmentations")
_EPOCH = (2026, 1, 1, 0, 0, 0)


def store(run: Path, to: Path) -> None:
    """Write what the tables of a run are made of into one file, with paths relative to the cohort."""
    with tempfile.TemporaryDirectory(prefix="harmbench-reference-") as folder:
        slim = Path(folder)
        for path in sorted({path for pattern in KEPT for path in run.glob(pattern)}):
            copy = slim / path.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        _make_relative(slim)
        with zipfile.ZipFile(to, "w") as archive:
            for path in sorted(path for path in slim.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(path.relative_to(slim).as_posix(), _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes(), compresslevel=9)


def _make_relative(run: Path) -> None:
    """Leave out the folders of this machine, and write the new sum of the scans' table into the records."""
    inputs, config = run / "inputs.csv", run / "config.yaml"
    rows = list(csv.DictReader(io.StringIO(inputs.read_text())))
    folder = f"{os.path.commonpath([row[n] for row in rows for n in _PATHS if row[n]])}/"
    old = file_key(inputs)
    for path in (inputs, config):
        path.write_text(path.read_text().replace(folder, ""))
    for path in (run / "run.json", *(run / "invocations").glob("*.json")):
        text = json.dumps(read_sealed(path)).replace(folder, "").replace(old, file_key(inputs))
        write_sealed(path, json.loads(re.sub(r'"[^"]*/bin/harmbench"', '"harmbench"', text)))


def write_tables(title: str, report: Path, place: Path) -> None:
    """Copy every table of a report: the values as CSV, and all as shown in one page."""
    folder = place / "tables"
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir()
    parts = [f"# {title}: all tables", *sentences((report / "index.html").read_text())]
    # Published tables are the paper's own; the report's page shows them beside these.
    for path in sorted((report / "tables").glob("table-*.md")):
        parts.append(path.read_text().strip())
        shutil.copy(path.with_suffix(".csv"), folder)
    (place / "tables.md").write_text("\n\n".join(parts) + "\n")


def write_figures(report: Path, place: Path, *, simulated: bool) -> None:
    """Copy every figure of a report as PNG, and draw what its page shows first.

    Real scans are not shown: they belong to others.
    """
    for old in place.glob("*.png"):
        old.unlink()
    for path in sorted((report / "figures").glob("*.png")):
        if simulated or not path.name.startswith(_OF_SCANS):
            shutil.copy(path, place)
    picture(report / "index.html", place / "first-screen.png")


def main(place: Path, run: Path | None = None) -> None:
    """Write a published report anew.

    Args:
        place: its folder.
        run: a run folder; `None`: tables alone, from the stored results.
    """
    place.mkdir(parents=True, exist_ok=True)
    if run is not None:
        store(run, place / RESULTS)
        simulated = RunFolder(run).read_record().cohort.simulated
        write_figures(make_report([run], jobs=2).parent, place, simulated=simulated)
    with tempfile.TemporaryDirectory(prefix="harmbench-published-") as folder:
        stored = Path(folder) / "run"
        with zipfile.ZipFile(place / RESULTS) as archive:
            archive.extractall(stored)
        title = RunFolder(stored).read_record().name
        write_tables(title, make_report([stored], jobs=2).parent, place)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:3]))
