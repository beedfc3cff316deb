"""Who holds a lock, and whether that process still lives; see `harmbench.locks`.

Who looks again and again knows it by the count of the owner's signs of life: no time of any file and no
clock of another machine is compared. Who looks once can only take the times of the files, on the clock
of their own disk.

A lock may be unreadable. One with damaged contents is judged by the signs of life beside it. One that the
system refuses to read, or that is no regular file, is never removed: it may be the lock of a live process
of another user. Where nothing beside it changes either, the wait for it ends with an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harmbench.errors import LockError
from harmbench.owners import Owner, is_gone
from harmbench.storage import file_key, read_json, time_on
from harmbench.sums import read_sealed

__all__ = ["SILENT_S", "Holder", "Watch", "beat_of", "holder_of"]

SILENT_S: Final = 300.0
"""Seconds without a sign of life after which an owner on another machine counts as ended."""

_DAMAGED_S: Final = 60.0
"""Seconds without a sign of life after which nobody owns a lock with damaged contents.

A live owner gives one every 20 s. Where a disk has no second names for files, a lock that is being
written looks damaged too, for a moment.
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    Attributes:
        owner: the process; one without a host where the lock does not say.
        token: of this one time that it holds the lock; empty where the system refuses to read the lock.
        purpose: of the work, as `Lock` was given it.
        problem: which file cannot be read as a lock, and why; empty where it can.
    """

    owner: Owner
    token: str
    purpose: str = ""
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return f"a process whose lock cannot be read: {self.problem}"
        return f"process {self.owner.pid} on {self.owner.host}"


_UNNAMED: Final = Owner("", "", "", "", 0, "")


def holder_of(path: Path) -> Holder | None:
    """Return who holds a lock; `None` where nobody does.

    The holder of a lock that cannot be read has no host. Either its contents are damaged, or it is being
    written just now. Where the system refuses to read it, the holder has no token either.
    """
    try:
        found = read_sealed(path)
        if isinstance(found, dict):
            owner = Owner(**{name: found[name] for name in Owner.__slots__})
            return Holder(owner, str(found["token"]), str(found["purpose"]))
        problem = "not a lock" if path.exists() else ""
    except OSError as error:
        return _refused(path, error)
    except (ValueError, TypeError, KeyError):
        problem = "damaged"
    try:
        if problem:
            token = f"unreadable-{file_key(path)[:16]}"
            return Holder(_UNNAMED, token, problem=f"{path}: {problem}")
    except FileNotFoundError:
        pass  # released meanwhile, or a link
    except OSError as error:
        return _refused(path, error)
    return _refused(path, "a link that leads nowhere") if path.is_symlink() else None


def _refused(path: Path, why: OSError | str) -> Holder:
    reason = why if isinstance(why, str) else why.strerror or str(why)
    return Holder(_UNNAMED, "", problem=f"{path}: {reason}")


@dataclass(slots=True)
class _Seen:
    """What was seen of a lock's owner.

    Attributes:
        token: of the holder.
        sign: the last sign of life.
        since: since when it has not changed, by `Watch.clock`.
        lively: whether it has changed since the first look.
    """

    token: str
    sign: object
    since: float
    lively: bool = False


@dataclass(slots=True)
class Watch:
    """Looks at the lives of owners, from one process, again and again, or once.

    Attributes:
        once: whether this is for one look: an owner elsewhere is then judged by the times of its files.
        silent_s: seconds without a sign of life after which an owner elsewhere counts as ended.
        clock: seconds from any time on.
    """

    once: bool = False
    silent_s: float = SILENT_S
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, _Seen] = field(default_factory=dict)

    def has_ended(self, path: Path, holder: Holder) -> bool:
        """Whether the process that holds the lock at `path` has ended.

        Raises:
            LockError: the system refuses to read the lock, and nothing beside it changes: nobody can know.
        """
        known = is_gone(holder.owner) if holder.owner.host else None
        if known is not None:
            if not known:
                self._seen[path] = _Seen(holder.token, None, self.clock(), lively=True)
            return known
        if self.once:
            return bool(holder.token) and self._is_old(path, holder)
        silent_s = self._silent_for(path, holder)
        if silent_s < self._limit_s(holder):
            return False
        if not holder.token:
            raise LockError(
                f"{holder.problem}; it should be a lock, cannot be read, and gave no sign of life for "
                f"{silent_s:.0f} s; let this user read it, or remove it where no run works on this folder"
            )
        return True

    def is_lively(self, path: Path, holder: Holder) -> bool:
        """Whether the process that holds a lock has given a sign of life since the first look."""
        seen = self._seen.get(path)
        return seen is not None and seen.token == holder.token and seen.lively

    def _silent_for(self, path: Path, holder: Holder) -> float:
        """Return for how many seconds looks have found the same sign of life."""
        sign, now = _sign_of_life(path, holder), self.clock()
        seen = self._seen.get(path)
        if seen is None or seen.token != holder.token:
            self._seen[path] = _Seen(holder.token, sign, now)
            return 0.0
        if seen.sign != sign:
            seen.sign, seen.since, seen.lively = sign, now, True
        return now - seen.since

    def _is_old(self, path: Path, holder: Holder) -> bool:
        """Whether the disk's clock is far past the last change of a lock and of its sign of life."""
        try:
            times = [path.stat().st_mtime]
            beats = _beats_beside(path) if holder.problem else [beat_of(path, holder.token)]
            times += [beat.stat().st_mtime for beat in beats if beat.exists()]
            return time_on(path.parent) - max(times) >= self._limit_s(holder)
        except OSError:
            return False

    def _limit_s(self, holder: Holder) -> float:
        return _DAMAGED_S if holder.problem and holder.token else self.silent_s


def beat_of(path: Path, token: str) -> Path:
    """Return the path of the signs of life of one who holds the lock at `path`."""
    return path.with_name(f"{path.stem}-{token}.beat")


def _beats_beside(path: Path) -> list[Path]:
    """Return the signs of life of all that hold, or held, the lock at `path`."""
    return sorted(path.parent.glob(f"{path.stem}-*.beat"))


def _sign_of_life(path: Path, holder: Holder) -> object:
    """Return what changes with each sign of life of a holder.

    Where the lock does not say whose sign counts, any does. Each is a new file: they are told apart, and
    not compared with a clock.
    """
    try:
        if holder.problem:
            found = [(beat, beat.stat()) for beat in _beats_beside(path)]
            return [(beat.name, stat.st_ino, stat.st_mtime_ns) for beat, stat in found]
        return read_json(beat_of(path, holder.token))
    except (OSError, ValueError):
        return None
