"""Volume corrections in a run: fitted on training subjects alone, rows of volumes alone, never in the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.cohorts.covariates import CovariateKind
from harmbench.config import load_experiment
from harmbench.errors import RunError
from harmbench.folds import make_folds
from harmbench.methods.volume_combat import VolumeCombat
from harmbench.methods.volume_offset import VolumeOffset
from harmbench.results import read_results
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.context import RunContext
from harmbench.runner.corrections import make_volume_cells, run_volume_cells
from harmbench.runner.experiment import Summary, run_experiment
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import InputScan, InputScans, read_inputs
from harmbench.runner.pairs import CellSplit, SessionPair
from harmbench.runner.rescore import rescore_run
from harmbench.runner.tissue_volumes import VOLUME_METRICS, MeasuredScan, RealVolumes, volume_rows
from harmbench.runner.volume_cell import run_volume_cell, training_volumes
from harmbench.runner.volume_fit import covariates_in_key
from harmbench.segmentation import TISSUES
from harmbench.segmentation.result import Unsegmented
from harmbench.study.choice import inner_errors
from harmbench.study.covariates import NO_COVARIATES, CovariateTable
from harmbench.task import Direction, NoProgress
from harmbench.trained.describe import describe_cell

pytestmark = pytest.mark.usefixtures("thresholds")

WAY = Direction("A", "B")
COVARIATES = ("age", "sex")

CORRECTION = '''
import numpy as np

from harmbench import Settings, VolumeCorrection


class MineSettings(Settings):
    fail: bool = False


class Mine(VolumeCorrection[MineSettings]):
    """Gives the training subjects' mean volumes on the target scanner."""

    Config = MineSettings
    title = "Mine"

    def fit(self, source, target, covariates=None):
        if self.config.fail:
            raise ValueError("no fit today")
        self.mean = target.mean(axis=0)

    def correct(self, volumes, covariates=None):
        return np.tile(self.mean, (len(volumes), 1))
'''


def _context(
    root: Path, subjects: int = 12, k: int = 3, covariates: Sequence[str] = (), **changes: object
) -> RunContext:
    names = {f"s{number}": "HC" for number in range(subjects)}
    given = {"data.covariates": list(covariates), **changes}
    experiment = load_experiment(None, ["device=cpu"], given)
    folds = make_folds(names, k)
    splits = {
        (WAY, fold): CellSplit(
            train=tuple(SessionPair(s, "", "A", "B") for s in folds.train(fold)),
            test=tuple(SessionPair(s, "", "A", "B") for s in folds.test(fold)),
            simple=True,
        )
        for fold in range(k)
    }
    return RunContext(
        root=root,
        experiment=experiment,
        folds=folds,
        splits=splits,
        groups=names,
        inputs=InputScans(root, {}),
        input_keys={},
        segmenter="thresholds",
        device="cpu",
    )


def _volumes(subjects: int = 12, seed: int = 0) -> dict[tuple[str, str], MeasuredScan]:
    random = np.random.default_rng(seed)
    found = {}
    for number in range(subjects):
        one = random.normal([3e5, 6e5, 5e5], 4e4)
        two = one * [1.2, 0.9, 1.1] + random.normal(0, 2e3, 3)
        found[f"s{number}", "A"] = MeasuredScan(tuple(map(float, one)))
        found[f"s{number}", "B"] = MeasuredScan(tuple(map(float, two)))
    return found


def _with_people(
    context: RunContext, seed: int = 0, ages: Mapping[str, str] | None = None
) -> RunContext:
    """Give the subjects ages, one of them missing, and sexes; `ages` are others."""
    random = np.random.default_rng(seed)
    scans = {}
    for number, subject in enumerate(context.groups):
        age = "" if number == 1 else f"{random.uniform(20, 80):.1f}"
        people: dict[tuple[CovariateKind, str], str] = {
            ("number", "age"): (ages or {}).get(subject, age),
            ("category", "sex"): "fm"[int(random.integers(2))] if number else "f",
        }
        scans[subject, "A"] = InputScan(
            subject, "HC", "A", context.root, None, "", "", "none", covariates=people
        )
    return replace(context, inputs=InputScans(context.root, scans))


def _run(context: RunContext, volumes: RealVolumes, *names: str) -> pd.DataFrame:
    """Run cells of fold 0 and return their rows."""
    frames = []
    for name in names or context.experiment.all_corrections():
        cell = Cell(name, WAY, 0, 0)
        run_volume_cell(volumes, context, cell, NoProgress())
        frames.append(read_results(context.folder.cell(cell).scores))
    return pd.concat(frames)


def test_values_are_those_of_the_training_subjects(tmp_path: Path) -> None:
    context, volumes = _context(tmp_path), _volumes()
    rows = _run(context, volumes, "volume_ratio")
    train = training_volumes(context, volumes, Cell("volume_ratio", WAY, 0, 0))
    assert train.subjects == context.folds.train(0)
    ratio = train.target.mean(axis=0) / train.source.mean(axis=0)
    assert set(rows["subject"]) == set(context.folds.test(0))
    for subject in context.folds.test(0):
        for place, tissue in enumerate(TISSUES):
            own = rows[(rows["subject"] == subject) & (rows["tissue"] == tissue)]
            known = own.set_index("metric")["value"]
            one = np.array(volumes[subject, "A"].volumes_mm3)[place] * ratio[place]
            two = np.array(volumes[subject, "B"].volumes_mm3)[place]
            expected = [one, abs(one - two), 100 * (one - two) / two]
            np.testing.assert_allclose(known[list(VOLUME_METRICS)], expected, rtol=1e-8)
    assert set(rows["metric"]) == set(VOLUME_METRICS)
    assert set(rows["status"]) == {"ok"}


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.2, 5))
def test_a_test_subject_s_reference_moves_nothing_that_is_fitted(
    tmp_path_factory: pytest.TempPathFactory, seed: int, factor: float
) -> None:
    # With covariates too: a test subject's age is known, but it may not move a fit either.
    context = _with_people(_context(tmp_path_factory.mktemp("run"), covariates=COVARIATES), seed)
    volumes = _volumes(seed=seed)
    changed = dict(volumes)
    for subject in context.folds.test(0):
        known = volumes[subject, "B"].volumes_mm3
        assert known is not None
        changed[subject, "B"] = MeasuredScan(tuple(factor * value for value in known))
    found, inner = [], []
    for number, one in enumerate((volumes, changed)):
        own = replace(context, root=context.root / str(number))
        rows = _run(own, one)
        found.append(rows[rows["metric"] == "volume_mm3"].reset_index(drop=True))
        records = [record for _, record in own.folder.cells()]
        assert {record.status for record in records} == {"ok"}
        inner.append([(record.key("fit"), record.inner_error_mm3) for record in records])
    pd.testing.assert_frame_equal(found[0], found[1])
    assert inner[0] == inner[1]


def test_covariates_reach_the_correction(tmp_path: Path) -> None:
    volumes = _volumes()
    plain = _run(_context(tmp_path / "plain"), volumes, "volume_combat")
    context = _with_people(_context(tmp_path / "own", covariates=COVARIATES))
    rows = _run(context, volumes, "volume_combat")
    assert set(rows["status"]) == {"ok"}
    own = training_volumes(context, volumes, Cell("volume_combat", WAY, 0, 0))
    ages = own.covariates.of(own.subjects, own.subjects)
    assert ages is not None
    peer = VolumeCombat()
    peer.fit(own.source, own.target, ages)
    subject = context.folds.test(0)[0]
    one = np.array([volumes[subject, "A"].volumes_mm3])
    expected = peer.correct(one, own.covariates.of(own.subjects, [subject]))[0]
    mine = rows[(rows["subject"] == subject) & (rows["metric"] == "volume_mm3")]
    np.testing.assert_allclose(
        mine.set_index("tissue")["value"][list(TISSUES)], expected, rtol=1e-8
    )
    assert not np.allclose(rows["value"], plain["value"])


def test_a_test_subject_s_age_moves_no_fit_and_no_other_subject(tmp_path: Path) -> None:
    context, volumes = _context(tmp_path, covariates=COVARIATES), _volumes()
    moved, other = context.folds.test(0)[:2]
    rows, fits = [], []
    for number, age in enumerate(("30", "75")):
        own = replace(_with_people(context, ages={moved: age}), root=tmp_path / str(number))
        rows.append(_run(own, volumes, "volume_combat"))
        fits += [record.key("fit") for _, record in own.folder.cells()]
    assert fits[0] == fits[1]
    one, two = (frame[frame["subject"] == other]["value"] for frame in rows)
    np.testing.assert_array_equal(one, two)


def test_a_corrected_age_of_a_test_subject_makes_its_scores_stale(tmp_path: Path) -> None:
    context, volumes = _context(tmp_path, covariates=COVARIATES), _volumes()
    subject = context.folds.test(0)[0]
    values = []
    for age in ("30", "75", "75"):
        _run(_with_people(context, ages={subject: age}), volumes, "volume_combat")
        record = context.folder.cell(Cell("volume_combat", WAY, 0, 0)).read_record()
        assert record is not None
        rows = read_results(context.folder.cell(Cell("volume_combat", WAY, 0, 0)).scores)
        values.append((rows["value"].to_list(), record.stages))
    assert values[0][0] != values[1][0]
    assert values[1] == values[2]


def test_runs_without_covariates_keep_their_keys() -> None:
    assert covariates_in_key(NO_COVARIATES, "s1") == []
    table = CovariateTable({"age": {"s1": 30.0}, "sex": {"s2": "f"}})
    assert covariates_in_key(table, "s1") == [{"age": 30.0, "sex": None}]


def test_current_cells_are_skipped_and_stale_ones_redone(tmp_path: Path) -> None:
    context, volumes = _context(tmp_path), _volumes()
    cell = Cell("volume_offset", WAY, 0, 0)
    first = run_volume_cell(volumes, context, cell, NoProgress())
    scores = context.folder.cell(cell).scores
    scores_before = scores.read_bytes()
    again = run_volume_cell(volumes, context, cell, NoProgress())
    assert again.stages == first.stages
    # Rows that were cut, as by a kill, are made again.
    scores.write_bytes(scores_before[: len(scores_before) // 2])
    mended = run_volume_cell(volumes, context, cell, NoProgress())
    assert scores.read_bytes() == scores_before
    assert mended.stages != first.stages
    other = {**volumes, (context.folds.train(0)[0], "B"): MeasuredScan((1e5, 1e5, 1e5))}
    moved = run_volume_cell(other, context, cell, NoProgress())
    assert moved.key("fit") != first.key("fit")
    assert scores.read_bytes() != scores_before


def test_visits_of_one_subject_stay_together(tmp_path: Path) -> None:
    context = _context(tmp_path, 5, k=5)
    volumes = _volumes(5)
    known = context.splits[WAY, 0]
    twice = tuple(replace(pair, source="A2", visit="2") for pair in known.train)
    volumes |= {(pair.subject, "A2"): volumes[pair.subject, "A"] for pair in twice}
    split = replace(known, train=(*known.train, *twice), simple=False)
    context = replace(context, splits={(WAY, 0): split})
    cell = Cell("volume_offset", WAY, 0, 0)
    train = training_volumes(context, volumes, cell)
    assert len(train.subjects) == 8
    record = run_volume_cell(volumes, context, cell, NoProgress())
    # Each subject's second pair repeats the first: it must not help to judge the first.
    alone = inner_errors(VolumeOffset, train.source[:4], train.target[:4]).mean(axis=0)
    np.testing.assert_allclose(list(record.inner_error_mm3.values()), alone)


def test_visits_are_not_more_subjects_for_covariates(tmp_path: Path) -> None:
    context = _with_people(_context(tmp_path, 6, k=3, covariates=COVARIATES))
    volumes, known = _volumes(6), context.splits[WAY, 0]
    twice = tuple(replace(pair, source="A2", visit="2") for pair in known.train)
    volumes |= {(pair.subject, "A2"): volumes[pair.subject, "A"] for pair in twice}
    split = replace(known, train=(*known.train, *twice), simple=False)
    context = replace(context, splits={(WAY, 0): split})
    cell = Cell("volume_combat", WAY, 0, 0)
    assert len(training_volumes(context, volumes, cell).subjects) == 8
    record = run_volume_cell(volumes, context, cell, NoProgress())
    assert record.status == "failed"
    assert "4 training subjects with tissue volumes on both scanners" in record.error
    assert "expected at least 5 with the covariates age, sex" in record.error


def test_scans_without_labels(tmp_path: Path) -> None:
    context, volumes = _context(tmp_path), _volumes()
    dark = Unsegmented("thresholds: too dark", "segmentation_implausible", lasting=True)
    test, train = context.folds.test(0), context.folds.train(0)
    for place in ((test[0], "A"), (test[1], "B"), (train[0], "B")):
        volumes[place] = MeasuredScan(failure=dark)
    cell = Cell("volume_offset", WAY, 0, 0)
    record = run_volume_cell(volumes, context, cell, NoProgress())
    assert record.status == "incomplete"
    assert {subject: one.what for subject, one in record.unsegmented.items()} == {
        test[0]: "source",
        test[1]: "reference",
    }
    rows = read_results(context.folder.cell(cell).scores)
    statuses = rows.groupby("subject")["status"].unique().map(list).to_dict()
    assert statuses[test[0]] == statuses[test[1]] == ["segmentation_implausible"]
    assert training_volumes(context, volumes, Cell("volume_ratio", WAY, 0, 0)).subjects == train[1:]


@pytest.mark.parametrize(
    ("subjects", "change", "reason"),
    [
        (4, 1.0, "2 training subjects with tissue volumes on both scanners, expected at least 3"),
        (12, 0.0, "a tissue has the same volume in all training scans"),
    ],
)
def test_a_fit_that_fails_is_rows_with_a_reason(
    tmp_path: Path, subjects: int, change: float, reason: str
) -> None:
    context = _context(tmp_path, subjects, k=2)
    volumes = {
        place: MeasuredScan(tuple(5e5 + change * (v - 5e5) for v in scan.volumes_mm3 or ()))
        for place, scan in _volumes(subjects).items()
    }
    cell = Cell("volume_combat", WAY, 0, 0)
    record = run_volume_cell(volumes, context, cell, NoProgress())
    assert record.status == "failed"
    assert reason in record.error
    rows = read_results(context.folder.cell(cell).scores)
    assert set(rows["status"]) == {"failed"}
    assert len(rows) == len(context.folds.test(0)) * len(VOLUME_METRICS) * len(TISSUES)


def test_a_relative_difference_to_no_volume() -> None:
    rows = {(r["metric"], r["tissue"]): r for r in volume_rows([0, 5, 10], [0, 0, 8])}
    relative = [rows["relative_volume_difference", tissue] for tissue in TISSUES]
    assert [row["status"] for row in relative] == ["ok", "undefined", "ok"]
    assert relative[0]["value"] == 0
    assert relative[2]["value"] == pytest.approx(25)


def test_only_named_corrections_can_fail_a_run(tmp_path: Path) -> None:
    class Here:
        remote = False

        def run(self, work, items, display, line=None, kin=None):
            for item in items:
                yield item, work(item, NoProgress())

    adapter = tmp_path / "mine.py"
    adapter.write_text(CORRECTION)
    named = {"mine": {"uses": f"{adapter}:Mine", "fail": True}}
    context = _context(tmp_path / "out", 4, k=2, methods=named)
    cells = make_volume_cells(context.experiment, [(WAY, 0)])
    said: list[str] = []
    failed, incomplete = run_volume_cells(context, cells, _volumes(4), Here(), said.append)
    assert list(failed) == ["mine A-to-B fold 0 seed 0"]
    assert "no fit today" in failed["mine A-to-B fold 0 seed 0"]
    assert not incomplete
    assert sum("expected at least 3" in line for line in said) == 2


@pytest.fixture
def start(make_manifest: Callable[..., Path], tmp_path: Path) -> Callable[..., Summary]:
    """Run an experiment on eight tiny subjects in two folds, A to B, with volume corrections."""
    manifest = make_manifest(8)

    def run(*overrides: str, **methods: object) -> Summary:
        changes = {"data.path": manifest, "data.direction": "A-to-B", "methods": methods}
        given = ["scoring.segmenter=thresholds", "device=cpu", "folds.k=2", "controls=[identity]"]
        experiment = load_experiment(None, [*given, *overrides], changes)
        return run_experiment(experiment, tmp_path / "out", say=lambda _: None)

    return run


def test_every_run_has_them(start: Callable[..., Summary], tmp_path: Path) -> None:
    adapter = tmp_path / "mine.py"
    adapter.write_text(CORRECTION)
    # One fold: its training subjects' scans are segmented too.
    summary = start("folds.run=0", mine={"uses": f"{adapter}:Mine"})
    assert summary.complete
    assert summary.cells == 3
    folder = RunFolder(tmp_path / "out")
    results = read_results(folder.results)
    names = {"volume_offset", "volume_ratio", "volume_linear", "volume_combat", "mine"}
    corrected = results[results["method"].isin(names)]
    assert set(corrected["method"]) == names
    assert set(corrected["metric"]) == set(VOLUME_METRICS)
    run = folder.read_record()
    assert {name for name, one in run.methods.items() if one.maps == "volumes"} == names
    # Untreated volumes are those that the corrections start from.
    volumes = results[results["metric"] == "volume_mm3"]
    for _, own in volumes.groupby("tissue"):
        wide = own.pivot_table(index="subject", columns="method", values="value")
        steps = wide["volume_offset"] - wide["identity"]
        assert np.ptp(steps.to_numpy()) == pytest.approx(0, abs=1e-3)
    before = folder.results.read_bytes()
    assert start("folds.run=0", mine={"uses": f"{adapter}:Mine"}).complete
    assert folder.results.read_bytes() == before
    # Rescoring does them again where that is needed, and an export says what they are.
    assert rescore_run(tmp_path / "out", say=lambda _: None).complete
    assert folder.results.read_bytes() == before
    cell = folder.cell(Cell("volume_ratio", WAY, 0, 0)).root
    with pytest.raises(RunError, match="volume_ratio is a volume correction"):
        describe_cell(cell, NoProgress())
    record = json.loads((cell / "cell.json").read_text())
    assert record["maps"] == "volumes"
    assert set(record["inner_error_mm3"]) == set(TISSUES)


def test_a_run_reads_covariates_and_keeps_them(
    start: Callable[..., Summary], tmp_path: Path
) -> None:
    manifest = next(tmp_path.rglob("*.csv"))
    head, *rows = manifest.read_text().splitlines()
    number = {name: i for i, name in enumerate(dict.fromkeys(row.split(",")[0] for row in rows))}
    ages = [f"{row},{20 + 5 * number[row.split(',')[0]]}" for row in rows]
    manifest.write_text("\n".join([f"{head},age", *ages]) + "\n")
    only = ("folds.run=0", "volume_controls=[volume_combat]")
    results = tmp_path / "out" / "results.csv"
    found = []
    for covariates in ("[]", "[age]", "[age]"):
        assert start(*only, f"data.covariates={covariates}").complete
        table = read_results(results)
        found.append(table[table["method"] == "volume_combat"]["value"].to_numpy())
    assert not np.allclose(found[0], found[1])
    np.testing.assert_array_equal(found[1], found[2])
    known = read_inputs(RunFolder(tmp_path / "out").inputs).covariates(["age"])
    assert set(known.columns["age"].values()) == {20.0 + 5 * i for i in range(8)}
    # A rescoring has no cohort: it takes them from the run folder.
    before = results.read_bytes()
    for scores in (tmp_path / "out/cells/volume_combat").rglob("scores.csv"):
        scores.unlink()
    assert rescore_run(tmp_path / "out", say=lambda _: None).complete
    assert results.read_bytes() == before


def test_a_run_without_them(start: Callable[..., Summary], tmp_path: Path) -> None:
    assert start("volume_controls=[]", "folds.run=0").complete
    folder = RunFolder(tmp_path / "out")
    assert set(read_results(folder.results)["method"]) == {"identity", "target"}
    assert len(list((tmp_path / "out" / "segmentations").glob("*.nii.gz"))) == 8
    assert CellFolder(tmp_path / "out" / "cells" / "volume_ratio").read_record() is None
