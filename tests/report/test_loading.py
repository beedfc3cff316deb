"""Reading and merging run folders, and the errors for those that don't fit together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from unsealed import unsealed

from harmbench.errors import ReportError
from harmbench.metrics.suite import METRICS
from harmbench.report.loading import load_evidence, median_subject
from harmbench.results import read_results, write_results
from harmbench.runner.folder import RunFolder
from harmbench.task import Direction

MakeRun = Callable[..., Path]
FORTH, BACK = Direction("3T", "1.5T"), Direction("1.5T", "3T")


def test_one_run(finished_run: Path) -> None:
    evidence = load_evidence([finished_run], METRICS)
    assert list(evidence.methods.items()) == [
        ("identity", "Original"),
        ("pgan", "pGAN"),
        ("dm", "DM"),
        ("target", "Target (ceiling)"),
    ]
    assert evidence.candidates == ("pgan", "dm")
    assert evidence.directions == (FORTH, BACK)
    assert evidence.groups == {"HC": ("s0", "s2", "s4", "s6"), "MS": ("s1", "s3", "s5", "s7")}
    assert evidence.segmenter == "hmrf"
    assert evidence.simulated
    assert evidence.failed("pgan", FORTH, "s2")
    assert not evidence.failed("pgan", FORTH, "s0")
    assert evidence.harmonized("pgan", FORTH, "s2") is None
    assert evidence.harmonized("target", FORTH, "s0") is None


def test_stored_volumes_are_found(finished_run: Path) -> None:
    evidence = load_evidence([finished_run], METRICS)
    source, output = evidence.scan("s0", "3T"), evidence.harmonized("dm", FORTH, "s0")
    assert source is not None
    assert output is not None
    np.testing.assert_allclose(output.data, source.data ** np.float32(0.62), atol=1e-6)
    labels = evidence.labels("dm", FORTH, "s0")
    assert labels is not None
    assert set(np.unique(labels.data)) <= {0, 1, 2, 3}
    assert evidence.scan_labels("s0", "1.5T") is not None
    assert evidence.scan("s0", "7T") is None


def test_a_damaged_volume_counts_as_missing(make_run: MakeRun) -> None:
    run = make_run(subjects=("s1", "s2"))
    evidence = load_evidence([run], METRICS)
    path = evidence.cells["dm", FORTH][0].folder.volume("s1")
    path.write_bytes(path.read_bytes()[:50])
    assert evidence.harmonized("dm", FORTH, "s1") is None


def test_the_lead_subject_has_the_median_error(finished_run: Path) -> None:
    evidence = load_evidence([finished_run], METRICS)
    rows = evidence.results.query("method == 'identity' and metric == 'mse'")
    means = rows.groupby("subject")["value"].mean().sort_values()
    assert evidence.lead == means.index[3]  # the lower of the two in the middle of eight
    assert "median" in evidence.lead_reason
    assert load_evidence([finished_run], METRICS, "s5").lead == "s5"


def test_median_subject_by_hand() -> None:
    frame = pd.DataFrame(
        {
            "method": "identity",
            "metric": "mse",
            "subject": ["a", "a", "b", "b", "c", "c"],
            "value": [1, 5, 2, 2, 9, float("nan")],  # means 3, 2, 9
        }
    )
    assert median_subject(frame, ["a", "b", "c"]) == "a"
    assert median_subject(frame, ["b", "c"]) == "b"
    assert median_subject(frame, ["d"]) is None


def test_the_later_run_counts(make_run: MakeRun) -> None:
    first = make_run("first", volumes=False)
    second = make_run("second", volumes=False, gammas={"dm": 0.9}, ceiling=False)
    evidence = load_evidence([first, second], METRICS)
    assert set(evidence.methods) == {"identity", "dm", "pgan", "target"}
    values = evidence.values("mse").set_index("method")["value"]
    alone = load_evidence([second], METRICS).values("mse").set_index("method")["value"]
    assert values["dm"].tolist() == alone["dm"].tolist()
    assert any("different settings" in note for note in evidence.notes)
    assert len(evidence.counted_cells("dm", FORTH)) == 2


def test_volumes_come_from_the_run_that_has_them(make_run: MakeRun) -> None:
    subjects = ("s1", "s2")
    first = make_run("first", subjects=subjects)
    second = make_run("second", subjects=subjects, volumes=False)
    assert load_evidence([first, second], METRICS).harmonized("dm", FORTH, "s1") is not None


def test_other_folds_are_refused(make_run: MakeRun) -> None:
    first = make_run("first", volumes=False)
    second = make_run("second", volumes=False)
    frame = read_results(second / "results.csv")
    write_results(frame.assign(fold=1 - frame["fold"]), second / "results.csv")
    with pytest.raises(ReportError, match=r"different folds.*s1 \(1.5T-to-3T\).* and 5 more"):
        load_evidence([first, second], METRICS)


def test_what_was_merged_is_noted(make_run: MakeRun) -> None:
    first = make_run("first", volumes=False, gammas={"identity": 1.0})
    second = make_run("second", volumes=False, gammas={"dm": 0.6})
    notes = load_evidence([first, second], METRICS).notes
    assert notes[0].startswith("Merged from 2 runs: first (identity, target); second (dm, target).")
    assert "first does not record: version of the metrics" in notes[1]
    assert load_evidence([first], METRICS).notes == ()


def test_image_metrics_of_two_segmenters_are_one_measure(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    frame = read_results(run / "results.csv")
    renamed = frame.assign(segmenter=frame["segmenter"].where(frame["tissue"] != "", "fast"))
    write_results(renamed, run / "results.csv")
    evidence = load_evidence([run], METRICS)
    assert set(evidence.results.query("tissue == ''")["segmenter"]) == {""}


def test_a_metric_that_is_not_declared_stays(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    frame = read_results(run / "results.csv")
    frame.loc[frame["metric"] == "stripe_index", "metric"] = "new_metric"
    write_results(frame, run / "results.csv")
    evidence = load_evidence([run], METRICS)
    assert evidence.metrics["new_metric"].better == "none"
    assert "stripe_index" not in evidence.metrics


def test_missing_controls_are_noted(make_run: MakeRun) -> None:
    run = make_run(gammas={"dm": 0.7}, ceiling=False, volumes=False)
    evidence = load_evidence([run], METRICS)
    assert len(evidence.notes) == 2
    assert "untreated source" in evidence.notes[0]
    assert evidence.lead == "s1"


def test_no_runs() -> None:
    with pytest.raises(ReportError, match="no run folder was given"):
        load_evidence([], METRICS)


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="not a run folder"):
        load_evidence([tmp_path], METRICS)


def test_no_rows(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    write_results(read_results(run / "results.csv").iloc[:0], run / "results.csv")
    with pytest.raises(ReportError, match="no rows"):
        load_evidence([run], METRICS)


def test_no_results_table(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    RunFolder(run).results.unlink()
    with pytest.raises(ReportError, match="no such file"):
        load_evidence([run], METRICS)


def test_an_unknown_lead_subject(make_run: MakeRun) -> None:
    with pytest.raises(ReportError, match="unknown subject 's11'; did you mean 's1'"):
        load_evidence([make_run(volumes=False)], METRICS, "s11")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cohort": "manifest"}, "its cohort has name 'manifest'"),
        ({"simulated": False}, "its cohort has simulated False"),
        ({"salt": "x"}, "subject s1, session 1.5T.* used different files or scalings"),
        ({"subjects": ("t1", "t2")}, "no scan in common"),
    ],
)
def test_runs_of_other_scans(make_run: MakeRun, change: dict[str, object], message: str) -> None:
    first = make_run("first", volumes=False)
    second = make_run("second", volumes=False, **change)
    with pytest.raises(ReportError, match=message):
        load_evidence([first, second], METRICS)


def _set(path: Path, **values: object) -> None:
    record = unsealed(path)
    path.write_text(json.dumps({**record, **values}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmenter": {"name": "fast", "version": "6"}}, r"with fast \(6\) as T1w, those"),
        (
            {"segmenter": {"name": "hmrf", "version": "2"}},
            r"hmrf \(1\) as T1w; `harmbench rescore`",
        ),
        ({"stacking_axis": 2}, "stacked along different axes"),
        ({"cohort": {"name": "phantom", "simulated": True, "preparation": {"a": 2}}}, "prepared"),
        (
            {"cohort": {"name": "x", "preparation": {"a": 2}}},
            "(?s)has name 'x'.*simulated.*prepared",
        ),
    ],
)
def test_runs_under_other_conditions(
    make_run: MakeRun, change: dict[str, object], message: str
) -> None:
    first, second = make_run("first", volumes=False), make_run("second", volumes=False)
    prepared = {"name": "phantom", "simulated": True, "preparation": {"a": 1}}
    _set(first / "run.json", cohort=prepared)
    load_evidence([first, second], METRICS)
    _set(second / "run.json", **change)
    with pytest.raises(ReportError, match=message):
        load_evidence([first, second], METRICS)


def test_scores_of_another_version_are_refused(make_run: MakeRun) -> None:
    runs = [make_run(name, volumes=False) for name in ("first", "second")]
    for number, run in enumerate(runs):
        for path in run.glob("cells/*/*/*/*/cell.json"):
            _set(path, metrics=f"key {number}")
    with pytest.raises(ReportError, match="different versions or settings of the metrics"):
        load_evidence(runs, METRICS)
