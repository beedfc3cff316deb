"""The scans of a tested pair: read once, out of reach of methods, each with its own mask of lesions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harmbench.errors import VolumeError
from harmbench.runner.inputs import InputScan, InputScans
from harmbench.runner.pair_scans import PairScans
from harmbench.runner.pairs import SessionPair
from harmbench.volume import Volume, write

PAIR = SessionPair("s1", "", "A", "B")


def make(folder: Path, *, shift_mm: float = 0.0, lesions: str = "") -> PairScans:
    """Write a pair, the target shifted, with a mask of lesions that lies on the scan of one session."""
    scans = {}
    for session, shift in (("A", 0.0), ("B", shift_mm)):
        affine = np.diag([2.0, 2, 2, 1])
        affine[0, 3] = shift
        data = np.zeros((6, 6, 6), np.float32)
        data[2:4, 2:4, 2:4] = np.linspace(0.2, 0.9, 8).reshape(2, 2, 2)
        path = write(Volume(data, affine), folder / f"{session}.nii.gz")
        mask = None
        if session == lesions:
            mask = write(Volume(data > 0.5, affine), folder / f"{session}_lesions.nii.gz")
        scans["s1", session] = InputScan(
            "s1", "g", session, path, None, "", "", "none", lesions=mask
        )
    return PairScans(InputScans(folder, scans), PAIR)


def test_each_scan_is_read_once(tmp_path: Path) -> None:
    scans = make(tmp_path)
    source, reference = scans.source, scans.reference
    (tmp_path / "A.nii.gz").unlink()
    (tmp_path / "B.nii.gz").unlink()
    assert scans.source is source
    assert scans.reference is reference


def test_a_method_cannot_reach_what_is_scored(tmp_path: Path) -> None:
    scans = make(tmp_path)
    before = scans.source.data.copy()
    given = scans.source_for_method()
    assert np.array_equal(given.data, before)
    assert not np.shares_memory(given.data, scans.source.data)
    assert not np.shares_memory(given.affine, scans.source.affine)
    with pytest.raises(ValueError, match="read-only"):
        given.data[:] = 0
    owner = given.data if given.data.base is None else given.data.base
    owner.flags.writeable = True
    owner[:] = 0
    assert np.array_equal(scans.source.data, before)


@pytest.mark.parametrize("session", ["A", "B"])
def test_a_mask_of_lesions_is_checked_on_its_own_scan(tmp_path: Path, session: str) -> None:
    # Further apart than grids may be: the mask lies on its own scan's grid alone.
    found = make(tmp_path, shift_mm=0.0015, lesions=session).lesions()
    assert found is not None
    assert found.sum() == 4


def test_without_a_mask_of_lesions_there_is_none_and_another_grid_is_refused(
    tmp_path: Path,
) -> None:
    assert make(tmp_path).lesions() is None
    scans = make(tmp_path, lesions="B")
    write(Volume(np.ones((5, 6, 6), np.float32), np.eye(4)), tmp_path / "B_lesions.nii.gz")
    with pytest.raises(VolumeError, match=r"B_lesions\.nii\.gz"):
        scans.lesions()
