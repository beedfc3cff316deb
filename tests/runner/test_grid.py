"""Cells run through any executor; one whose process dies is a row with its status."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harmbench.config import load_experiment
from harmbench.executors import Died, Executor, LocalExecutor
from harmbench.progress import Display
from harmbench.results import read_results
from harmbench.runner.experiment import Summary, run_experiment
from harmbench.runner.folder import Cell, RunFolder

pytestmark = pytest.mark.usefixtures("thresholds")


class Deadly:
    """An executor whose cells of one fold die; the rest runs here."""

    def __init__(self) -> None:
        self.inner: Executor = LocalExecutor()
        self.remote = False

    def run(
        self,
        work: Callable[..., object],
        items: Sequence[object],
        display: Display,
        line: Callable[..., str] | None = None,
        kin: Callable[..., object] | None = None,
    ) -> Iterator[tuple[object, object]]:
        for item in items:
            if isinstance(item, Cell) and item.fold == 1:
                yield item, Died("its process was killed")
            else:
                yield from self.inner.run(work, [item], display, line)


@pytest.fixture
def start(make_manifest, tmp_path: Path) -> Callable[[], Summary]:
    def run() -> Summary:
        settings = [
            "scoring.segmenter=thresholds",
            "device=cpu",
            "controls=[identity]",
            "volume_controls=[]",
        ]
        changes = {"data.path": make_manifest(4), "folds.k": 2, "data.direction": "A-to-B"}
        experiment = load_experiment(None, settings, changes)
        return run_experiment(experiment, tmp_path / "out", say=lambda _: None)

    return run


def test_a_cell_whose_process_dies_has_rows_that_say_so(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("harmbench.runner.experiment.make_executor", lambda *_: Deadly())
        summary = start()
    assert set(summary.failed) == {"identity A-to-B fold 1 seed 0", "target A-to-B fold 1 seed 0"}
    assert set(summary.failed.values()) == {"its process was killed"}
    results = read_results(tmp_path / "out" / "results.csv")
    assert set(results["status"][results["fold"] == 1]) == {"failed"}
    assert "failed" not in set(results["status"][results["fold"] == 0])
    records = {cell.fold: record for cell, record in RunFolder(tmp_path / "out").cells()}
    assert {fold: record.status for fold, record in records.items()} == {0: "ok", 1: "failed"}
    assert start().complete
