"""Runs from cohort to results on tiny volumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from unsealed import unsealed

from harmbench.config import load_experiment
from harmbench.metrics.suite import METRICS
from harmbench.results import CEILING, read_results
from harmbench.runner.experiment import Summary, conclude, run_experiment
from harmbench.runner.folder import RunFolder
from harmbench.runner.grid import make_cells
from harmbench.runner.pairs import CellSplit, SessionPair
from harmbench.runner.run_record import Invocation
from harmbench.storage import read_json
from harmbench.task import Direction
from harmbench.volume import read

pytestmark = pytest.mark.usefixtures("thresholds")


def test_a_whole_run(start, tmp_path: Path) -> None:
    summary = start()
    assert (summary.cells, dict(summary.failed)) == (8, {})
    results = read_results(tmp_path / "out" / "results.csv")
    # Two methods (identity and the ceiling), two directions, four subjects.
    per_volume = sum(3 if m.scope == "tissue" else 1 for m in METRICS.values())
    assert len(results) == 2 * 2 * 4 * per_volume
    assert set(results["status"]) <= {"ok", "empty", "undefined"}
    assert results.groupby(["method", "direction"])["subject"].nunique().eq(4).all()
    ceiling = results[results["method"] == CEILING].set_index("metric")["value"]
    assert (ceiling["mse"] == 0).all()
    assert (ceiling["dice"] == 1).all()
    units = dict(zip(results["metric"], results["unit"], strict=True))
    assert units == {name: METRICS[name].unit for name in units}


def test_original_scores_equal_a_direct_calculation(start, tmp_path: Path) -> None:
    start()
    results = read_results(tmp_path / "out" / "results.csv")
    folder = RunFolder(tmp_path / "out")
    for subject in ("s0", "s3"):
        source, target = (folder.input_volume(subject, s).data for s in "AB")
        rows = results[(results["subject"] == subject) & (results["method"] == "identity")]
        both = rows[rows["metric"] == "mse"].set_index("direction")["value"]
        expected = float(np.mean((source.astype(float) - target) ** 2))
        assert both["A-to-B"] == pytest.approx(expected, rel=1e-6)
        assert both["B-to-A"] == pytest.approx(expected, rel=1e-6)


def test_train_and_test_subjects_never_meet(start, tmp_path: Path) -> None:
    start(gain=1.0)
    folder = RunFolder(tmp_path / "out")
    seen = 0
    for cell, record in folder.cells():
        if cell.method == "tricks":
            trained = json.loads((folder.cell(cell).training / "subjects.json").read_text())
            assert record.subjects is not None
            assert not set(trained) & set(record.subjects)
            assert len(trained) + len(record.subjects) == 4
            seen += 1
    assert seen == 4


def test_outputs_lie_on_their_scan(start, tmp_path: Path) -> None:
    start(gain=0.5)
    folder = RunFolder(tmp_path / "out")
    for cell, record in folder.cells():
        for subject in record.subjects if cell.method != CEILING else ():
            source = folder.input_volume(subject, cell.direction.source)
            assert folder.harmonized(cell, subject).same_grid(source)


def test_runs_into_one_folder_add_up(start, tmp_path: Path) -> None:
    start("folds.run=0", "data.direction=A-to-B")
    start("folds.run=1", "data.direction=A-to-B")
    start("data.direction=B-to-A", gain=0.7)
    results = read_results(tmp_path / "out" / "results.csv")
    counts = results.groupby(["method", "direction"])["subject"].nunique().to_dict()
    assert counts == {
        ("identity", "A-to-B"): 4,
        ("identity", "B-to-A"): 4,
        (CEILING, "A-to-B"): 4,
        (CEILING, "B-to-A"): 4,
        ("tricks", "B-to-A"): 4,
    }
    record = RunFolder(tmp_path / "out").read_record()
    assert set(record.methods) == {"identity", "tricks", CEILING}
    assert len(record.invocations) == 3


def test_jobs_in_processes_give_the_same_results(
    start, file_segmenter: str, tmp_path: Path
) -> None:
    start(f"scoring.segmenter={file_segmenter}", "jobs=1", out="one")
    start(f"scoring.segmenter={file_segmenter}", "jobs=2", out="two")
    one, two = (read_results(tmp_path / name / "results.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)


def test_the_record_says_what_was_done(start, tmp_path: Path) -> None:
    start(gain=0.5)
    folder = RunFolder(tmp_path / "out")
    record = folder.read_record()
    assert record.methods["tricks"].settings == {"gain": 0.5, "fail": ""}
    segmenter = {"name": "thresholds", "version": "1", "contrast": "T1w"}
    assert record.segmenter.model_dump() == segmenter
    invocation = read_json(folder.record)["invocations"][0]
    assert {"started", "finished", "packages", "host", "device", "git", "python"} <= set(invocation)
    assert load_experiment(folder.config).methods["tricks"]["gain"] == 0.5
    start("folds.run=0", gain=0.7)
    kept = [one.config["methods"]["tricks"]["gain"] for one in _invocations(folder)]
    assert kept == [0.5, 0.7], "an invocation's settings outlive the next one"
    cell, cell_record = next((c, r) for c, r in folder.cells() if c.method == "tricks")
    assert set(cell_record.stages) == {"fit", "harmonize", "segment", "score"}
    for cost in cell_record.stages.values():
        assert cost.wall_s >= 0
        assert cost.peak_memory_mb > 10
    assert folder.cell(cell).root.is_dir()


def test_the_data_sets_citation_is_recorded(start, tmp_path: Path) -> None:
    start("data.citation=Lesjak et al. 2018", "folds.run=0")
    record = RunFolder(tmp_path / "out").read_record()
    assert record.cohort.citation == "Lesjak et al. 2018"


def _invocations(folder: RunFolder) -> tuple[Invocation, ...]:
    return folder.read_record().invocations


def test_runs_side_by_side_keep_each_others_records(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = ["another run into the same folder, which starts and ends before this one does"]

    def conclude_late(*arguments: Any) -> Summary:
        if waiting:
            waiting.pop()
            start("folds.run=1", gain=0.5)
        return conclude(*arguments)

    monkeypatch.setattr("harmbench.runner.experiment.conclude", conclude_late)
    start("folds.run=0")
    folder = RunFolder(tmp_path / "out")
    assert set(folder.read_record().methods) == {"identity", "tricks", CEILING}
    first, second = _invocations(folder)
    assert (first.cells, second.cells) == (4, 6)
    assert first.finished >= second.finished


def test_what_a_method_gives_beside_its_volumes_is_kept_until_it_gives_it_no_more(
    start, tmp_path: Path
) -> None:
    start(fail="keep")
    folder = RunFolder(tmp_path / "out")
    cells = [(c, r) for c, r in folder.cells() if c.method == "tricks"]
    for cell, record in cells:
        for subject in record.subjects:
            kept = read(folder.cell(cell).kept(subject, "half of it"))
            source = folder.input_volume(subject, cell.direction.source)
            np.testing.assert_allclose(kept.data, source.data * 0.5)
            assert kept.same_grid(source)
    start(fail="")
    assert not [f for c, _ in cells for f in folder.cell(c).beside.rglob("*.nii.gz")]


def test_a_method_may_change_the_working_directory(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = Path("scans", "manifest.csv")
    adapter = Path("tricks.py")
    experiment = load_experiment(
        None,
        [
            "scoring.segmenter=thresholds",
            "device=cpu",
            "controls=[identity]",
            "volume_controls=[]",
            "folds.k=2",
        ],
        {
            "data.path": manifest,
            "methods": {"tricks": {"uses": f"{adapter}:Tricks", "fail": "chdir"}},
        },
    )
    summary = run_experiment(experiment, Path("relative"), say=lambda _: None)
    assert not summary.failed
    assert Path.cwd() == tmp_path
    assert summary.out == Path("relative")
    scans = RunFolder(tmp_path / "relative").input_scans().scans.values()
    assert all(scan.path.is_absolute() for scan in scans)
    stored = load_experiment(tmp_path / "relative" / "config.yaml")
    assert stored.data.path == tmp_path / manifest


def test_cells_of_an_earlier_harmbench_are_run_again_and_that_is_said(
    start, tmp_path: Path
) -> None:
    start("data.direction=A-to-B", gain=0.5)
    paths = list((tmp_path / "out").rglob("cell.json"))
    for path in paths:
        record = unsealed(path)
        for name in ("key_scheme", "made_by", "checksums"):
            del record[name]
        path.write_text(json.dumps({**record, "keys": dict.fromkeys(record["keys"], "old")}))
    said: list[str] = []
    experiment = load_experiment(tmp_path / "out" / "config.yaml")
    assert not run_experiment(experiment, tmp_path / "out", say=said.append).failed
    assert [line for line in said if line.startswith(f"{len(paths)} cells in")]
    said.clear()
    run_experiment(experiment, tmp_path / "out", say=said.append)
    assert not [line for line in said if line.startswith(f"{len(paths)} cells in")]


def test_cells_are_the_product_controls_first() -> None:
    experiment = load_experiment(overrides=["methods.dm={}", "seeds=[1, 2]"])
    pairs = tuple(SessionPair(subject, "", "a", "b") for subject in "stu")
    split = CellSplit(pairs[1:], pairs[:1], simple=True)
    cells = make_cells(experiment, {(Direction("a", "b"), fold): split for fold in (0, 2)})
    assert [c.method for c in cells[::4]] == [CEILING, "identity", "histogram_matching", "dm"]
    assert len(cells) == 4 * 1 * 2 * 2
    assert len({c.path for c in cells}) == len(cells)
