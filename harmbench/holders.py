"""Who holds a lock, and whether that process still lives; see `harmbench.locks`.

Who looks again and again knows it by the count of the owner's signs of life: no time of any file and no
clock of another machine is compared. Who looks once can only take the times of the files, on the clock
of their own disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harmbench.owners import Owner, is_gone
from harmbench.storage import file_key, read_json, time_on
from harmbench.sums import read_sealed

__all__ = ["SILENT_S", "Holder", "Watch", "beat_of", "holder_of"]

SILENT_S: Final = 300.0
"""Seconds without a sign of life after which an owner on another machine counts as ended."""

_UNREADABLE_S: Final = 5.0
"""Seconds after which a lock that cannot be read is not being written, but damaged."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    Attributes:
        owner: the process; one without a host where the lock does not say.
        token: of this one time that it holds the lock; empty where the disk does not give the lock.
        purpose: of the work, as `Lock` was given it.
    """

    owner: Owner
    token: str
    purpose: str = ""

    def __str__(self) -> str:
        if not self.owner.host:
            return "a process whose lock cannot be read"
        return f"process {self.owner.pid} on {self.owner.host}"


def holder_of(path: Path) -> Holder | None:
    """Return who holds a lock; `None` where nobody does.

    The holder of a lock that cannot be read has no host. Either its disk damaged it, or it is being
    written just now. Where the system refuses to read it, the holder has no token either.
    """
    unnamed = Owner("", "", "", "", 0, "")
    try:
        found = read_sealed(path)
        if found is None:
            return None
        if isinstance(found, dict):
            owner = Owner(**{name: found[name] for name in Owner.__slots__})
            return Holder(owner, str(found["token"]), str(found["purpose"]))
    except OSError:
        return Holder(unnamed, "")
    except (ValueError, TypeError, KeyError):
        pass
    try:
        return Holder(unnamed, f"unreadable-{file_key(path)[:16]}")
    except FileNotFoundError:
        return None
    except OSError:
        return Holder(unnamed, "")


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
    _seen: dict[str, tuple[object, float]] = field(default_factory=dict)
    _lively: set[str] = field(default_factory=set)

    def has_ended(self, path: Path, holder: Holder) -> bool:
        """Whether the process that holds the lock at `path` has ended.

        A lock that the system refuses to read may be that of a process that lives.
        """
        if not holder.token:
            return False
        known = is_gone(holder.owner) if holder.owner.host else None
        if known is not None:
            if not known:
                self._lively.add(holder.token)
            return known
        if self.once:
            return self._is_old(path, holder)
        try:
            count = read_json(beat_of(path, holder.token))
        except (OSError, ValueError):
            count = None
        now = self.clock()
        before, since = self._seen.get(holder.token, (object(), now))
        if before != count:
            if holder.token in self._seen:
                self._lively.add(holder.token)
            self._seen[holder.token] = count, now
            return False
        return now - since >= self._limit_s(holder)

    def is_lively(self, holder: Holder) -> bool:
        """Whether the process that holds a lock has given a sign of life since the first look."""
        return holder.token in self._lively

    def _is_old(self, path: Path, holder: Holder) -> bool:
        """Whether the disk's clock is far past the last change of a lock and of its sign of life."""
        try:
            times = [path.stat().st_mtime]
            beat = beat_of(path, holder.token)
            times += [beat.stat().st_mtime] if beat.exists() else []
            return time_on(path.parent) - max(times) >= self._limit_s(holder)
        except OSError:
            return False

    def _limit_s(self, holder: Holder) -> float:
        return self.silent_s if holder.owner.host else _UNREADABLE_S


def beat_of(path: Path, token: str) -> Path:
    """Return the path of the signs of life of one who holds the lock at `path`."""
    return path.with_name(f"{path.stem}-{token}.beat")
