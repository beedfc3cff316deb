"""When the record and the scores of a cell come onto the disk while its pairs are worked on.

Both files grow with the pairs and are written whole. Written after every pair, what a cell writes would
grow with the square of its pairs; so cells of many pairs write after each hundredth of them. A process
that is killed loses what it did since, at most `LONGEST_S` seconds of work and one pair: the next run does
that again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from harmbench.runner.cell_record import CellRecord
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell

__all__ = ["LONGEST_S", "PARTS", "Saving"]

PARTS: Final = 100
"""Into how many parts the pairs of a cell are divided, each of which is followed by writing."""

LONGEST_S: Final = 60.0
"""Seconds after which what was done is written, however few pairs it is."""


class Saving:
    """Writes the record and the scores of a cell where that is due.

    Args:
        context: what the cells of the run share.
        cell: which one.
        scores: its scores.
        clock: seconds from any time on.

    Attributes:
        scores: of the cell.
    """

    def __init__(
        self,
        context: RunContext,
        cell: Cell,
        scores: CellScores,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scores = scores
        self._context, self._cell, self._clock = context, cell, clock
        self._every = max(1, len(context.split(cell).test) // PARTS)
        self._scored = 0
        self._written_s = clock()

    def __call__(self, record: CellRecord, *, scored: bool) -> None:
        """Take notice of what a stage made of a pair, and write it where that is due.

        Args:
            record: of the cell.
            scored: whether the pair has its scores; otherwise its volume alone.

        Raises:
            LockLostError: another process has taken the cell over; nothing is written.
        """
        self._scored += scored
        late = self._clock() - self._written_s >= LONGEST_S
        if late or self._every == 1 or (scored and self._scored % self._every == 0):
            self.write(record)

    def write(self, record: CellRecord) -> None:
        """Write the scores and the record.

        Raises:
            LockLostError: another process has taken the cell over; nothing is written.
        """
        self._context.check_held()
        self.scores.write()
        self._context.write_record(self._cell, record)
        self._written_s = self._clock()
