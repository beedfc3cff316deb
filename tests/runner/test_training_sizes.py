"""A learning curve: cells that learn from fewer training subjects than their fold has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.errors import FoldError
from harmbench.folds import nested_subsets
from harmbench.report import make_report
from harmbench.results import read_results, read_training_sizes
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.rescore import rescore_run
from harmbench.task import Direction

WAY = Direction("A", "B")

LEARNER = """
import json
from harmbench import Method

class Learner(Method):
    def fit(self, pairs, task):
        self.seen = [pair.subject for pair in pairs]

    def harmonize(self, source, task):
        return source.with_data(source.data ** (1 + 1 / len(self.seen)))

    def save(self, folder):
        (folder / "seen.json").write_text(json.dumps(self.seen))

    @classmethod
    def load(cls, folder, config=None):
        method = cls(config)
        method.seen = json.loads((folder / "seen.json").read_text())
        return method
"""


@pytest.fixture
def run(call, thresholds, make_manifest, tmp_path: Path):
    """Run a method that notes whom it learned from on six subjects; returns the run folder."""
    (tmp_path / "learner.py").write_text(LEARNER)
    manifest = make_manifest(6)

    def start(*options: str, out: str = "out") -> tuple[int, str, Path]:
        code, said, error = call(
            *("run", "--data", manifest, "--folds", "2", "--direction", "A-to-B"),
            *("--method", f"{tmp_path / 'learner.py'}:Learner", "--segmenter", "thresholds"),
            *("--set", "volume_controls=[volume_offset,volume_ratio]"),
            *("--device", "cpu", "--out", tmp_path / out, *options),
        )
        return code, said + error, tmp_path / out

    return start


def seen(folder: RunFolder, cell: Cell) -> list[str]:
    """Return whom a cell learned from, as its saved model says."""
    return json.loads((folder.cell(cell).model / "seen.json").read_text())


def test_each_number_is_a_cell_on_nested_subjects_with_the_same_tests(run) -> None:
    code, _, out = run("--train-subjects", "1,2,all")
    assert code == 0
    folder = RunFolder(out)
    cells = {cell: record for cell, record in folder.all_cells() if cell.method == "Learner"}
    assert len(cells) == 2 * 3
    for fold in (0, 1):
        one, two, everyone = (Cell("Learner", WAY, fold, 0, size) for size in (1, 2, 0))
        few, more, most = (set(seen(folder, cell)) for cell in (one, two, everyone))
        assert few < more < most
        assert [len(few), len(more), len(most)] == [1, 2, 3]
        tests = {cells[cell].subjects or () for cell in (one, two, everyone)}
        assert len(tests) == 1
        assert not most & set(tests.pop())
    sized = read_training_sizes(folder.training_sizes)
    rows = sized[sized["metric"] == "mse"]
    counts = {
        method: own["train_subjects"].value_counts().to_dict()
        for method, own in rows.groupby("method")
    }
    assert counts["Learner"] == {1: 6, 2: 6, 3: 6}
    assert counts["histogram_matching"] == {1: 6, 2: 6, 3: 6}
    # What learns nothing has no curve.
    assert counts["identity"] == {3: 6}
    mse = sized[(sized["metric"] == "mse") & (sized["method"] == "Learner")]
    means = mse.groupby("train_subjects")["value"].mean()
    assert means.nunique() == 3


def test_the_results_table_and_other_readers_see_full_trainings_only(run, blank_figures) -> None:
    _, _, plain = run(out="plain")
    _, _, sized = run("--train-subjects", "1,all", out="sized")
    assert (plain / "results.csv").read_bytes() == (sized / "results.csv").read_bytes()
    assert not (plain / "training-sizes.csv").exists()
    assert all(not cell.train_subjects for cell, _ in RunFolder(sized).cells())
    make_report([sized])


def test_sizes_can_be_added_and_are_made_once(run) -> None:
    _, _, out = run()
    full = Cell("Learner", WAY, 0, 0)
    before = RunFolder(out).cell(full).record.stat().st_mtime_ns
    results = (out / "results.csv").read_bytes()
    code, _, _ = run("--train-subjects", "2")
    assert code == 0
    assert RunFolder(out).cell(full).record.stat().st_mtime_ns == before
    assert (out / "results.csv").read_bytes() == results
    few = RunFolder(out).cell(Cell("Learner", WAY, 0, 0, 2))
    made = (few.model / "seen.json").stat().st_mtime_ns
    run("--train-subjects", "2")
    assert (few.model / "seen.json").stat().st_mtime_ns == made


def test_rescoring_covers_them(run) -> None:
    _, _, out = run("--train-subjects", "1,all")
    before = read_training_sizes(out / "training-sizes.csv")
    summary = rescore_run(out, ["scoring.surface_backend=medpy"], say=lambda _: None)
    assert summary.complete
    after = read_training_sizes(out / "training-sizes.csv")
    assert len(after) == len(before)
    assert set(after["train_subjects"]) == {1, 3}
    assert len(read_results(out / "results.csv")) < len(after)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3,all", ["3:", "3 training subjects", "below 3"]),
        ("2,7,9", ["7, 9", "below 3"]),
        ("0", ["train_subjects"]),
        ("-2", ["train_subjects"]),
        ("two", ["train_subjects"]),
        ("", ["train_subjects"]),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_written(run, text, words) -> None:
    code, said, out = run("--train-subjects", text)
    assert code == 2
    for word in words:
        assert word in said
    assert not out.exists()


_groups = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.sampled_from(["HC", "MS"]), min_size=1
)


@given(groups=_groups, seed=st.integers(0, 5))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_subsets_are_nested_and_mix_groups(groups: Mapping[str, str], seed: int) -> None:
    sizes = range(1, len(groups) + 1)
    subsets = nested_subsets(groups, sizes, seed)
    patients = sum(group == "MS" for group in groups.values())
    for size in sizes:
        assert len(set(subsets[size])) == size
        assert set(subsets[size]) <= set(groups)
        assert size == 1 or set(subsets[size - 1]) < set(subsets[size])
        chosen = sum(groups[subject] == "MS" for subject in subsets[size])
        assert abs(chosen - patients * size / len(groups)) < 1
    # A subset does not depend on which other sizes are asked for.
    assert nested_subsets(groups, [1], seed)[1] == subsets[1]


@pytest.mark.parametrize("size", [0, 3])
def test_a_subset_has_at_least_one_and_at_most_all(size: int) -> None:
    with pytest.raises(FoldError, match="from 1 to 2"):
        nested_subsets({"s": "HC", "t": "MS"}, [size])
