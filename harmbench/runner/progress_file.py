"""Where a cell that is worked on stands, in a file of its folder that `harmbench status` reads."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import Self

from harmbench.executors.server import program_of_worker
from harmbench.storage import read_json, write_json
from harmbench.sums import read_sealed, write_sealed
from harmbench.task import Progress

__all__ = [
    "CellProgress",
    "WrittenProgress",
    "is_alive",
    "is_process",
    "read_planned",
    "read_progress",
    "why_planned_damaged",
    "write_planned",
]

_PLANNED: Final = "planned.json"
_INTERVAL_S: Final = 5.0
_SILENT_S: Final = 900.0
"""How long a process of another machine may be silent before it counts as gone."""


class CellProgress(BaseModel):
    """What `progress.json` says.

    Attributes:
        host, pid: of the process that works on the cell.
        born_s: when that process began, as the system has it; tells it from a later one of its number.
        parent: the process that it works for, or that started it.
        parent_born_s: when that began.
        isolated: whether it works for its parent, and on cells alone.
        began_s: when work on the stage began, seconds since 1970.
        now_s: when this was written.
        stage, done, total: where the work is.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    pid: int
    born_s: float
    parent: int
    parent_born_s: float
    isolated: bool
    began_s: float
    now_s: float
    stage: str
    done: int
    total: int

    @property
    def left_s(self) -> float | None:
        """Seconds that the stage still takes at its pace so far; `None` where that is not known."""
        if not 0 < self.done < self.total:
            return None
        return (self.now_s - self.began_s) * (self.total - self.done) / self.done


class WrittenProgress:
    """A progress reporter that writes each report on, and into a cell's file every few seconds.

    Args:
        path: the file; it is there as long as the block of `with`. One that another process has
            written meanwhile is left to it.
        inner: the reporter to pass reports on to.
    """

    def __init__(self, path: Path, inner: Progress) -> None:
        self._path, self._inner = path, inner
        self._stage, self._began_s, self._written_s = "", 0.0, 0.0
        own, program = psutil.Process(), program_of_worker()
        parent = program or psutil.Process(os.getppid())
        self._who = {
            "host": socket.gethostname(),
            "pid": own.pid,
            "born_s": own.create_time(),
            "parent": parent.pid,
            "parent_born_s": parent.create_time(),
            "isolated": program is not None,
        }

    def __enter__(self) -> Self:
        self("start", 0, 1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        found = read_progress(self._path)
        if found is None or all(getattr(found, name) == own for name, own in self._who.items()):
            self._path.unlink(missing_ok=True)

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Report progress; see `harmbench.task.Progress`."""
        if stage != "start":  # first: it raises where the cell is another process's now
            self._inner(stage, done, total, **values)
        now = time.time()
        if stage != self._stage:
            self._stage, self._began_s = stage, now
        if not 0 <= now - self._written_s < _INTERVAL_S:
            self._written_s = now
            place = {"stage": stage, "done": int(done), "total": int(total)}
            report = {**self._who, **place, "began_s": self._began_s, "now_s": now}
            write_json(self._path, report, durable=False)


def write_planned(root: Path, cells: Mapping[str, Path]) -> None:
    """Note which cells a run will work on.

    Args:
        root: the run folder.
        cells: the name of each to its folder, relative to `root`.
    """
    write_sealed(root / _PLANNED, {name: path.as_posix() for name, path in cells.items()})


def read_planned(root: Path) -> dict[str, Path]:
    """Return the cells of a folder's last run, as `write_planned` got them; none where it is damaged."""
    try:
        found = read_sealed(root / _PLANNED)
    except (OSError, ValueError):
        return {}
    known = found if isinstance(found, dict) else {}
    return {str(name): Path(str(path)) for name, path in known.items()}


def why_planned_damaged(root: Path) -> str | None:
    """Say why the list of a folder's planned cells cannot be read; `None` where it is good or absent."""
    try:
        read_sealed(root / _PLANNED)
    except (OSError, ValueError) as error:
        return f"damaged ({error})"
    return None


def read_progress(path: Path) -> CellProgress | None:
    """Read a cell's `progress.json`; `None` where it is absent or damaged."""
    try:
        found = read_json(path)
        return None if found is None else CellProgress.model_validate(found)
    except (OSError, ValueError, ValidationError):
        return None


def is_alive(progress: CellProgress) -> bool:
    """Whether the process that wrote a report is still there; on another machine, that is guessed."""
    if progress.host != socket.gethostname():
        return abs(time.time() - progress.now_s) < _SILENT_S
    return is_process(progress.pid, progress.born_s)


def is_process(pid: int, born_s: float) -> bool:
    """Whether a process of this machine is there that began at a certain time."""
    try:
        return abs(psutil.Process(pid).create_time() - born_s) < 1
    except psutil.Error:
        return False
