"""Comparing runs, exporting results without names, and comparing what was exported."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from unsealed import unsealed

from harmbench.errors import ReportError, RunError
from harmbench.exchange.archive import read_archive
from harmbench.exchange.export import export_results, shared_results
from harmbench.metrics.suite import METRICS
from harmbench.report.boards import make_boards, read_source
from harmbench.report.compare import compare
from harmbench.results import read_results, write_results, write_training_sizes
from harmbench.runner.folder import RunFolder

MakeRun = Callable[..., Path]
SUBJECTS = ("Alice Miller", "sub-0042", "Zoe_1999", "patient4")
HOST = "scanner-room-7"


def change(path: Path, **values: object) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps({**unsealed(path), **values}))


@pytest.fixture
def named_run(make_run: MakeRun) -> Path:
    """A run whose subjects, paths, host and settings would tell whose it is."""
    run = make_run("private-study", subjects=SUBJECTS, volumes=False)
    record = RunFolder(run).read_record()
    methods = {name: method.model_dump(mode="json") for name, method in record.methods.items()}
    methods["dm"]["uses"] = "/home/alice/secret/dm.py:Dm"
    methods["dm"]["settings"] = {"weights": "/home/alice/w.pt", "like": ["Zoe_1999"], "steps": 10}
    methods["dm"]["settings"]["sub-0042"] = {"folder": "data/raw"}
    invocation = {"host": HOST, "version": "0.2.0", "command": ["harmbench", "/home/alice"]}
    cohort = {**record.cohort.model_dump(mode="json"), "preparation": {"mask": "C:\\alice\\m.nii"}}
    change(run / "run.json", methods=methods, invocations=[invocation], cohort=cohort)
    return run


def everything_in(path: Path) -> str:
    """All bytes of a file and of what it holds."""
    with zipfile.ZipFile(path) as archive:
        parts = [archive.read(name) for name in archive.namelist()]
        return b"\n".join([*parts, *map(str.encode, archive.namelist())]).decode()


def test_no_name_leaves(named_run: Path, tmp_path: Path) -> None:
    text = everything_in(export_results(named_run, tmp_path / "out.zip"))
    for name in (*SUBJECTS, HOST, "alice", "Alice", "private-study", str(tmp_path), "nii", "raw"):
        assert name not in text
    record, results, _ = read_archive(tmp_path / "out.zip")
    assert record.methods["dm"].uses == "dm.py:Dm"
    assert record.methods["dm"].settings == {
        "weights": "(left out)",
        "like": ["(left out)"],
        "steps": 10,
        "(left out)": {"folder": "(left out)"},
    }
    assert set(results["subject"]) == {"1", "2", "3", "4"}
    assert (tmp_path / "out.zip").stat().st_size < 20_000


def test_the_same_results_give_the_same_bytes(named_run: Path, tmp_path: Path) -> None:
    one, other = (export_results(named_run, tmp_path / f"{n}.zip").read_bytes() for n in "ab")
    assert one == other


def test_numbers_of_subjects_follow_their_scans_not_their_names(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(volumes=False)
    before = shared_results(run)
    # Every subject's name is changed so that the order of names is the reverse.
    new = {"s1": "z", "s2": "y", "s3": "x", "s4": "w"}
    for name in ("inputs.csv", "results.csv"):
        frame = pd.read_csv(run / name, keep_default_na=False)
        frame.assign(subject=frame["subject"].map(new)).to_csv(run / name, index=False)
    after = shared_results(run)
    assert after.record.cohort == before.record.cohort
    columns = ["subject", "method", "direction", "metric", "tissue"]
    pd.testing.assert_series_equal(
        before.results.set_index(columns)["value"].sort_index(),
        after.results.set_index(columns)["value"].sort_index(),
        rtol=1e-8,
    )


def test_a_cohort_with_other_scans_is_another(make_run: MakeRun) -> None:
    cohorts: list[dict[str, object]] = [{}, {"salt": "x"}, {"subjects": ("s1", "s2", "s3")}]
    keys = {
        shared_results(make_run(str(number), volumes=False, **fields)).record.cohort.key
        for number, fields in enumerate(cohorts)
    }
    assert len(keys) == 3


def test_dates_of_visits_become_numbers(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(volumes=False)
    frame = read_results(run / "results.csv")
    days = np.where(frame["direction"] == "3T-to-1.5T", "2019-03-01", "2021-07-22")
    write_results(frame.assign(visit=days), run / "results.csv")
    text = everything_in(export_results(run, tmp_path / "out.zip"))
    assert "2019" not in text
    _, results, _ = read_archive(tmp_path / "out.zip")
    assert set(results["visit"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("field", "value"), [("label", "Scans of Zoe_1999"), ("group", "near sub-0042")]
)
def test_names_in_what_must_stay_are_refused(
    named_run: Path, tmp_path: Path, field: str, value: str
) -> None:
    if field == "group":
        frame = read_results(named_run / "results.csv")
        write_results(frame.assign(group=value), named_run / "results.csv")
    with pytest.raises(ReportError, match="holds the name of a subject"):
        export_results(named_run, tmp_path / "out.zip", value if field == "label" else "")
    assert not (tmp_path / "out.zip").exists()


def test_what_cannot_be_exported(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(volumes=False)
    with pytest.raises(ReportError, match=r"ends in \.zip"):
        export_results(run, tmp_path / "out.csv")
    with pytest.raises(ReportError, match="not a run folder"):
        export_results(tmp_path, tmp_path / "out.zip")
    (tmp_path / "other.zip").write_text("not mine to replace")
    with pytest.raises(ReportError, match="choose another file"):
        export_results(run, tmp_path / "other.zip")
    (run / "inputs.csv").unlink()
    with pytest.raises(RunError, match=r"inputs.csv: missing or damaged"):
        export_results(run, tmp_path / "out.zip")


def test_exports_of_one_cohort_give_the_numbers_of_the_run_folders(
    make_run: MakeRun, blank_figures: None, tmp_path: Path
) -> None:
    subjects = [f"s{number}" for number in range(8)]
    failed = frozenset({("pgan", 1)})
    runs = [
        make_run("a", subjects=subjects, volumes=False, gammas={"identity": 1.0, "pgan": 0.66}),
        make_run("b", subjects=subjects, volumes=False, gammas={"dm": 0.62}, failed=failed),
    ]
    compare(runs, tmp_path / "folders")
    files = [export_results(run, tmp_path / f"{run.name}.zip") for run in runs]
    page = compare(files, tmp_path / "files").read_text()
    one, other = (pd.read_csv(tmp_path / n / "summary.csv") for n in ("folders", "files"))
    assert set(other.pop("board")) == {1}
    pd.testing.assert_frame_equal(one, other, rtol=1e-6)
    assert "a.zip: identity, pgan, target" in page
    # A folder beside a file is taken as its file would be.
    compare([runs[0], files[1]], tmp_path / "mixed")
    mixed = pd.read_csv(tmp_path / "mixed" / "summary.csv")
    pd.testing.assert_frame_equal(mixed.drop(columns="board"), other)


def test_other_cohorts_stand_side_by_side(
    make_run: MakeRun, blank_figures: None, tmp_path: Path
) -> None:
    here, there = make_run("here", volumes=False), make_run("there", volumes=False, salt="x")
    with pytest.raises(ReportError, match="different files or scalings"):
        compare([here, there], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    files = [
        export_results(run, tmp_path / f"{run.name}.zip", f"<{run.name}>") for run in (here, there)
    ]
    page = compare(files, tmp_path / "out").read_text()
    assert "1. &lt;here&gt;" in page
    assert "2. &lt;there&gt;" in page
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert summary.groupby("board")["n"].max().to_dict() == {1: 4, 2: 4}
    alone = pd.read_csv(compare(files[:1], tmp_path / "alone").parent / "summary.csv")
    first = summary[summary["board"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, alone)
    tables = {path.name for path in (tmp_path / "out" / "tables").glob("*.tex")}
    assert len(tables) == 16  # two boards, two directions, four families
    # The page may be made again in its place.
    compare(files[:1], tmp_path / "out")
    assert len([*(tmp_path / "out" / "tables").glob("*.tex")]) == 8


def test_one_cohort_under_other_conditions_stands_apart(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(name, volumes=False) for name in ("a", "b", "c")]
    change(runs[1] / "run.json", segmenter={"name": "fast", "version": "6"})
    frame = read_results(runs[1] / "results.csv")
    frame.loc[frame["tissue"] != "", "segmenter"] = "fast"
    write_results(frame, runs[1] / "results.csv")
    boards = make_boards(read_source(run, run.name) for run in runs)
    assert [[source.name for source in board.sources] for board in boards] == [["a", "c"], ["b"]]
    assert boards[0].apart == []
    assert "with fast (6) as T1w, those of a with hmrf (1)" in boards[1].apart[0]


def test_what_cannot_be_compared(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="nothing to compare"):
        compare([], tmp_path / "out")
    with pytest.raises(ReportError, match=r"no such file or folder: .*nowhere"):
        compare([tmp_path / "nowhere"], tmp_path / "out")
    (tmp_path / "notes.txt").write_text("no results")
    with pytest.raises(ReportError, match=r"notes.txt: not a file of exported results"):
        compare([make_run(volumes=False), tmp_path / "notes.txt"], tmp_path / "out")


def with_training_sizes(run: Path, sizes: Sequence[int]) -> Path:
    """Add a learning curve to a run: errors that fall with the number of training subjects."""
    frame = read_results(run / "results.csv")
    parts = [frame.assign(train_subjects=n, value=frame["value"] * (1 + 4 / n)) for n in sizes]
    write_training_sizes(parts, run / "training-sizes.csv")
    return run


def test_two_laboratories_merge_all_that_they_exported(make_run: MakeRun, tmp_path: Path) -> None:
    corrections = {"corrections": {"volume_offset": 40.0}, "inner": {"volume_offset": 40.0}}
    one = with_training_sizes(make_run("one", volumes=False, **corrections), [2, 4])
    other = make_run("other", volumes=False, gammas={"identity": 1.0, "unet": 0.63})
    with_training_sizes(other, [2, 3])
    files = [export_results(run, tmp_path / f"{run.name}.zip") for run in (one, other)]
    shared = [read_archive(path) for path in files]
    assert [sorted(set(own.training_sizes["train_subjects"])) for own in shared] == [[2, 4], [2, 3]]
    assert shared[0].record.methods["volume_offset"].maps == "volumes"
    names = set(shared[0].training_sizes["subject"])
    assert names == {"1", "2", "3", "4"}, "subjects are numbers here too"
    boards = make_boards(read_source(path, path.name) for path in files)
    assert len(boards) == 1
    merged = boards[0].evidence(METRICS)
    assert set(merged.methods) == {"identity", "dm", "pgan", "unet", "volume_offset", "target"}
    learned = merged.training_sizes.groupby("method")["train_subjects"].agg(set).to_dict()
    assert learned["dm"] == {2, 4}
    assert learned["unet"] == {2, 3}
    assert learned["identity"] == {2, 3, 4}
    page = compare(files, tmp_path / "out").read_text(encoding="utf-8")
    assert "Training subjects that are needed, 3T to 1.5T" in page


def test_a_changed_learning_curve_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = with_training_sizes(make_run(volumes=False), [2, 4])
    path = export_results(run, tmp_path / "out.zip")
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    for changed in (parts["training-sizes.csv"].replace(b",2,", b",3,", 1), None):
        with zipfile.ZipFile(path, "w") as new:
            for name, content in {**parts, "training-sizes.csv": changed}.items():
                if content is not None:
                    new.writestr(name, content)
        with pytest.raises(ReportError, match="not the one that was exported"):
            read_archive(path)
