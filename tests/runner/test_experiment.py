"""Runs from cohort to results on tiny volumes, with failures, kills and reruns."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmbench.code_keys import stage_code
from harmbench.config import load_experiment
from harmbench.errors import CohortError, ConfigError, FoldError, HarmbenchError, RunError
from harmbench.metrics.suite import METRICS
from harmbench.results import CEILING, read_results
from harmbench.runner.experiment import Summary, run_experiment
from harmbench.runner.folder import CellFolder, RunFolder
from harmbench.runner.grid import FinishedCell, collect, finished_cells, make_cells
from harmbench.runner.pairs import CellSplit, SessionPair
from harmbench.runner.run_record import Invocation
from harmbench.storage import read_json
from harmbench.task import Direction
from harmbench.volume import Volume, read, write

pytestmark = pytest.mark.usefixtures("thresholds")

ADAPTER = '''
import json
from pathlib import Path

from pydantic import Field

from harmbench.method import Method, Settings

CALLS = Path(__file__).with_name("calls.txt")


class TricksSettings(Settings):
    gain: float = Field(1.0)
    fail: str = ""


class Tricks(Method):
    """Fails where it is told to, and notes what it was asked to do."""

    Config = TricksSettings

    def _note(self, what):
        with CALLS.open("a") as file:
            file.write(what + "\\n")

    def fit(self, pairs, task):
        self._note("fit " + str(task.direction) + " " + str(task.fold))
        assert all(pair.source.same_grid(pair.target) for pair in pairs)
        (task.folder / "subjects.json").write_text(json.dumps([p.subject for p in pairs]))
        if self.config.fail.startswith("raise "):
            raise eval(self.config.fail.removeprefix("raise "))
        if self.config.fail == "interrupt":
            import signal

            signal.raise_signal(signal.SIGINT)
        if self.config.fail == "chdir":
            import os

            os.chdir("/")
        if self.config.fail == "fit":
            raise ValueError("no gradient")

    def harmonize(self, source, task):
        self._note("harmonize")
        if self.config.fail == "harmonize" and source.data[3, 12, 10] > 0.5:
            raise ValueError("too bright")
        if self.config.fail == "dark":
            return source.with_data(source.data * 0.1)
        if self.config.fail == "exit":
            raise SystemExit
        if self.config.fail.startswith("keep "):
            for name in self.config.fail.removeprefix("keep ").split("|"):
                task.keep(name, source)
        if self.config.fail == "keep":
            task.keep("half of it", source.with_data(source.data * 0.5))
        return source.with_data(source.data * self.config.gain)
'''


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "tricks.py"
    path.write_text(ADAPTER)
    return path


@pytest.fixture
def start(make_manifest, adapter: Path, tmp_path: Path) -> Callable[..., Summary]:
    """Run an experiment on four tiny subjects in two folds."""
    manifest = make_manifest(4)

    def run(*overrides: str, out: str = "out", **tricks: object) -> Summary:
        methods = {"tricks": {"uses": f"{adapter}:Tricks", **tricks}} if tricks else {}
        changes = {"data.path": manifest, "methods": methods, "folds.k": 2}
        defaults = [
            "scoring.segmenter=thresholds",
            "device=cpu",
            "controls=[identity]",
            "volume_controls=[]",
        ]
        experiment = load_experiment(None, [*defaults, *overrides], changes)
        if any(override.startswith("folds.k") for override in overrides):
            del changes["folds.k"]
            experiment = load_experiment(None, [*defaults, *overrides], changes)
        return run_experiment(experiment, tmp_path / out, say=lambda _: None)

    return run


def _calls(adapter: Path) -> list[str]:
    path = adapter.with_name("calls.txt")
    return path.read_text().splitlines() if path.exists() else []


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


def test_train_and_test_subjects_never_meet(start, adapter: Path, tmp_path: Path) -> None:
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


def test_a_current_run_does_nothing_again(start, adapter: Path, tmp_path: Path) -> None:
    start(gain=1.0)
    before = (tmp_path / "out" / "results.csv").read_bytes()
    calls = len(_calls(adapter))
    start(gain=1.0)
    assert len(_calls(adapter)) == calls
    assert (tmp_path / "out" / "results.csv").read_bytes() == before


def test_other_settings_redo_what_hangs_on_them(start, adapter: Path, tmp_path: Path) -> None:
    start(gain=1.0)
    first = read_results(tmp_path / "out" / "results.csv")
    calls = len(_calls(adapter))
    start(gain=0.5)
    assert len(_calls(adapter)) == 2 * calls
    second = read_results(tmp_path / "out" / "results.csv")
    changed = (first["value"] - second["value"]).abs() > 0
    assert set(first["method"][changed]) == {"tricks"}
    start("scoring.surface_backend=medpy", gain=0.5)
    assert len(_calls(adapter)) == 2 * calls, "rescoring fits nothing"


def test_edited_code_is_run_again_and_a_comment_is_not(start, adapter: Path) -> None:
    start(gain=1.0)
    calls = len(_calls(adapter))
    adapter.write_text("# a comment changes nothing\n" + ADAPTER)
    start(gain=1.0)
    assert len(_calls(adapter)) == calls
    adapter.write_text(ADAPTER + "\n\nHALF = 0.5\n")
    start(gain=1.0)
    assert len(_calls(adapter)) == 2 * calls


@pytest.mark.parametrize(
    ("stage", "fits", "harmonizes"), [("read", 2, 4), ("harmonize", 0, 4), ("score", 0, 0)]
)
def test_edited_code_of_a_stage_redoes_that_stage(
    start, adapter: Path, tmp_path: Path, monkeypatch, stage: str, fits: int, harmonizes: int
) -> None:
    def edited(name: str) -> str:
        return "edited" if name == stage else stage_code(name)

    start("data.direction=A-to-B", gain=1.0)
    calls = len(_calls(adapter))
    stages = [record.stages for _, record in RunFolder(tmp_path / "out").cells()]
    for place in ("inputs", "stages.harmonize", "stages.score"):
        monkeypatch.setattr(f"harmbench.runner.{place}.stage_code", edited)
    start("data.direction=A-to-B", gain=1.0)
    again = _calls(adapter)[calls:]
    assert again.count("harmonize") == harmonizes
    assert len(again) == fits + harmonizes
    after = [record.stages for _, record in RunFolder(tmp_path / "out").cells()]
    assert all(one != other for one, other in zip(stages, after, strict=True))


def test_a_failed_fit_is_rows_and_the_others_go_on(start, tmp_path: Path) -> None:
    summary = start(fail="fit")
    assert len(summary.failed) == 4
    assert all("no gradient" in reason for reason in summary.failed.values())
    results = read_results(tmp_path / "out" / "results.csv")
    failed = results[results["method"] == "tricks"]
    ok = results[results["method"] == "identity"]
    assert (failed["status"] == "failed").all()
    assert failed["value"].isna().all()
    assert len(failed) == len(ok)
    assert set(ok["status"]) <= {"ok", "empty", "undefined"}
    folder = RunFolder(tmp_path / "out")
    cell = next(cell for cell, _ in folder.cells() if cell.method == "tricks")
    log = folder.cell(cell).log.read_text()
    assert "Traceback" in log
    assert "ValueError: no gradient" in log


def test_a_failed_cell_is_tried_again(start, tmp_path: Path) -> None:
    start(fail="fit")
    assert not start(gain=1.0).failed
    results = read_results(tmp_path / "out" / "results.csv")
    assert not (results["status"] == "failed").any()


def test_one_failing_subject_costs_its_own_rows_only(start, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    scan = read(folder / "s2_A.nii.gz")
    bright = scan.data.copy()
    bright[3, 12, 10] = 0.9
    for name in ("s0", "s1", "s3"):
        other = read(folder / f"{name}_A.nii.gz")
        dim = other.data.copy()
        dim[3, 12, 10] = 0.2
        write(Volume(dim, other.affine), folder / f"{name}_A.nii.gz")
    write(Volume(bright, scan.affine), folder / "s2_A.nii.gz")
    start("data.direction=A-to-B", fail="harmonize")
    results = read_results(tmp_path / "out" / "results.csv")
    rows = results[results["method"] == "tricks"]
    assert set(rows["subject"]) == {"s0", "s1", "s2", "s3"}
    assert set(rows["subject"][rows["status"] == "failed"]) == {"s2"}


def test_a_failed_segmentation_keeps_the_image_scores(start, tmp_path: Path) -> None:
    summary = start(fail="dark")
    assert not summary.failed
    assert len(summary.incomplete) == 4
    assert all("too dark for three classes" in reason for reason in summary.incomplete.values())
    results = read_results(tmp_path / "out" / "results.csv")
    rows = results[results["method"] == "tricks"]
    tissue = rows["tissue"] != ""
    assert (rows["status"][tissue] == "segmentation_failed").all()
    assert rows["value"][tissue].isna().all()
    assert rows["value"][rows["metric"] == "mse"].notna().all()


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


def test_other_data_or_folds_need_another_folder(start, tmp_path: Path) -> None:
    start()
    with pytest.raises(RunError, match=r"other subjects or folds \(\d in another fold: s"):
        start("folds.seed=5")
    scan = read(tmp_path / "scans" / "s0_A.nii.gz")
    write(scan.with_data(scan.data * 0.9), tmp_path / "scans" / "s0_A.nii.gz")
    with pytest.raises(RunError, match=r"other scans.*1 changed: s0 A"):
        start()


def test_jobs_in_processes_give_the_same_results(start, tmp_path: Path) -> None:
    start("scoring.segmenter=atropos", "jobs=1", out="one")
    start("scoring.segmenter=atropos", "jobs=2", out="two")
    one, two = (read_results(tmp_path / name / "results.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize(
    ("overrides", "tricks", "error", "message"),
    [
        (["folds.k=5"], {}, FoldError, "5 folds of 4 subjects: choose from 2 to 4"),
        (["folds.run=7"], {}, FoldError, "no such fold: '7'"),
        (["scoring.segmenter=fasst"], {}, HarmbenchError, "unknown segmenter 'fasst'"),
        (["data.direction=A-to-C"], {}, CohortError, "unknown direction 'A-to-C'"),
        ([], {"gian": 1}, ConfigError, "methods.tricks.gian: unknown.*'gain'"),
        ([], {"uses": "nothing"}, HarmbenchError, "unknown method 'nothing'"),
    ],
)
def test_bad_requests_write_nothing(start, tmp_path, overrides, tricks, error, message) -> None:
    with pytest.raises(error, match=message):
        start(*overrides, **tricks)
    assert not (tmp_path / "out").exists()


def test_bad_scans_write_nothing(start, tmp_path: Path) -> None:
    (tmp_path / "scans" / "s1_B.nii.gz").write_bytes(b"no image")
    with pytest.raises(CohortError, match="subject s1, session B"):
        start()
    assert not (tmp_path / "out").exists()


def test_a_scan_that_stands_twice_is_a_leak(start, tmp_path: Path) -> None:
    copy = (tmp_path / "scans" / "s0_A.nii.gz").read_bytes()
    (tmp_path / "scans" / "s1_A.nii.gz").write_bytes(copy)
    with pytest.raises(CohortError, match="subject s1, session A is the same scan as subject s0"):
        start()


def test_unusable_run_folders(start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        start(out="file/run")
    if Path("/proc/self").is_dir():
        # Nobody can make a folder there, root neither.
        with pytest.raises(RunError, match=r"/proc/run: cannot write in /proc"):
            start(out="/proc/run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(RunError, match="neither empty nor a run folder"):
        start(out="full")


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

    def collect_late(folder: RunFolder, _: list[FinishedCell]) -> pd.DataFrame:
        if waiting:
            waiting.pop()
            start("folds.run=1", gain=0.5)
        return collect(folder, finished_cells(folder))

    monkeypatch.setattr("harmbench.runner.experiment.collect", collect_late)
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


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("raise SystemExit(0)", r"fit: sys\.exit\(0\) was called"),
        ("raise SystemExit('no licence')", r"fit: sys\.exit\('no licence'\) was called"),
        ("raise GeneratorExit()", "fit: GeneratorExit was raised"),
        ("raise KeyboardInterrupt()", "fit: KeyboardInterrupt was raised"),
        ("raise type('Own', (BaseException,), {})('x')", "fit: Own was raised: x"),
        ("exit", r"subject s\d: sys\.exit\(\) was called"),
    ],
)
def test_a_method_that_ends_the_program_fails(
    start, tmp_path: Path, fail: str, message: str
) -> None:
    summary = start("data.direction=A-to-B", "folds.run=0", fail=fail)
    (reason,) = summary.failed.values()
    assert re.match(message, reason)
    results = read_results(tmp_path / "out" / "results.csv")
    assert (results["status"][results["method"] == "tricks"] == "failed").all()
    assert set(results["method"]) == {"identity", "target", "tricks"}


def test_an_interrupt_stays_one(start) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(fail="interrupt")


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


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("", "a method has an empty name"),
        ("Target", "would share one file"),
        ("IDENTITY", "would share one file"),
        ("m" * 300, "too long for a file"),
    ],
)
def test_labels_that_cannot_be_folders(make_manifest, adapter, tmp_path, label, message) -> None:
    changes = {
        "data.path": make_manifest(4),
        "methods": {label: {"uses": f"{adapter}:Tricks"}},
        "scoring.segmenter": "thresholds",
    }
    with pytest.raises(RunError, match=message):
        run_experiment(load_experiment(None, (), changes), tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_dots_are_labels_like_others(make_manifest, adapter: Path, tmp_path: Path) -> None:
    changes = {
        "data.path": make_manifest(2),
        "data.direction": "A-to-B",
        "methods": {name: {"uses": f"{adapter}:Tricks"} for name in (".", "..")},
        "scoring.segmenter": "thresholds",
        "folds.run": "0",
    }
    run_experiment(load_experiment(None, (), changes), tmp_path / "out", say=lambda _: None)
    folder = RunFolder(tmp_path / "out")
    assert {".", ".."} <= {cell.method for cell, _ in folder.cells()}
    assert {path.parts[-5] for path in (tmp_path / "out").rglob("cell.json")} > {"%2E", "%2E%2E"}
    known = {"out", "scans", "tricks.py", "calls.txt", "__pycache__"}
    assert {path.name for path in tmp_path.iterdir()} <= known


@pytest.mark.parametrize("names", ["a|A", "", "é|e\u0301|É"])
def test_names_of_kept_volumes_are_told_apart(start, names: str) -> None:
    summary = start("data.direction=A-to-B", "folds.run=0", fail=f"keep {names}")
    (reason,) = summary.failed.values()
    assert "keep(" in reason


def _cut(text: str) -> str:
    return text[: len(text) // 2]


def _digit(text: str) -> str:
    head, _, last = text.rstrip().rpartition("0.")
    return f"{head}0.9{last}\n"


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _digit,
        lambda text: "",
        lambda text: "\0" * len(text),
        lambda text: text.splitlines()[0] + "\n",
        lambda text: "\n".join(text.splitlines()[:-1]) + "\n",
        lambda text: text + text.splitlines()[-1] + "\n",
        lambda text: text.replace(",0,0,", ",x,0,"),
        lambda text: text.replace("mse", "esm"),
        lambda text: text.replace(
            "method,",
            "",
        ),
        lambda text: text + '"',
    ],
)
def test_damaged_scores_are_made_again(start, adapter: Path, tmp_path: Path, damage) -> None:
    start("data.direction=A-to-B", "folds.run=0", gain=0.5)
    expected = (tmp_path / "out" / "results.csv").read_bytes()
    calls = len(_calls(adapter))
    for path in (tmp_path / "out").rglob("scores.csv"):
        good = path.read_text()
        path.write_text(damage(good))
        assert path.read_text() != good
    start("data.direction=A-to-B", "folds.run=0", gain=0.5)
    assert (tmp_path / "out" / "results.csv").read_bytes() == expected
    assert len(_calls(adapter)) == calls, "nothing is fitted or harmonized for that"


def test_damaged_scores_of_cells_that_do_not_run_are_told(start, tmp_path: Path) -> None:
    start("data.direction=A-to-B")
    path = tmp_path / "out/cells/identity/A-to-B/fold-1/seed-0/scores.csv"
    path.write_text(_cut(path.read_text()))
    said: list[str] = []
    experiment = load_experiment(tmp_path / "out" / "config.yaml", ["folds.run=0"])
    assert not run_experiment(experiment, tmp_path / "out", say=said.append).failed
    assert [line for line in said if "fold 1" in line and "missing or damaged" in line]
    damaged = CellFolder(path.parent)
    damaged.record.write_text("{")
    start("data.direction=A-to-B")
    assert damaged.read_record().status == "ok"


def test_cells_of_an_earlier_harmbench_are_run_again_and_that_is_said(
    start, tmp_path: Path
) -> None:
    start("data.direction=A-to-B", gain=0.5)
    paths = list((tmp_path / "out").rglob("cell.json"))
    for path in paths:
        record = json.loads(path.read_text())
        for name in ("key_scheme", "made_by", "checksums"):
            del record[name]
        path.write_text(json.dumps({**record, "keys": dict.fromkeys(record["keys"], "old")}))
    said: list[str] = []
    experiment = load_experiment(tmp_path / "out" / "config.yaml")
    assert not run_experiment(experiment, tmp_path / "out", say=said.append).failed
    assert [line for line in said if line.startswith(f"{len(paths)} cells in")]
    said.clear()
    run_experiment(experiment, tmp_path / "out", say=said.append)
    assert not [line for line in said if "earlier" in line]


def test_half_written_files_are_swept(start, tmp_path: Path) -> None:
    start()
    litter, young = (tmp_path / "out" / "segmentations" / f".tmp-{i}.nii.gz" for i in "ab")
    litter.write_text("half")
    os.utime(litter, (1e9, 1e9))
    young.write_text("another run is writing this")
    start()
    assert not litter.exists()
    assert young.exists()


def test_cells_are_the_product_controls_first() -> None:
    experiment = load_experiment(overrides=["methods.dm={}", "seeds=[1, 2]"])
    pairs = tuple(SessionPair(subject, "", "a", "b") for subject in "stu")
    split = CellSplit(pairs[1:], pairs[:1], simple=True)
    cells = make_cells(experiment, {(Direction("a", "b"), fold): split for fold in (0, 2)})
    assert [c.method for c in cells[::4]] == [CEILING, "identity", "histogram_matching", "dm"]
    assert len(cells) == 4 * 1 * 2 * 2
    assert len({c.path for c in cells}) == len(cells)
