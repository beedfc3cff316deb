"""The table of change per year, from a manifest with dates to the report's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harmbench.cohorts.manifest import read_manifest
from harmbench.config import load_experiment
from harmbench.contract import tiny_pairs
from harmbench.errors import CohortError
from harmbench.metrics.lesion_declarations import ALL_METRICS
from harmbench.report.loading import load_evidence
from harmbench.report.tables.annual import annual_tables
from harmbench.results import read_results
from harmbench.runner.experiment import run_experiment
from harmbench.study.agreement import annualized_percent_change
from harmbench.volume import write

DATES = {"1": "2020-01-01", "2": "2022-01-01"}
YEARS = 731 / 365.25


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four subjects with two dated visits on each of two scanners; the first has no date on its second."""
    lines = ["subject,group,scanner,visit,date,path"]
    for number, pair in enumerate(tiny_pairs(4)):
        for scanner, scan in (("A", pair.source), ("B", pair.target)):
            for visit, date in DATES.items():
                data = scan.data.copy()
                if visit == "2":
                    data[: data.shape[0] // 2 - number] *= 0.9
                name = f"s{number}_{scanner}{visit}.nii.gz"
                write(scan.with_data(data), tmp_path / "scans" / name)
                when = "" if (number, visit) == (0, "2") else date
                lines.append(f"s{number},HC,{scanner},{visit},{when},{name}")
    path = tmp_path / "scans" / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.usefixtures("thresholds")
def test_dated_visits_have_a_change_per_year(manifest: Path, tmp_path: Path) -> None:
    settings = ["scoring.segmenter=thresholds", "device=cpu", "folds.k=2", "controls=[identity]"]
    changes = {"data.path": manifest, "data.direction": "A-to-B"}
    run_experiment(load_experiment(None, settings, changes), tmp_path / "out", say=lambda _: None)
    evidence = load_evidence([tmp_path / "out"], ALL_METRICS)
    (table,) = annual_tables(evidence)
    assert table.name == "table-49-annual-change-A-to-B"
    assert "up to 3 subjects (2.0 years apart on average)" in table.caption
    data = table.data.set_index(["method", "tissue"])
    rows = read_results(tmp_path / "out" / "results.csv")
    rows = rows[(rows["metric"] == "volume_mm3") & (rows["tissue"] == "GM")]
    wide = rows.pivot_table(index="subject", columns=["method", "visit"], values="value")
    wide = wide.drop(index="s0")
    for method in ("identity", "volume_offset"):
        own, target = (
            annualized_percent_change(wide[name, "1"], wide[name, "2"], [YEARS] * 3)
            for name in (method, "target")
        )
        found = data.loc[(method, "GM")]
        assert found["subjects"] == found["target_subjects"] == 3
        assert found["percent_per_year"] == pytest.approx(own.mean())
        assert found["difference"] == pytest.approx((own - target).mean())
    assert not {"target"} & set(table.data["method"])
    assert np.isfinite(data["low"]["identity", "GM"])


def test_a_date_must_be_one(manifest: Path) -> None:

    manifest.write_text(manifest.read_text().replace("2020-01-01", "01/02/2020", 1))
    with pytest.raises(CohortError, match="date '01/02/2020' is not in ISO 8601"):
        read_manifest(manifest)
