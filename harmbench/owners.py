"""Which process wrote a file or holds a lock, and whether it is still there.

A number of a process is given again after its end, and means nothing on another machine: a process is
known by its machine, the start of that machine, the space of its numbers (containers have their own),
its number, and its own start.
"""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Owner", "is_gone", "is_gone_tag", "this_process"]


@dataclass(frozen=True, slots=True)
class Owner:
    """A process.

    Attributes:
        host: name of its machine.
        machine: that machine's identity, which no other has; empty where the system has none.
        boot: one start of the machine; empty where the system does not tell.
        space: the space that the number is of; empty where there is but one.
        pid: its number.
        born: when it began, in the system's own count; empty where the system does not tell.
    """

    host: str
    machine: str
    boot: str
    space: str
    pid: int
    born: str

    @property
    def tag(self) -> str:
        """Short text for names of files: where its number counts, the number, and its start."""
        place = hashlib.sha256("\n".join((self.host, self.boot, self.space)).encode()).hexdigest()
        return f"{place[:8]}-{self.pid}-{self.born or 0}"


def this_process() -> Owner:
    """Return the process that calls; after a fork that is another one."""
    return _known(os.getpid())


@cache
def _known(pid: int) -> Owner:
    return Owner(*_place(), pid, _born(pid))


@cache
def _place() -> tuple[str, str, str, str]:
    return (
        socket.gethostname(),
        _text(Path("/etc/machine-id")),
        _text(Path("/proc/sys/kernel/random/boot_id")),
        _link(Path("/proc/self/ns/pid")),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _born(pid: int) -> str:
    """Return when a process began; empty where there is none of this number, or it has ended.

    Clock ticks since the start of the machine: unlike a time, no change of the clock moves them.
    """
    if Path("/proc/self/stat").exists():
        # The second field is the program's name, which may hold anything.
        fields = _stat(pid).rpartition(")")[2].split()
        return "" if len(fields) < 20 or fields[0] in {"Z", "X", "x"} else fields[19]
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return ""


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_gone(owner: Owner) -> bool | None:
    """Whether a process has ended; `None` where this machine cannot know.

    A machine that has started anew since runs none of its earlier processes.
    """
    here = this_process()
    if owner.host != here.host or owner.machine != here.machine:
        return None
    if owner.boot != here.boot:
        return True if owner.machine and owner.boot and here.boot else None
    if owner.space != here.space:
        return None
    found = _visible_born(owner.pid)
    return None if found is None else found != owner.born


def _visible_born(pid: int) -> str | None:
    """Return what `_born` does; `None` where the system hides the process."""
    found = _born(pid)
    return None if not found and _is_hidden(pid) else found


def _is_hidden(pid: int) -> bool:
    """Whether there is a process of another user that this one may not look at.

    Linux hides them where /proc is mounted with the option hidepid.
    """
    if os.name != "posix" or _stat(pid):
        return False
    try:
        os.kill(pid, 0)  # sends no signal, and says whether it could
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def is_gone_tag(tag: str) -> bool | None:
    """Whether the process of an `Owner.tag` has ended; `None` where this machine cannot know."""
    place, _, rest = tag.partition("-")
    pid, _, born = rest.partition("-")
    here = this_process()
    if place != here.tag.partition("-")[0] or not pid.isdigit():
        return None
    found = _visible_born(int(pid))
    return None if found is None else (found or "0") != born
