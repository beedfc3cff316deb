"""Known change through fitted methods: honest ones keep it, and three frauds are found out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.phantom import FollowUps
from harmbench.config import load_experiment, select_methods
from harmbench.errors import MethodError, RunError
from harmbench.results import CEILING, read_results
from harmbench.runner.experiment import run_experiment
from harmbench.runner.folder import RunFolder
from harmbench.runner.inputs import InputScans
from harmbench.runner.volume_fit import PlannedCorrection
from harmbench.study.change_table import change_table_path, read_changes
from harmbench.study.changes import NO_SWITCH, change_lines
from harmbench.study.covariates import CovariateTable
from harmbench.trained import changes
from harmbench.trained.changes import measure_changes
from harmbench.volume import Volume, write

pytestmark = pytest.mark.usefixtures("thresholds")

FRAUDS = '''
import numpy as np
from scipy import ndimage
from harmbench.method import Method
from harmbench.volume import read, write


class Shrunk(Method):
    """Scales each brain to the size that training brains have on average."""

    def fit(self, pairs, task):
        self.size = float(np.mean([np.count_nonzero(p.source.data > 0.5) for p in pairs]))

    def harmonize(self, source, task):
        factor = (np.count_nonzero(source.data > 0.5) / self.size) ** (1 / 3)
        middle = (np.array(source.shape) - 1) / 2
        offset = middle - factor * middle
        data = ndimage.affine_transform(source.data, np.eye(3) * factor, offset, order=1)
        return source.with_data(data)

    def save(self, folder):
        (folder / "size.json").write_text(str(self.size))

    @classmethod
    def load(cls, folder, config):
        made = cls(config)
        made.size = float((folder / "size.json").read_text())
        return made


class Copied(Method):
    """Gives back the target of a training subject, whoever was scanned."""

    def fit(self, pairs, task):
        self.known = pairs[0].target

    def harmonize(self, source, task):
        return source.with_data(self.known.data * (source.data > 0))

    def save(self, folder):
        write(self.known, folder / "known.nii.gz")

    @classmethod
    def load(cls, folder, config):
        made = cls(config)
        made.known = read(folder / "known.nii.gz")
        return made


class Added(Method):
    """Adds a layer of white matter, the same share for everyone."""

    def harmonize(self, source, task):
        middle = (np.array(source.shape) - 1) / 2
        factor = 1.02 ** (-1 / 3)
        offset = middle - factor * middle
        white = ndimage.affine_transform(source.data, np.eye(3) * factor, offset, order=1)
        return source.with_data(np.maximum(white, source.data))
'''

SHAPE = (52, 52, 52)
SHARES = {"fu0": 1.0, "fu05": 0.995, "fu1": 0.99, "fu2": 0.98}


def brain(number: int, share: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """A ball of white matter, whose volume is `share` of the first, in one of grey matter and fluid."""
    grid = np.indices(SHAPE, dtype=np.float32) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2
    radius = np.sqrt(((grid + np.float32(shift)) ** 2).sum(0))

    def inside(limit: float) -> np.ndarray:
        return np.clip(limit - radius + 0.5, 0, 1)

    white = (15 + 0.8 * number) * share ** (1 / 3)
    data = 0.1 * inside(24) + 0.15 * inside(21.5) + 0.75 * inside(white)
    # A tissue of one value would be taken for a spike in the intensities.
    noise = np.random.default_rng(round(1000 * (number + share + shift))).normal(0, 0.02, SHAPE)
    return np.clip(data + noise * (data > 0.05), 0, 1).astype(np.float32)


def put(path: Path, data: np.ndarray) -> Path:
    write(Volume(data, np.eye(4)), path)
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of four subjects on two scanners that differ by nothing but a shift of a part of a voxel."""
    root = tmp_path_factory.mktemp("scans")
    lines = ["subject,group,session,path"]
    for number in range(4):
        for session, shift in (("A", 0.0), ("B", 0.3)):
            name = f"s{number}_{session}.nii.gz"
            put(root / name, brain(number, shift=shift))
            lines.append(f"s{number},HC,{session},{name}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def follow_ups(tmp_path_factory: pytest.TempPathFactory) -> FollowUps:
    root = tmp_path_factory.mktemp("later")
    found, truth = {}, {}
    for number in range(4):
        subject = f"s{number}"
        for visit, share in SHARES.items():
            change = 100 * (share - 1)
            truth[subject, visit] = {"CSF": 0.0, "GM": 0.0, "WM": change}
            for session, shift in (("A", 0.0), ("B", 0.3)):
                path = put(
                    root / f"{subject}_{session}_{visit}.nii.gz", brain(number, share, shift)
                )
                label = f"{session}-{visit}"
                found[subject, label] = Scan(subject, label, path, None, session, visit)
    cohort = Cohort("later", "", True, {f"s{n}": "HC" for n in range(4)}, found)
    return FollowUps(cohort, truth)


@pytest.fixture
def run(
    scans: Path, follow_ups: FollowUps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A test's own copy of the run, which the first test makes."""
    if not (scans / "out").exists():
        make_run(scans)
    shutil.copytree(scans / "out", tmp_path / "out")
    monkeypatch.setattr(changes, "_experiment", lambda folder: load_experiment(folder.config))
    monkeypatch.setattr(changes, "make_follow_ups", lambda *_: follow_ups)
    yield tmp_path / "out"


def make_run(scans: Path) -> None:
    (scans / "frauds.py").write_text(FRAUDS)
    methods = [f"{scans / 'frauds.py'}:{name}" for name in ("Shrunk", "Copied", "Added")]
    experiment = load_experiment(
        None,
        ["scoring.segmenter=thresholds", "device=cpu", "folds.k=2"],
        {"data.path": scans / "manifest.csv", "data.direction": "A-to-B"},
    )
    experiment = select_methods(experiment, ["identity", *methods])
    run_experiment(experiment, scans / "out", say=lambda _: None)


def fitted(run: Path) -> list[str]:
    return sorted({cell.method for cell, _ in RunFolder(run).cells()} - {CEILING})


def test_frauds_are_found_out(run: Path) -> None:
    left_out = ("histogram_matching", "volume_")
    frauds = [name for name in fitted(run) if not name.startswith(left_out)]
    rows = measure_changes(run, frauds, say=lambda _: None)
    assert (rows["status"] == "ok").all()
    lines = change_lines(rows)
    lines = lines[lines["tissue"] == "WM"].set_index("method")
    by_name = {str(name).split(":")[-1].lower(): line for name, line in lines.iterrows()}
    stay, honest = by_name[NO_SWITCH], by_name["identity"]
    assert stay["slope"] == pytest.approx(1, abs=0.2)
    assert honest["slope"] == pytest.approx(1, abs=0.2)
    assert honest["offset"] == pytest.approx(0, abs=0.3)
    assert honest["slope_low"] > 0.5
    shrunk = by_name["shrunk"]
    assert shrunk["slope"] == pytest.approx(0, abs=0.3)
    assert shrunk["slope_low"] < 0
    assert np.isnan(shrunk["ratio"])
    copied = by_name["copied"]
    assert copied["slope"] == pytest.approx(0, abs=0.05)
    assert np.isnan(copied["ratio"])
    assert copied["residual_sd"] > 5
    added = by_name["added"]
    assert added["slope"] == pytest.approx(1, abs=0.3)
    assert added["offset"] == pytest.approx(2, abs=0.5)
    assert added["offset_low"] > 1


def test_what_was_measured_is_kept(run: Path) -> None:
    said: list[str] = []
    first = measure_changes(run, ["identity"], say=said.append)
    assert set(first["method"]) == {"identity", NO_SWITCH}
    path = change_table_path(run)
    before = path.read_bytes()
    measure_changes(run, ["identity"], say=said.append)
    assert path.read_bytes() == before
    assert said[-1].startswith("0 follow-up visits to measure")
    assert len(read_changes(path)) == 2 * 4 * len(SHARES) * 3


def test_each_subject_is_measured_by_the_cell_that_held_it_out(run: Path) -> None:
    rows = measure_changes(run, ["identity"], say=lambda _: None)
    for cell, record in RunFolder(run).cells():
        own = rows[(rows["method"] == cell.method) & (rows["fold"] == cell.fold)]
        if cell.method == "identity":
            assert set(own["subject"]) == set(record.subjects or ())


def test_volume_corrections_map_the_later_visit(run: Path) -> None:
    names = ["identity", "volume_offset", "volume_ratio"]
    rows = measure_changes(run, names, say=lambda _: None)
    assert set(rows["method"]) == {*names, NO_SWITCH}
    assert (rows["status"] == "ok").all()
    index = ["subject", "visit", "tissue"]
    change = rows.pivot_table(index=index, columns="method", values="measured_percent")
    results = read_results(RunFolder(run).results)
    volumes = results[results["metric"] == "volume_mm3"].pivot_table(
        index=["subject", "tissue"], columns="method", values="value"
    )
    volumes = volumes.loc[[(s, t) for s, _, t in change.index]].set_index(change.index)
    # Labels of the first visit on the target scanner are the ceiling's.
    later = volumes["target"] * (1 + change["identity"] / 100)
    offset = volumes["volume_offset"] - volumes["identity"]
    expected = 100 * ((later + offset) / volumes["target"] - 1)
    np.testing.assert_allclose(change["volume_offset"], expected, atol=1e-4)
    ratio = volumes["volume_ratio"] / volumes["identity"]
    expected = 100 * (later * ratio / volumes["target"] - 1)
    np.testing.assert_allclose(change["volume_ratio"], expected, atol=1e-4)
    before = change_table_path(run).read_bytes()
    said: list[str] = []
    measure_changes(run, names, say=said.append)
    assert said[-1].startswith("0 follow-up visits to measure")
    assert change_table_path(run).read_bytes() == before


def test_a_corrected_age_makes_volume_corrections_alone_stale(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["identity", "volume_offset"]
    people = {f"s{number}": 30.0 + number for number in range(4)}
    said: list[str] = []
    counts = []
    for s0 in (None, 30.0, 75.0):
        ages = {"age": {**people, "s0": s0}} if s0 else {}
        monkeypatch.setattr(InputScans, "covariates", lambda *_, a=ages: CovariateTable(a))
        measure_changes(run, names, say=said.append)
        counts.append(said[-1].partition(",")[0])
    each, later = len(SHARES), "follow-up visits to measure"
    assert counts == [f"{3 * 4 * each} {later}", f"{4 * each} {later}", f"{each} {later}"]


def test_a_correction_that_cannot_be_fitted_again_has_rows_that_say_so(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object) -> None:
        raise MethodError("no fit today")

    monkeypatch.setattr(PlannedCorrection, "fitted", broken)
    rows = measure_changes(run, ["volume_offset"], say=lambda _: None)
    own = rows[rows["method"] == "volume_offset"]
    assert set(own["status"]) == {"failed: no fit today"}
    assert own["measured_percent"].isna().all()


def test_unknown_methods_are_refused(run: Path) -> None:
    with pytest.raises(RunError, match="'unet' has no stored model here; fitted: "):
        measure_changes(run, ["unet"], say=lambda _: None)


def test_runs_on_other_data_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(RunError, match="known of the simulated cohort alone"):
        measure_changes(run, say=lambda _: None)
