"""A cell's record and scores are written often enough, and not with every pair of a large cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from harmbench.runner.cell_record import CellRecord
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.pairs import CellSplit, SessionPair
from harmbench.runner.saving import LONGEST_S, PARTS, Saving
from harmbench.task import Direction

CELL = Cell("dm", Direction("A", "B"), 0, 0)
RECORD = CellRecord(method="dm", source="A", target="B", fold=0, seed=0)


@dataclass
class Written:
    """Stands for a run's context and a cell's scores: counts what is written, in order."""

    pairs: int
    written: list[str] = field(default_factory=list)

    def split(self, cell: Cell) -> CellSplit:
        test = tuple(SessionPair(f"s{n}", "", "A", "B") for n in range(self.pairs))
        return CellSplit((), test)

    def check_held(self) -> None:
        self.written.append("held")

    def write(self) -> None:
        self.written.append("scores")

    def write_record(self, cell: Cell, record: CellRecord) -> None:
        self.written.append("record")


def saving(known: Written, now: list[float]) -> Saving:
    return Saving(cast(RunContext, known), CELL, cast(CellScores, known), clock=lambda: now[0])


@pytest.mark.parametrize("pairs", [1, PARTS, 2 * PARTS - 1])
def test_small_cells_write_after_every_step(pairs: int) -> None:
    known = Written(pairs)
    save = saving(known, [0.0])
    save(RECORD, scored=False)
    save(RECORD, scored=True)
    assert known.written == 2 * ["held", "scores", "record"]


@pytest.mark.parametrize("pairs", [250, 1000, 12_500])
def test_the_number_of_writings_does_not_grow_with_the_pairs(pairs: int) -> None:
    known = Written(pairs)
    save = saving(known, [0.0])
    for _ in range(pairs):
        save(RECORD, scored=False)
        save(RECORD, scored=True)
    assert PARTS <= known.written.count("record") < 2 * PARTS


def test_slow_pairs_are_written_each() -> None:
    known, now = Written(10_000), [0.0]
    save = saving(known, now)
    save(RECORD, scored=False)
    assert not known.written
    for number in range(1, 4):
        now[0] = number * LONGEST_S
        save(RECORD, scored=False)
        assert known.written.count("record") == number
