"""Published reports: their tables are those of the results that are stored beside them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from harmbench.report import make_report

REPORTS = Path(__file__).resolve().parents[2] / "reports"
STORED = sorted(path.parent.name for path in REPORTS.glob("*/results.zip"))


def test_there_are_published_results() -> None:
    assert STORED


@pytest.mark.parametrize("name", STORED)
def test_stored_results_make_the_published_tables(
    name: str, tmp_path: Path, blank_figures: None
) -> None:
    with zipfile.ZipFile(REPORTS / name / "results.zip") as archive:
        archive.extractall(tmp_path / "run")
    made = make_report([tmp_path / "run"]).parent / "tables"
    published = sorted((REPORTS / name / "tables").glob("*.csv"))
    assert published
    for path in published:
        assert (made / path.name).read_text() == path.read_text(), path.name
    whole = (REPORTS / name / "tables.md").read_text()
    for path in made.glob("table-*.md"):
        assert path.read_text().strip() in whole, path.name
