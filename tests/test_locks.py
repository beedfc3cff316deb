"""Locks that cannot be read, and those of processes that nobody knows to have ended."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from harmbench import holders
from harmbench.holders import Watch, holder_of
from harmbench.locks import Lock, LockLostError, free
from harmbench.runner.leftovers import leftovers, remove_leftover
from harmbench.storage import time_on


def _refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the system refuse to read any file that is there."""

    def refuse(path: Path) -> None:
        if path.exists():
            raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(holders, "read_sealed", refuse)
    monkeypatch.setattr(holders, "file_key", refuse)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_lock_that_the_system_refuses_to_read_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path, now = tmp_path / "lock.json", [0.0]
    path.write_text("{}")
    _refuse(monkeypatch, number)
    watch = Watch(clock=lambda: now[0])
    lock = Lock(path, watch=watch)
    holder = lock.take()
    assert "cannot be read" in str(holder)
    now[0] = 1e6
    assert lock.take() is not None
    assert lock.wait(0.02) is not None
    assert not free(path, watch)
    assert path.is_file()


def test_a_folder_in_the_place_of_a_lock_is_no_endless_loop(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    path.mkdir()
    assert Lock(path).wait(0.02) is not None
    assert leftovers(tmp_path) == []
    assert path.is_dir()


def test_a_passing_error_loses_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock.json"
    with Lock(path) as lock:
        assert lock.take() is None
        with monkeypatch.context() as passing:
            _refuse(passing, errno.EIO)
            lock.check()
        lock.check()
        path.unlink()
        with pytest.raises(LockLostError):
            lock.check()
        _refuse(monkeypatch, errno.EIO)
        with pytest.raises(LockLostError):
            lock.check()
    assert Lock(path).take() is None, "the link decides, whether it can be read or not"


def test_a_lock_that_is_not_there_has_no_holder(tmp_path: Path) -> None:
    assert holder_of(tmp_path / "lock.json") is None


def _elsewhere(path: Path, *, age_s: float, beat_age_s: float | None = None) -> None:
    """Make a lock of a process of another machine, which was last changed some time ago."""
    owner = {"host": "elsewhere", "machine": "m", "boot": "b", "space": "", "pid": 1, "born": "1"}
    path.write_text(json.dumps({**owner, "token": "theirs", "purpose": ""}))
    times = {path: age_s}
    if beat_age_s is not None:
        beat = path.with_name("lock-theirs.beat")
        beat.write_text("1")
        times[beat] = beat_age_s
    now_s = time_on(path.parent)
    for own, age in times.items():
        os.utime(own, (now_s - age, now_s - age))


@pytest.mark.parametrize(
    ("age_s", "beat_age_s", "ended"),
    [(10.0, None, False), (400.0, None, True), (400.0, 30.0, False), (900.0, 400.0, True)],
)
def test_one_look_takes_the_times_of_the_files_of_an_owner_elsewhere(
    tmp_path: Path, age_s: float, beat_age_s: float | None, ended: bool
) -> None:
    folder = tmp_path / "cells/unet/A-to-B/fold-0/seed-0"
    folder.mkdir(parents=True)
    path = folder / "lock.json"
    _elsewhere(path, age_s=age_s, beat_age_s=beat_age_s)
    assert (path in leftovers(tmp_path)) == ended
    lock = Lock(path, watch=Watch(once=True))
    assert (lock.take() is None) == ended
    lock.release()
    assert path.is_file() == (not ended)


def test_a_lock_that_was_taken_over_meanwhile_is_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    _elsewhere(path, age_s=900.0, beat_age_s=900.0)
    orphan = tmp_path / "lock-nobody.beat"
    orphan.write_text("1")
    listed = leftovers(tmp_path)
    assert {path, orphan} <= set(listed)
    with Lock(path, watch=Watch(once=True)) as lock:
        assert lock.take() is None
        theirs = holder_of(path)
        assert theirs is not None
        beat = holders.beat_of(path, theirs.token)
        beat.write_text("1")
        for own in [*listed, beat]:
            remove_leftover(own)
        lock.check()
        assert beat.is_file()
        assert not orphan.exists()
    _elsewhere(path, age_s=900.0, beat_age_s=900.0)
    for own in leftovers(tmp_path):
        remove_leftover(own)
    assert list(tmp_path.iterdir()) == []
