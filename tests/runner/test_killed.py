"""Runs that are killed at any file operation, and what the next run makes of their folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from harmbench import owners
from harmbench.config import load_experiment
from harmbench.errors import RunError
from harmbench.results import read_results
from harmbench.runner.experiment import run_experiment
from harmbench.runner.folder import RunFolder
from harmbench.runner.leftovers import foreign_file, sweep

pytestmark = pytest.mark.usefixtures("thresholds")

# `run.json` is there after some 26 changes; these points lie before, about, and after it.
POINTS = [1, 2, 4, 7, 10, 13, 17, 20, 23, 26, 29, 36, 52, 66]


class KilledError(BaseException):
    """Stands for a process that is no more."""


class _Killer:
    """Counts what a process changes below a folder; from one change on, nothing is changed any more."""

    def __init__(self) -> None:
        self.below, self.left = "", -1
        self.count = self.life = 0
        self.once: Path | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.below or not self._changes(event, arguments):
            return
        self.count += 1
        if 0 <= self.left < self.count or (self.once is not None and self.once.is_file()):
            # Also what a `finally` would tidy up: a killed process tidies nothing.
            raise KilledError(event)

    def _changes(self, event: str, arguments: tuple[object, ...]) -> bool:
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return False
        elif event not in {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod"}:
            return False
        return str(arguments[0]).startswith(self.below)


_KILLERS: list[_Killer] = []


@pytest.fixture
def killer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Killer]:
    # A hook stays for the life of the process: there is one, and it rests between tests.
    if not _KILLERS:
        _KILLERS.append(_Killer())
    killer = _KILLERS[0]
    killer.below, killer.left, killer.count = str(tmp_path / "out"), -1, 0
    killer.once = None
    # Each run stands for a process of its own, with another start.
    monkeypatch.setattr(owners, "_born", lambda _: str(killer.life))
    yield killer
    killer.below = ""
    owners._known.cache_clear()


def _run(manifest: Path, out: Path) -> pd.DataFrame:
    if _KILLERS:
        _KILLERS[0].life += 1
        owners._known.cache_clear()
    settings = [
        "scoring.segmenter=thresholds",
        "device=cpu",
        "controls=[identity]",
        "volume_controls=[]",
    ]
    changes = {"data.path": manifest, "folds.k": 2, "folds.run": "0", "data.direction": "A-to-B"}
    summary = run_experiment(load_experiment(None, settings, changes), out, say=lambda _: None)
    assert not summary.failed
    return read_results(out / "results.csv")


_CLEAN: list[pd.DataFrame] = []


def _expected(killer: _Killer, manifest: Path, out: Path) -> pd.DataFrame:
    """Return the results of a run that nobody killed; made once."""
    killer.below = ""
    if not _CLEAN:
        _CLEAN.append(_run(manifest, out))
    return _CLEAN[0]


@pytest.fixture
def manifest(make_manifest) -> Path:
    return make_manifest(2)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_is_taken_up(
    killer: _Killer, manifest: Path, tmp_path: Path, point: int
) -> None:
    killer.left = point - 1
    with pytest.raises(KilledError):
        _run(manifest, tmp_path / "out")
    killer.left = -1
    mended = _run(manifest, tmp_path / "out")
    expected = _expected(killer, manifest, tmp_path / "clean")
    pd.testing.assert_frame_equal(mended, expected)


def test_a_run_is_killed_again_and_again(killer: _Killer, manifest: Path, tmp_path: Path) -> None:
    kills = 0
    for more in range(1, 200, 9):
        killer.count, killer.left = 0, more
        try:
            _run(manifest, tmp_path / "out")
        except KilledError:
            kills += 1
        else:
            break
    assert kills > 5
    killer.left = -1
    mended = _run(manifest, tmp_path / "out")
    expected = _expected(killer, manifest, tmp_path / "clean")
    pd.testing.assert_frame_equal(mended, expected)


def test_a_killed_start_on_other_data_does_not_lock_the_folder(
    killer: _Killer, manifest: Path, make_manifest, tmp_path: Path
) -> None:
    killer.once = tmp_path / "out" / "folds.csv"
    with pytest.raises(KilledError):
        _run(manifest, tmp_path / "out")
    killer.once = None
    assert (tmp_path / "out" / "folds.csv").is_file()
    assert not RunFolder(tmp_path / "out").is_run
    assert set(_run(make_manifest(3, "more"), tmp_path / "out")["subject"]) <= {"s0", "s1", "s2"}


INPUTS = "subject,group,session,path,mask,sha256,mask_sha256,rescale\n"
FOLDS = "subject,group,fold\n"


@pytest.mark.parametrize(
    ("files", "foreign"),
    [
        ({}, None),
        ({".tmp-abc.csv": "x"}, None),
        ({"inputs.csv": INPUTS}, None),
        ({"inputs.csv": INPUTS, "folds.csv": FOLDS}, None),
        ({"inputs.csv": INPUTS, "folds.csv": FOLDS, "config.yaml": "{}", ".tmp-1.json": ""}, None),
        ({"cells/": "", "segmentations/": "", "empty/": ""}, None),
        (
            {
                "inputs.csv": INPUTS,
                "folds.csv": FOLDS,
                "segmentations/a_b_hmrf.nii.gz": "x",
                "segmentations/a_b_hmrf.json": "x",
                "cells/dm/A-to-B/fold-0/seed-0/cell.json": "{}",
            },
            None,
        ),
        ({"thesis.txt": ""}, "thesis.txt"),
        ({"config.yaml": "folds: {k: 4}"}, "config.yaml"),
        ({"folds.csv": FOLDS}, "folds.csv"),
        ({"inputs.csv": "subject,group,session,path\n"}, "inputs.csv"),
        ({"inputs.csv": INPUTS, "folds.csv": "fold;subject\n"}, "folds.csv"),
        ({"inputs.csv": INPUTS, "folds.csv": FOLDS, "cells/notes.txt": ""}, "cells/notes.txt"),
        (
            {"inputs.csv": INPUTS, "folds.csv": FOLDS, "segmentations/a/b.nii.gz": ""},
            "segmentations/a/b.nii.gz",
        ),
        ({"segmentations/mine.nii.gz": ""}, "segmentations/mine.nii.gz"),
        ({"inputs.csv": INPUTS, "other/.hidden": ""}, "other/.hidden"),
    ],
)
def test_folders_that_are_taken_over_and_folders_that_are_not(
    tmp_path: Path, files: dict[str, str], foreign: str | None
) -> None:
    for name, text in files.items():
        path = tmp_path / "out" / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(text)
    assert foreign_file(tmp_path / "out") == foreign


def test_a_folder_with_other_files_is_refused_by_name(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("")
    with pytest.raises(RunError, match=r"neither empty nor a run folder, thesis\.txt is none of"):
        _run(manifest, tmp_path / "out")


def test_old_temporaries_go_and_nothing_raises(tmp_path: Path, monkeypatch) -> None:
    old = tmp_path / "cells" / ".tmp-folder"
    (old / "inside").mkdir(parents=True)
    (old / "inside" / "file").write_text("half")
    (tmp_path / ".harmbench-probe").mkdir()
    (tmp_path / ".tmp-file.csv").write_text("half")
    (tmp_path / ".tmp-link").symlink_to(tmp_path / "nowhere")
    young = tmp_path / ".tmp-young"
    young.mkdir()
    kept = tmp_path / "kept.csv"
    kept.write_text("")
    for path in (old, tmp_path / ".harmbench-probe", tmp_path / ".tmp-file.csv"):
        os.utime(path, (1e9, 1e9))
    os.utime(tmp_path / ".tmp-link", (1e9, 1e9), follow_symlinks=False)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-young", "cells", "kept.csv"]
    assert not list((tmp_path / "cells").iterdir())

    os.utime(young, (1e9, 1e9))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(Path, "unlink", refuse)
    (tmp_path / ".tmp-again").write_text("")
    os.utime(tmp_path / ".tmp-again", (1e9, 1e9))
    sweep(tmp_path)
    sweep(tmp_path / "missing")
