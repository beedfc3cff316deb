"""Runs into a folder that holds an earlier run: what is done again, and what is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harmbench.code_keys import stage_code
from harmbench.config import load_experiment
from harmbench.errors import RunError
from harmbench.results import read_results
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.experiment import run_experiment
from harmbench.runner.folder import RunFolder
from harmbench.volume import read, write

pytestmark = pytest.mark.usefixtures("thresholds")


def test_a_current_run_does_nothing_again(start, calls, tmp_path: Path) -> None:
    start(gain=1.0)
    before = (tmp_path / "out" / "results.csv").read_bytes()
    done = len(calls())
    start(gain=1.0)
    assert len(calls()) == done
    assert (tmp_path / "out" / "results.csv").read_bytes() == before


def test_other_settings_redo_what_hangs_on_them(start, calls, tmp_path: Path) -> None:
    start(gain=1.0)
    first = read_results(tmp_path / "out" / "results.csv")
    done = len(calls())
    start(gain=0.5)
    assert len(calls()) == 2 * done
    second = read_results(tmp_path / "out" / "results.csv")
    changed = (first["value"] - second["value"]).abs() > 0
    assert set(first["method"][changed]) == {"tricks"}
    start("scoring.surface_backend=medpy", gain=0.5)
    assert len(calls()) == 2 * done, "rescoring fits nothing"


def test_edited_code_is_run_again_and_a_comment_is_not(start, adapter: Path, calls) -> None:
    start(gain=1.0)
    done = len(calls())
    code = adapter.read_text()
    adapter.write_text("# a comment changes nothing\n" + code)
    start(gain=1.0)
    assert len(calls()) == done
    adapter.write_text(code + "\n\nHALF = 0.5\n")
    start(gain=1.0)
    assert len(calls()) == 2 * done


@pytest.mark.parametrize(
    ("stage", "fits", "harmonizes"), [("read", 2, 4), ("harmonize", 0, 4), ("score", 0, 0)]
)
def test_edited_code_of_a_stage_redoes_that_stage(
    start, calls, tmp_path: Path, monkeypatch, stage: str, fits: int, harmonizes: int
) -> None:
    def edited(name: str) -> str:
        return "edited" if name == stage else stage_code(name)

    start("data.direction=A-to-B", gain=1.0)
    done = len(calls())
    stages = [record.stages for _, record in RunFolder(tmp_path / "out").cells()]
    for place in ("inputs", "stages.harmonize", "stages.score"):
        monkeypatch.setattr(f"harmbench.runner.{place}.stage_code", edited)
    start("data.direction=A-to-B", gain=1.0)
    again = calls()[done:]
    assert again.count("harmonize") == harmonizes
    assert len(again) == fits + harmonizes
    after = [record.stages for _, record in RunFolder(tmp_path / "out").cells()]
    assert all(one != other for one, other in zip(stages, after, strict=True))


def test_a_failed_cell_is_tried_again(start, tmp_path: Path) -> None:
    start(fail="fit")
    assert not start(gain=1.0).failed
    results = read_results(tmp_path / "out" / "results.csv")
    assert not (results["status"] == "failed").any()


def test_other_data_or_folds_need_another_folder(start, tmp_path: Path) -> None:
    start()
    with pytest.raises(RunError, match=r"other subjects or folds \(\d in another fold: s"):
        start("folds.seed=5")
    scan = read(tmp_path / "scans" / "s0_A.nii.gz")
    write(scan.with_data(scan.data * 0.9), tmp_path / "scans" / "s0_A.nii.gz")
    with pytest.raises(RunError, match=r"other scans.*1 changed: s0 A"):
        start()


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
def test_damaged_scores_are_made_again(start, calls, tmp_path: Path, damage) -> None:
    start("data.direction=A-to-B", "folds.run=0", gain=0.5)
    expected = (tmp_path / "out" / "results.csv").read_bytes()
    done = len(calls())
    for path in (tmp_path / "out").rglob("scores.csv"):
        good = path.read_text()
        path.write_text(damage(good))
        assert path.read_text() != good
    start("data.direction=A-to-B", "folds.run=0", gain=0.5)
    assert (tmp_path / "out" / "results.csv").read_bytes() == expected
    assert len(calls()) == done, "nothing is fitted or harmonized for that"


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


def test_half_written_files_are_swept(start, tmp_path: Path) -> None:
    start()
    litter, young = (tmp_path / "out" / "segmentations" / f".tmp-{i}.nii.gz" for i in "ab")
    litter.write_text("half")
    os.utime(litter, (1e9, 1e9))
    young.write_text("another run is writing this")
    start()
    assert not litter.exists()
    assert young.exists()
