"""Locks that cannot be read, and those of processes that nobody knows to have ended."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harmbench import locks
from harmbench.locks import Lock, LockLostError, Watch, free, holder_of
from harmbench.runner.leftovers import leftovers


def _refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the system refuse to read any file that is there."""

    def refuse(path: Path) -> None:
        if path.exists():
            raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(locks, "read_sealed", refuse)
    monkeypatch.setattr(locks, "file_key", refuse)


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
