"""Locks that cannot be read, and those of processes that nobody knows to have ended."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harmbench import holders
from harmbench.bounded import JSON_BYTES
from harmbench.errors import LockError
from harmbench.holders import SILENT_S, Watch, holder_of
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
    assert holder is not None
    assert "cannot be read" in str(holder)
    assert os.strerror(number) in str(holder)
    now[0] = SILENT_S - 1
    assert lock.wait(0.02) is not None
    assert not free(path, watch)
    # What changes beside it is a sign of life, whoever gave it.
    (tmp_path / "lock-theirs.beat").write_text("1")
    assert not free(path, watch)
    assert watch.is_lively(path, holder)
    for later in (SILENT_S, 2 * SILENT_S - 2):
        now[0] = later
        assert lock.take() is not None
    now[0] = 2 * SILENT_S - 1
    for work in (lock.take, lambda: lock.wait(9.0), lambda: free(path, watch)):
        with pytest.raises(LockError, match=f"{path}.*remove it where no run works"):
            work()
    assert path.is_file()
    assert Lock(path, watch=Watch(once=True)).take() is not None, "one look tells nothing"
    assert leftovers(tmp_path) == []


def test_a_wait_counts_the_time_of_each_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now, last = tmp_path / "lock.json", [0.0], [5]
    lock = Lock(path, beats=False)
    owner = {"host": "elsewhere", "machine": "m", "boot": "b", "space": "", "pid": 1, "born": "1"}

    def pause(seconds: float) -> None:
        now[0] += 4.0
        holder = min(int(now[0] / 8.0), last[0])
        path.write_text(json.dumps({**owner, "token": f"holder {holder}", "purpose": ""}))

    pause(0.0)
    monkeypatch.setattr("harmbench.locks.time.sleep", pause)
    monkeypatch.setattr("harmbench.locks.time.monotonic", lambda: now[0])
    holder = lock.wait(10.0)
    assert holder is not None
    assert holder.token == "holder 5"
    assert 50.0 <= now[0] <= 54.0


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(JSON_BYTES + 1)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pipes in folders")
@pytest.mark.parametrize("make", [_folder, _pipe, _loop, _link_to_nowhere, _huge])
def test_what_is_no_lock_ends_the_wait_with_its_name(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path, now = tmp_path / "lock.json", [0.0]
    make(path)
    lock = Lock(path, watch=Watch(clock=lambda: now[0]))
    assert lock.wait(0.02) is not None
    now[0] = SILENT_S
    with pytest.raises(LockError, match=str(path)):
        lock.wait(9.0)
    assert leftovers(tmp_path) == []
    assert [own.name for own in tmp_path.iterdir()] == ["lock.json"], "it is not removed"


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '{"host": "elsewhere"}', "\0\0\0\0", "\x85"]
)
def test_a_damaged_lock_is_taken_over_when_nothing_beside_it_changes(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, now = tmp_path / "lock.json", [0.0]
    path.write_text(text, encoding="latin-1")
    lock = Lock(path, watch=Watch(clock=lambda: now[0]))
    assert str(path) in str(lock.take())
    for later, beat in ((50.0, "1"), (100.0, "2")):
        now[0] = later
        (tmp_path / "lock-theirs.beat").write_text(beat)
        assert lock.take() is not None, "its owner lives"
    now[0] = 159.0
    assert lock.take() is not None
    now[0] = 160.0
    assert lock.take() is None
    assert str(path) in caplog.text
    lock.check()
    lock.release()
    assert not path.exists()


def test_what_was_seen_of_one_damaged_lock_does_not_count_for_another(tmp_path: Path) -> None:
    now = [0.0]
    watch = Watch(clock=lambda: now[0])
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.touch()
    assert not free(first, watch)
    now[0] = 100.0
    second.touch()
    assert not free(second, watch), "it may be written just now"
    assert free(first, watch)


def test_a_lock_that_is_written_anew_is_looked_at_anew(tmp_path: Path) -> None:
    now = [0.0]
    path, watch = tmp_path / "lock.json", Watch(clock=lambda: now[0])
    for at, text in ((0.0, ""), (30.0, "{"), (70.0, "")):
        now[0] = at
        path.write_text(text)
        assert not free(path, watch)
    now[0] = 129.0
    assert not free(path, watch)


def test_the_owner_of_a_damaged_lock_stops(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    with Lock(path) as lock:
        assert lock.take() is None
        path.write_text("{")
        with pytest.raises(LockLostError):
            lock.check()
    assert path.read_text() == "{"


def test_one_look_spares_a_damaged_lock_of_an_owner_that_gives_signs_of_life(
    tmp_path: Path,
) -> None:
    path, beat = tmp_path / "lock.json", tmp_path / "lock-theirs.beat"
    path.write_text("{")
    beat.write_text("1")
    now_s = time_on(tmp_path)
    os.utime(path, (now_s - 900.0, now_s - 900.0))
    assert Lock(path, watch=Watch(once=True)).take() is not None
    os.utime(beat, (now_s - 900.0, now_s - 900.0))
    with Lock(path, watch=Watch(once=True)) as lock:
        assert lock.take() is None


def test_a_right_to_remove_that_cannot_be_read_ends_the_wait(tmp_path: Path) -> None:
    path, now = tmp_path / "lock.json", [0.0]
    _elsewhere(path, age_s=0.0)
    right = tmp_path / ".tmp-lock.json-theirs"
    right.mkdir()
    watch = Watch(clock=lambda: now[0])
    for later in (0.0, SILENT_S, 2 * SILENT_S - 1):
        now[0] = later
        assert not free(path, watch)
    now[0] = 2 * SILENT_S
    with pytest.raises(LockError, match=str(right)):
        free(path, watch)


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
