"""Stored volumes scored again: nothing is fitted, nothing is harmonized."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harmbench.config import load_experiment
from harmbench.errors import CohortError, ConfigError, HarmbenchError, RunError
from harmbench.results import read_results
from harmbench.runner.experiment import Summary, conclude, run_experiment
from harmbench.runner.folder import RunFolder
from harmbench.runner.invocation_files import add_invocation
from harmbench.runner.rescore import rescore_run
from harmbench.runner.run_record import Invocation, MethodRecord, RunRecord
from harmbench.storage import read_json
from harmbench.volume import read, write

pytestmark = pytest.mark.usefixtures("thresholds")

ADAPTER = """
from harmbench.method import Method


class Dim(Method):
    def harmonize(self, source, task):
        if abs(float(source.data.sum()) - SUM) < 1e-3:
            raise ValueError("too bright")
        return source.with_data(source.data * 0.9)
"""


def quiet(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rescored")


@pytest.fixture
def tmp_path(place: Path) -> Path:
    """The same folder for every test: a run's table names its scans by their paths."""
    return place / "now"


@pytest.fixture
def out(make_manifest, tmp_path: Path, place: Path) -> Path:
    """A run of four subjects whose method's file is gone by now; the first test makes it."""
    if (place / "kept").exists():
        shutil.rmtree(tmp_path)
        shutil.copytree(place / "kept", tmp_path)
        return tmp_path / "out"
    adapter = tmp_path / "dim.py"
    manifest = make_manifest(4)
    bright = float(read(tmp_path / "scans" / "s1_A.nii.gz").data.sum())
    adapter.write_text(ADAPTER.replace("SUM", str(bright)))
    settings = [
        "scoring.segmenter=thresholds",
        "device=cpu",
        "controls=[identity]",
        "volume_controls=[]",
        "folds.k=2",
    ]
    changes = {"data.path": manifest, "methods": {"dim": {"uses": f"{adapter}:Dim"}}}
    run_experiment(load_experiment(None, settings, changes), tmp_path / "out", say=quiet)
    adapter.unlink()
    shutil.copytree(tmp_path, place / "kept")
    return tmp_path / "out"


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(out.rglob("*.nii.gz"))}


def values(out: Path) -> pd.DataFrame:
    keys = ["method", "direction", "fold", "subject", "metric", "tissue"]
    return read_results(out / "results.csv").set_index(keys).sort_index()


def test_another_axis_changes_the_stripe_index_alone(out: Path) -> None:
    before, volumes = values(out), times(out)
    summary = rescore_run(out, ["scoring.stacking_axis=2"], say=quiet)
    after = values(out)
    assert summary.cells == 12
    assert times(out) == volumes
    assert before.index.equals(after.index)
    changed = before["value"].ne(after["value"]) & before["value"].notna()
    assert set(before.index[changed].get_level_values("metric")) == {"stripe_index"}
    folder = RunFolder(out)
    assert folder.read_record().stacking_axis == 2
    assert len(folder.read_record().invocations) == 2
    assert load_experiment(folder.config).scoring.stacking_axis == 2


def test_failures_of_the_method_stay_and_others_count(out: Path) -> None:
    before = values(out)
    failed = set(before.index[before["status"] == "failed"].get_level_values("subject"))
    assert failed == {"s1"}
    summary = rescore_run(out, ["scoring.stacking_axis=1"], say=quiet)
    after = values(out)
    assert after["status"].equals(before["status"])
    assert summary.failed
    assert all("too bright" in reason for reason in summary.failed.values())


def test_what_is_current_is_left_alone(out: Path) -> None:
    rescore_run(out, say=quiet)
    records = {path: read_json(path) for path in out.rglob("cell.json")}
    scores = {path: path.stat().st_mtime_ns for path in out.rglob("scores.csv")}
    rescore_run(out, say=quiet)
    for path, record in records.items():
        assert read_json(path)["keys"] == record["keys"]
        assert read_json(path)["stages"] == record["stages"]
        if record["status"] == "ok":
            assert (
                path.with_name("scores.csv").stat().st_mtime_ns
                == scores[path.with_name("scores.csv")]
            )


def test_a_run_takes_over_what_was_rescored(out: Path) -> None:
    rescore_run(out, ["scoring.stacking_axis=2"], say=quiet)
    records = {path: read_json(path)["stages"] for path in out.rglob("identity/**/cell.json")}
    experiment = load_experiment(RunFolder(out).config, ["methods={}"])
    run_experiment(experiment, out, say=quiet)
    assert {path: read_json(path)["stages"] for path in records} == records


def test_another_segmenter_segments_everything_again(out: Path) -> None:
    rescore_run(out, changes={"scoring.segmenter": "hmrf"}, say=quiet)
    after = values(out)
    assert set(after["segmenter"]) == {"hmrf"}
    assert RunFolder(out).read_record().segmenter.name == "hmrf"
    assert (after["status"] == "ok").any()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scoring.mask_background=false", "how volumes were stored"),
        ("methods.dim.gain=2", r"only scoring\.\*, jobs and device"),
        ("scoring.segmenter=fats", "unknown segmenter 'fats'"),
    ],
)
def test_refuses_what_needs_a_run(out: Path, override: str, message: str) -> None:
    before = (out / "config.yaml").read_text(), values(out)
    with pytest.raises(HarmbenchError, match=message):
        rescore_run(out, [override], say=quiet)
    assert (out / "config.yaml").read_text() == before[0]
    assert values(out).equals(before[1])


def test_refuses_real_scans_that_changed(out: Path) -> None:
    first, second, *_ = (scan.path for scan in RunFolder(out).input_scans().scans.values())
    scan = read(first)
    write(scan.with_data(np.clip(scan.data + 0.01, 0, 1)), first)
    second.unlink()
    with pytest.raises(CohortError) as error:
        rescore_run(out, say=quiet)
    assert f"{first} has changed" in str(error.value)
    assert f"{second} is gone" in str(error.value)


def test_a_run_without_cells(out: Path) -> None:
    for path in out.rglob("cell.json"):
        path.unlink()
    with pytest.raises(RunError, match="no cells"):
        rescore_run(out, say=quiet)
    with pytest.raises(ConfigError):
        rescore_run(out, ["scoring.surface_backend=nothing"], say=quiet)


def test_a_record_that_another_run_wrote_meanwhile_is_kept(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(out)

    def conclude_late(*arguments: Any) -> Summary:
        other = Invocation(id="other", version="0")
        added = RunRecord(invocations=(other,), methods={"other": MethodRecord()})
        add_invocation(folder.root, "other", added)
        return conclude(*arguments)

    monkeypatch.setattr("harmbench.runner.rescore.conclude", conclude_late)
    rescore_run(out, ["scoring.stacking_axis=2"], say=quiet)
    record = folder.read_record()
    assert "other" in record.methods
    first, own, other = record.invocations
    assert other.id == "other"
    assert own.cells == 12
    assert own.config["scoring"]["stacking_axis"] == 2
    assert len({first.id, own.id}) == 2


def test_a_cell_says_which_invocation_made_what(out: Path) -> None:
    rescore_run(out, ["scoring.stacking_axis=2"], say=quiet)
    first, second = (one.id for one in RunFolder(out).read_record().invocations)
    for cell, record in RunFolder(out).cells():
        if cell.method != "target":
            assert record.made_by.fit == first
            assert set(record.made_by.harmonize.values()) == {first}
        assert set(record.made_by.score.values()) == {second}
