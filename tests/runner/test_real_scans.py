"""Real scans travel to their processes without the rest of the run, in jobs that a cluster takes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from harmbench.config import Experiment
from harmbench.folds import Folds
from harmbench.runner.context import RunContext
from harmbench.runner.inputs import InputScan, InputScans
from harmbench.runner.pairs import CellSplit, SessionPair
from harmbench.runner.real_scans import ScanBatch, batch_size
from harmbench.task import Direction


def context_of(subjects: int) -> RunContext:
    names = [f"s{number}" for number in range(subjects)]
    scans = {
        (name, session): InputScan(
            name, "HC", session, Path(f"/scans/{name}_{session}.nii.gz"), None, "0" * 64, "", "none"
        )
        for name in names
        for session in "AB"
    }
    test = tuple(SessionPair(name, "", "A", "B") for name in names)
    return RunContext(
        root=Path("/run"),
        experiment=Experiment(),
        folds=Folds(2, 0, dict.fromkeys(names, 0)),
        splits={(Direction("A", "B"), 0): CellSplit((), test)},
        groups=dict.fromkeys(names, "HC"),
        inputs=InputScans(Path("/run"), scans),
        input_keys=dict.fromkeys(scans, "0" * 64),
        segmenter="hmrf",
        device="cpu",
    )


def test_a_context_without_scans_does_not_grow_with_them() -> None:
    small, large = (len(pickle.dumps(context_of(n).without_scans())) for n in (2, 200))
    assert small == large
    assert len(pickle.dumps(context_of(200))) > 10 * large


def test_a_batch_is_named_by_its_scans() -> None:
    scans = context_of(2).inputs.scans
    batch = ScanBatch(tuple(scans.values())[:3])
    assert str(batch) == "s0 A, s0 B, s1 A"
    assert pickle.loads(pickle.dumps(batch)) == batch


@pytest.mark.parametrize(
    ("scans", "device", "remote", "expected"),
    [
        (2000, "cpu", False, 1),
        (2000, "cuda", False, 4),
        (2000, "cpu", True, 16),
        (100_000, "cuda", True, 200),
    ],
)
def test_a_cluster_gets_a_bounded_number_of_jobs(
    scans: int, device: str, remote: bool, expected: int
) -> None:
    assert batch_size(scans, device, remote=remote) == expected
