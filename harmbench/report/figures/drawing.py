"""Drawing figures, several at a time in processes of their own."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from harmbench.errors import ReportError
from harmbench.pages.html import EmbeddedFigure, embed
from harmbench.pages.style import style, write_figure
from harmbench.processes import shared_threads, worker_pool
from harmbench.report.evidence import Evidence
from harmbench.report.figures.selection import Drawing, planned_figures
from harmbench.report.tables.titles import SIMULATED
from harmbench.task import Progress

__all__ = ["Drawn", "figures_begun"]

_STAGE = "report: figures"


class Drawn(NamedTuple):
    """A figure for the page, and the files that hold it."""

    figure: EmbeddedFigure
    files: tuple[Path, ...]


Collect = Callable[[], list[Drawn]]


@contextmanager
def figures_begun(
    evidence: Evidence, folder: Path, jobs: int, progress: Progress
) -> Iterator[Collect]:
    """Begin to draw every figure that the results and stored volumes allow.

    With several jobs, figures are drawn in other processes while the block goes on.

    Args:
        evidence: the merged runs.
        folder: where files are written.
        jobs: number of processes; with 1, everything is drawn in this one.
        progress: told after each figure.

    Yields:
        A function that waits for the figures, and returns them in the order of the page.

    Raises:
        ReportError: a process died.
    """
    plans = planned_figures(evidence)
    if min(jobs, len(plans)) <= 1:
        yield lambda: _drawn_here(evidence, plans, folder, progress)
        return
    # Pickled once, whatever the number of figures.
    packed = pickle.dumps(evidence)
    try:
        with shared_threads(jobs), worker_pool(min(jobs, len(plans))) as pool:
            futures = [pool.submit(_draw_packed, packed, plan, folder) for plan in plans]
            yield lambda: _collected(futures, progress)
    except BrokenProcessPool as error:
        raise ReportError(
            f"a process that draws figures died, perhaps for lack of memory: try fewer jobs than {jobs}; "
            "a script of your own must make reports below `if __name__ == '__main__':`, or with jobs=1"
        ) from error


def _collected(futures: Sequence[Future[Drawn | None]], progress: Progress) -> list[Drawn]:
    for done, future in enumerate(as_completed(futures), start=1):
        future.result()
        progress(_STAGE, done, len(futures))
    return [drawn for future in futures if (drawn := future.result()) is not None]


def _drawn_here(
    evidence: Evidence, plans: Sequence[Drawing], folder: Path, progress: Progress
) -> list[Drawn]:
    found = []
    for done, plan in enumerate(plans, start=1):
        drawn = _draw(evidence, plan, folder)
        found += [drawn] if drawn else []
        progress(_STAGE, done, len(plans))
    return found


def _draw_packed(packed: bytes, plan: Drawing, folder: Path) -> Drawn | None:
    return _draw(_unpacked(packed), plan, folder)


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Evidence:
    """Unpack the evidence once for all figures of a process."""
    evidence: Evidence = pickle.loads(packed)  # made by this program's parent process
    return evidence


def _draw(evidence: Evidence, plan: Drawing, folder: Path) -> Drawn | None:
    """Draw, write and embed one figure; `None` where it cannot be drawn."""
    with style():
        illustration = plan(evidence)
        if illustration is None:
            return None
        files = write_figure(illustration, folder, SIMULATED if evidence.simulated else "")
        return Drawn(embed(illustration, files), tuple(files))
