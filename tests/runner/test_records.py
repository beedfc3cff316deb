"""Records of runs and cells: typed, frozen, and readable across versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harmbench.errors import DamagedRecordError, ReportError
from harmbench.meter import Meter
from harmbench.notes import Note
from harmbench.planning.plan import Plan
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord, MissingLabels
from harmbench.runner.folder import RunFolder
from harmbench.runner.invocation_files import add_invocation, change_invocation
from harmbench.runner.records import FORMAT, read_record, write_record
from harmbench.runner.run_record import Invocation, RunRecord
from harmbench.storage import read_json
from harmbench.sums import SUM
from harmbench.task import Direction

CELL = {"method": "dm", "source": "A", "target": "B", "fold": 1, "seed": 0}

# As the first version with cells wrote them.
OLD_CELL = {
    **CELL,
    "subjects": ["s1", "s2"],
    "segmenter": "fast",
    "device": "cpu",
    "rescale": "none",
    "mask_background": True,
    "status": "ok",
    "error": "",
    "keys": {"fit": "k", "harmonize s1": "h", "score s1": "s"},
    "stages": {"fit": {"wall_s": 1.5, "peak_memory_mb": 100.0, "count": 1}},
    "clipped": {"s1": 0.0},
    "uses": "dm",
    "settings": {"iterations": 3, "nested": {"none": None}},
}
OLD_RUN = {
    "name": "old",
    "cohort": {
        "name": "phantom",
        "description": "Simulated.",
        "simulated": True,
        "citation": "",
        "subjects": 4,
    },
    "directions": [{"source": "A", "target": "B"}],
    "methods": {
        "dm": {
            "uses": "dm",
            "title": "DM",
            "reference": "",
            "settings": {"iterations": 3},
            "parameters": {"unet": 7},
        }
    },
    "segmenter": {"name": "fast", "version": "6"},
    "stacking_axis": 0,
    "folds": {"k": 4, "seed": 0},
    "invocations": [{"started": "2024-01-01", "version": "0.0.1", "cells": 8, "failed": 0}],
}


@pytest.mark.parametrize(("kind", "values"), [(CellRecord, OLD_CELL), (RunRecord, OLD_RUN)])
def test_an_earlier_record_opens_and_gains_the_number_and_a_sum_alone(
    tmp_path: Path, kind: type[Any], values: dict[str, Any]
) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(values))
    record = read_record(kind, path)
    assert record is not None
    write_record(record, path)
    written = read_json(path)
    assert isinstance(written, dict)
    assert len(written.pop(SUM)) == 64
    assert written == {**values, "format": FORMAT}
    assert read_record(kind, path) == record


def test_what_an_earlier_record_lacks_has_a_default(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_text(json.dumps(OLD_RUN))
    run = folder.read_record()
    assert (run.plan, run.notes, run.cohort.preparation) == (None, (), None)
    assert run.segmenter.contrast == "T1w"
    assert (run.invocations[0].id, run.invocations[0].finished) == ("", "")
    assert run.directions == (Direction("A", "B"),)
    folder.record.write_text("{}")
    assert folder.read_record() == RunRecord()
    cell = CellFolder(tmp_path)
    cell.record.write_text(json.dumps(OLD_CELL))
    record = cell.read_record()
    assert record is not None
    assert (record.key_scheme, record.made_by.fit, record.checksums) == (0, "", {})
    assert record.key("harmonize", "s1") == "h"
    assert record.key("score", "s2") is None


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run = RunRecord.model_validate(OLD_RUN).model_copy(
        update={
            "notes": (Note("kind", "text", "where"),),
            "plan": Plan(level="small"),
            "invocations": (Invocation(id="a"), Invocation(id="b")),
        }
    )
    folder = RunFolder(tmp_path)
    add_invocation(tmp_path, "a", run)
    assert folder.read_record() == run
    # A plan has all of its fields on disk, as before there were formats.
    assert read_json(folder.record)["plan"]["said"] == []
    change_invocation(tmp_path, "a", lambda record: record.with_invocation("b", {"cells": 3}))
    assert [one.cells for one in folder.read_record().invocations] == [0, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"format": FORMAT + 1},
        {"format": FORMAT, "hologram": 1},
        {"hologram": 1},
        {"folds": {"k": 4, "seed": 0, "hologram": 1}},
    ],
)
def test_a_later_run_is_told_as_what_it_is(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_text(json.dumps({**OLD_RUN, **change}))
    with pytest.raises(ReportError, match=r"run\.json: written by a later harmbench .*update"):
        folder.read_record()


def test_a_later_cell_is_not_started_anew(tmp_path: Path) -> None:
    cell = CellFolder(tmp_path)
    for change in ({"format": FORMAT + 1}, {"hologram": 1}):
        cell.record.write_text(json.dumps({**OLD_CELL, **change}))
        with pytest.raises(ReportError, match=r"cell\.json: written by a later harmbench"):
            cell.read_record()


@pytest.mark.parametrize(
    "change",
    [{"fold": "one"}, {"method": None}, {"status": "fine"}, {"keys": ["fit"]}, {"format": "x"}],
)
def test_a_cell_with_a_wrong_value_starts_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    cell = CellFolder(tmp_path)
    cell.record.write_text(json.dumps({**OLD_CELL, **change}))
    assert cell.read_record() is None
    with pytest.raises(DamagedRecordError, match=next(iter(change))):
        read_record(CellRecord, cell.record)


def test_records_are_frozen() -> None:
    record = CellRecord.model_validate(CELL)
    with pytest.raises(ValidationError, match="frozen"):
        record.fold = 2  # type: ignore[misc]  # that is the point


def _meter(wall_s: float, memory: float, device: float | None = None) -> Meter:
    meter = Meter()
    meter.wall_s, meter.peak_memory_mib, meter.peak_device_memory_mib = wall_s, memory, device
    return meter


def test_costs_add_up_over_subjects() -> None:
    record = CellRecord.model_validate(CELL)
    record = record.with_work("score", _meter(1.0, 50.0), "first", "s1")
    record = record.with_work("score", _meter(2.5, 40.0, 7.0), "second", "s2")
    cost = record.stages["score"]
    assert (cost.wall_s, cost.peak_memory_mb, cost.count) == (3.5, 50.0, 2)
    assert cost.peak_device_memory_mb == 7.0
    assert record.made_by.score == {"s1": "first", "s2": "second"}
    assert list(record.made_by.outputs()) == [("first", "score"), ("second", "score")]


def test_a_new_fit_forgets_what_hung_on_the_old_one() -> None:
    record = CellRecord.model_validate(OLD_CELL).with_missing(
        "s1", MissingLabels(what="volume", reason="dark")
    )
    cleared = record.without_results()
    assert (cleared.keys, cleared.stages, cleared.unsegmented) == ({}, {}, {})
    assert cleared.settings == record.settings
    assert record.keys, "the old record is as it was"


def test_scores_are_forgotten_one_by_one() -> None:
    record = CellRecord.model_validate(OLD_CELL).with_key("score", "t", "s2")
    assert record.without_score("s1").keys == {"fit": "k", "harmonize s1": "h", "score s2": "t"}
