"""Locks between processes of any machine that share a disk: one file, one owner.

A lock is a file that is linked into its place, which fails where one is there: on networked disks too,
the server decides. The file says which process holds it. A second file, renamed into place over and
over, holds a count that shows that the owner lives (`harmbench.holders`).

A lock whose owner has ended is taken over. On the owner's own machine that is known at once. From
another machine, an owner counts as ended when its count has stood still for `SILENT_S` seconds of the
observer. The right to remove one owner's lock is itself a lock, with a name that only this owner's has:
so nobody removes the lock of an owner that came after.

No wait is without an end: an owner lives, or is found to have ended, or `LockError` names a file that
cannot be read as a lock.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Final
from uuid import uuid4

from typing_extensions import Self

from harmbench.holders import Holder, Watch, beat_of, holder_of
from harmbench.owners import this_process
from harmbench.storage import TEMPORARY_PREFIX, write_json
from harmbench.sums import write_sealed

__all__ = ["Lock", "LockLostError", "free"]

BEAT_S: Final = 20.0
"""Seconds between two signs of life."""

log = logging.getLogger(__name__)


class LockLostError(Exception):
    """Another process took the lock over: this one was silent for too long."""


class Lock:
    """A lock that this process may hold.

    Args:
        path: the file; its folder must exist.
        purpose: what the work is for; `take` with the same one takes over from a helper that has died.
        watch: looks at the lives of others.
        beats: whether to give signs of life; locks that are held for a moment need none.

    Attributes:
        path: the file.
    """

    def __init__(
        self,
        path: Path,
        purpose: str = "",
        watch: Watch | None = None,
        *,
        beats: bool = True,
    ) -> None:
        self.path, self._purpose, self._beats = path, purpose, beats
        self._watch = watch or Watch()
        self._token, self._lost = "", False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, *, dead: str | None = None) -> Holder | None:
        """Take the lock, at once or not at all.

        Args:
            dead: a purpose whose owners are known to have ended.

        Returns:
            Who holds it instead; `None` where this process has it now.

        Raises:
            LockError: see `Watch.has_ended`.
        """
        while True:
            holder = self._link()
            if holder is None:
                self._begin()
                return None
            known_dead = bool(dead) and holder.purpose == dead
            if not known_dead and not self._watch.has_ended(self.path, holder):
                return holder
            if not self.remove(holder):
                return holder

    def wait(self, seconds: float) -> Holder | None:
        """Take the lock, waiting for it; returns and raises what `take` does.

        Args:
            seconds: how long to wait for one and the same holder. Many may hold it one after another.
        """
        token: str | None = None
        end, pause_s = 0.0, 0.002
        while (holder := self.take()) is not None:
            now = time.monotonic()
            if holder.token != token:
                token, end = holder.token, now + seconds
            elif now >= end:
                break
            time.sleep(pause_s)
            pause_s = min(1.0, 1.5 * pause_s)
        return holder

    def check(self) -> None:
        """Raise `LockLostError` unless this process still holds the lock; once lost, it stays so.

        Where the system does not give the lock just now, it counts as held.
        """
        holder = holder_of(self.path)
        mine = holder is not None and holder.token in {self._token, ""} and bool(self._token)
        self._lost = self._lost or not mine
        if self._lost:
            raise LockLostError(f"{self.path}: another process took over; this one was silent")

    def release(self) -> None:
        """Give the lock back, where this process still holds it."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        token, self._token = self._token, ""
        holder = holder_of(self.path)
        if token and holder is not None and holder.token == token:
            self.path.unlink(missing_ok=True)
        beat_of(self.path, token).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _link(self) -> Holder | None:
        """Put this process's claim into the lock's place; return who is there, `None` for success."""
        holder = holder_of(self.path)
        while holder is None:
            token = uuid4().hex
            claim = self.path.with_name(f"{TEMPORARY_PREFIX}{this_process().tag}-{token}.json")
            mine = {**asdict(this_process()), "token": token, "purpose": self._purpose}
            write_sealed(claim, mine, durable=False)
            linked = False
            # Where the name is taken after all, a server may have answered twice, and it is this claim.
            with suppress(FileExistsError, FileNotFoundError):
                _link(claim, self.path)
                linked = True
            claim.unlink(missing_ok=True)
            holder = holder_of(self.path)
            if holder is not None and holder.token in {token, "" if linked else token}:
                self._token = token
                return None
        return holder

    def remove(self, holder: Holder) -> bool:
        """Remove the lock of a process that has ended; `False` where another one is at it."""
        right = self.path.with_name(f"{TEMPORARY_PREFIX}{self.path.name}-{holder.token}")
        mine = Lock(right, self._purpose, self._watch, beats=False)
        if mine.take() is not None:
            return False
        with mine:
            now = holder_of(self.path)
            if now is not None and now.token == holder.token:
                self.path.unlink(missing_ok=True)
                beat_of(self.path, holder.token).unlink(missing_ok=True)
                if holder.problem:
                    log.warning(
                        "%s: it is removed, since no process gave a sign of life", holder.problem
                    )
        return True

    def _begin(self) -> None:
        self._ended.clear()
        self._lost = False
        if self._beats:
            self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        count, path = 0, beat_of(self.path, self._token)
        while not self._ended.wait(BEAT_S):
            count += 1
            with suppress(OSError):  # a disk that is full or away: the next one may succeed
                write_json(path, count, durable=False)


def free(path: Path, watch: Watch) -> bool:
    """Whether nobody holds a lock; that of a process that has ended is removed.

    Args:
        path: the lock.
        watch: what was seen of the owner before; keep it for the next look.

    Raises:
        LockError: see `Watch.has_ended`.
        OSError: the lock cannot be removed.
    """
    holder = holder_of(path)
    if holder is None:
        return True
    return watch.has_ended(path, holder) and Lock(path, watch=watch).remove(holder)


def _link(claim: Path, place: Path) -> None:
    """Give a file a second name, unless that is taken; some disks have no second names."""
    try:
        os.link(claim, place)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        # A process that ends in between leaves a lock that cannot be read.
        handle = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        with os.fdopen(handle, "wb") as file:
            file.write(claim.read_bytes())
