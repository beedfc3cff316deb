"""Several scanners and visits in one run: pairs, rescans, splits of one's own, rescoring, export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harmbench.config import load_experiment
from harmbench.contract import tiny_pairs
from harmbench.errors import MethodError, RunError
from harmbench.results import BASELINE, read_results
from harmbench.runner.experiment import Summary, run_experiment
from harmbench.runner.folder import RunFolder
from harmbench.runner.opening import open_run
from harmbench.runner.pairs import Rescan, SessionPair
from harmbench.runner.rescore import rescore_run
from harmbench.statistics import subject_values
from harmbench.task import Direction
from harmbench.trained.store import export_model
from harmbench.volume import write

pytestmark = pytest.mark.usefixtures("thresholds")

WAY = Direction("A", "B")

SEEN = '''
import json
from pathlib import Path
from harmbench.method import Method


class Seen(Method):
    """Remembers which scanners its training pairs are from."""

    several_sources = True

    def fit(self, pairs, task):
        self.seen = sorted((p.subject, p.source_scanner, p.target_scanner) for p in pairs)

    def harmonize(self, source, task):
        return source

    def save(self, folder):
        (folder / "seen.json").write_text(json.dumps(self.seen))
'''


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Five subjects: two visits on A, one each on B and C; s0 three on B, s4 not on C; one excluded."""
    lines = ["subject,group,scanner,visit,path,exclude"]
    random = np.random.default_rng(0)
    for number, pair in enumerate(tiny_pairs(5)):
        group = "MS" if number % 2 else "HC"
        visits = {"A": 2, "B": 3 if number == 0 else 1, "C": 0 if number == 4 else 1}
        for scanner, count in visits.items():
            for visit in range(1, count + 1):
                own = pair.source if scanner == "A" else pair.target
                noise = 0.02 * random.random(own.shape)
                data = np.clip(own.data * (0.8 if scanner == "C" else 0.95) + noise, 0, 1)
                name = f"s{number}_{scanner}{visit}.nii.gz"
                write(own.with_data(data * (own.data > 0)), tmp_path / "scans" / name)
                lines.append(f"s{number},{group},{scanner},{visit},{name},")
    lines.append("s1,MS,A,3,not_there.nii.gz,motion")
    path = tmp_path / "scans" / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def start(study: Path, tmp_path: Path) -> Callable[..., Summary]:
    def run(*overrides: str, name: str = "out", **changes: object) -> Summary:
        settings = ["scoring.segmenter=thresholds", "device=cpu", "folds.k=2", *overrides]
        found = load_experiment(None, settings, {"data.path": study, **changes})
        return run_experiment(found, tmp_path / name, say=lambda _: None)

    return run


def test_results_have_visits_and_subjects_count_once(start, tmp_path: Path) -> None:
    assert start(**{"data.target": "B"}).complete
    out = tmp_path / "out"
    results = read_results(out / "results.csv")
    tested = results.groupby("direction")[["subject", "visit"]].apply(
        lambda f: set(map(tuple, f.values))
    )
    assert tested["A-to-B"] == {(f"s{n}", str(visit)) for n in range(5) for visit in (1, 2)}
    assert tested["C-to-B"] == {(f"s{n}", "1") for n in range(4)}
    mse = results[(results["metric"] == "mse") & (results["method"] == BASELINE)]
    means = subject_values(mse)
    assert len(means[means["direction"] == "A-to-B"]) == 5
    own = mse[(mse["subject"] == "s3") & (mse["direction"] == "A-to-B")]["value"]
    assert len(own) == 2
    mine = means[(means["subject"] == "s3") & (means["direction"] == "A-to-B")]
    assert mine["value"].item() == pytest.approx(own.mean())
    cells = dict(RunFolder(out).cells())
    (cell,) = [c for c in cells if c.method == BASELINE and c.direction == WAY and c.fold == 0]
    pair = cells[cell].tested[0]
    assert RunFolder(out).cell(cell).volume(pair.name).name == f"{pair.subject}_{pair.visit}.nii.gz"
    record = RunFolder(out).read_record()
    assert any("visits are averaged" in text for text in record.split.words)
    assert {(r.subject, r.scanner, r.sessions) for r in record.rescans} == {
        ("s0", "B", ("B-1", "B-2", "B-3")),
        *((f"s{n}", "A", ("A-1", "A-2")) for n in range(5)),
    }


def test_a_rerun_and_a_rescoring_keep_everything(start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    start(**{"data.target": "B"})
    before = (out / "results.csv").read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    assert start(**{"data.target": "B"}).complete
    assert rescore_run(out, say=lambda _: None).complete
    assert (out / "results.csv").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")} == stamps
    # A further direction adds to the folder; other pairs don't.
    assert start(**{"data.direction": "C-to-A"}).complete
    assert set(read_results(out / "results.csv")["direction"]) == {"A-to-B", "C-to-B", "C-to-A"}
    with pytest.raises(RunError, match="other training and test pairs"):
        start("split.train_pairs=all", **{"data.target": "B"})


def test_training_takes_the_closest_visits_or_all(start, study: Path, tmp_path: Path) -> None:
    for choice, count in (("closest", {"s0": 2, "s1": 1}), ("all", {"s0": 6, "s1": 2})):
        settings = ["scoring.segmenter=thresholds", "device=cpu", f"split.train_pairs={choice}"]
        changes = {"data.path": study, "data.direction": "A-to-B", "folds.k": 5}
        opened = open_run(load_experiment(None, settings, changes), tmp_path / "out", "cpu")
        trained = [pair for split in opened.context.splits.values() for pair in split.train]
        # Each subject trains in four of five folds.
        assert {s: sum(p.subject == s for p in trained) / 4 for s in count} == count


def test_rescans_are_pairs_of_scans_on_the_target_scanner(study: Path, tmp_path: Path) -> None:
    settings = ["scoring.segmenter=thresholds", "device=cpu", "folds.k=2"]
    changes = {"data.path": study, "data.direction": "A-to-B,B-to-A"}
    context = open_run(load_experiment(None, settings, changes), tmp_path / "out", "cpu").context
    # s0 is tested at two visits on A, against the first two of three on B.
    assert context.rescans(WAY) == (Rescan("s0", "B-1", "B-2"), Rescan("s0", "B-2", "B-1"))
    back = context.rescans(WAY.reverse)
    assert {rescan.subject for rescan in back} == {f"s{n}" for n in range(5)}
    assert Rescan("s1", "A-1", "A-2") in back
    assert SessionPair("s0", "3", "B-3", "A-2") in [
        pair
        for (way, _), split in context.splits.items()
        if way == WAY.reverse
        for pair in split.test
    ]


def test_a_scanner_is_left_out_of_the_training(start, tmp_path: Path) -> None:
    (tmp_path / "seen.py").write_text(SEEN)
    methods = {"seen": {"uses": f"{tmp_path / 'seen.py'}:Seen"}}
    changes = {"data.target": "B", "split.leave_scanner_out": True, "methods": methods}
    assert start(**changes).complete
    folder = RunFolder(tmp_path / "out")
    for cell, record in folder.cells():
        if cell.method == "seen" and cell.direction == WAY:
            seen = (folder.cell(cell).model / "seen.json").read_text()
            assert '"C", "B"' in seen
            assert '"A", "B"' not in seen
            assert not {pair.subject for pair in record.tested} & {
                pair.subject for pair in record.train_pairs or ()
            }
    assert "One scanner was left out" in " ".join(folder.read_record().split.words)
    methods = {"dm": {"uses": "dm"}}
    with pytest.raises(MethodError, match="dm does not declare that it learns from several source"):
        start(**{**changes, "methods": methods}, name="other")


def test_groups_and_given_folds(start, tmp_path: Path) -> None:
    table = tmp_path / "folds.tsv"
    table.write_text("subject\tfold\n" + "".join(f"s{n}\t{'xy'[n > 2]}\n" for n in range(5)))
    settings = {"data.direction": "A-to-B", "folds.k": None, "folds.file": table}
    assert start(**settings, **{"split.train_group": "HC", "split.test_group": "MS"}).complete
    out = tmp_path / "out"
    results = read_results(out / "results.csv")
    assert set(results["subject"]) == {"s1", "s3"}
    folds = results.drop_duplicates("subject").set_index("subject")["fold"]
    assert dict(folds) == {"s1": 0, "s3": 1}
    for _, record in RunFolder(out).cells():
        assert {pair.subject for pair in record.train_pairs or ()} <= {"s0", "s2", "s4"}
    words = " ".join(RunFolder(out).read_record().split.words)
    assert "group HC only" in words
    assert "folds.tsv" in words


def test_a_model_knows_what_it_learned_from(start, tmp_path: Path) -> None:
    start(**{"data.direction": "C-to-B"})
    cell = tmp_path / "out" / "cells" / "histogram_matching" / "C-to-B" / "fold-0" / "seed-0"
    export_model(cell, tmp_path / "model")
    record = (tmp_path / "model" / "model.json").read_text()
    assert '"subjects": 2' in record  # of four with a pair, the others are held out
