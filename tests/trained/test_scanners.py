"""Scanner names from sidecars, and distances of histograms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harmbench.files.names import image_name
from harmbench.trained.scanners import (
    brain_histogram,
    histogram_distance,
    largest_distance,
    same_scanner,
    scanner_of,
)
from harmbench.volume import Volume


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.nii.gz", "a"), ("a.b.nii", "a.b"), ("a.mgz", "a"), ("x/s_T1w.nii.gz", "s_T1w")],
)
def test_image_name(file: str, name: str) -> None:
    assert image_name(Path(file)) == name


def _peak(level: int) -> np.ndarray:
    shares = np.zeros(255)
    shares[level] = 1
    return shares


def test_distance_is_how_far_intensities_move() -> None:
    assert histogram_distance(_peak(0), _peak(51)) == pytest.approx(0.2)
    half = (_peak(0) + _peak(102)) / 2
    # Each half of the mass moves 51 bins.
    assert histogram_distance(half, _peak(51)) == pytest.approx(0.2)
    # Against the mean of the other two: 0 and 51 lie 25.5 apart, 102 lies 76.5 from both.
    peaks = [_peak(0), _peak(51), _peak(102)]
    assert largest_distance(peaks) == pytest.approx(76.5 / 255)
    assert largest_distance(peaks[:1]) == 0


def test_brain_histogram_leaves_the_background_out() -> None:
    data = np.zeros((4, 4, 4), dtype=np.float32)
    data[0] = 0.5
    shares = brain_histogram(Volume(data, np.eye(4)))
    assert shares[127] == 1
    assert shares.sum() == 1
    assert not brain_histogram(Volume(np.zeros((2, 2, 2), dtype=np.float32), np.eye(4))).any()


def test_sidecars_are_inherited_and_the_nearest_counts(tmp_path: Path) -> None:
    anat = tmp_path / "sub-1" / "ses-a" / "anat"
    anat.mkdir(parents=True)
    scan = anat / "sub-1_ses-a_T1w.nii.gz"
    scan.touch()
    (tmp_path / "T1w.json").write_text(
        json.dumps({"MagneticFieldStrength": 3, "ManufacturersModelName": "Skyra"})
    )
    # Without a data set around it, what lies above is none of its business.
    assert scanner_of(scan) == {}
    (tmp_path / "dataset_description.json").write_text("{}")
    assert scanner_of(scan) == {"MagneticFieldStrength": "3", "ManufacturersModelName": "Skyra"}
    (tmp_path / "ses-b_T1w.json").write_text(json.dumps({"MagneticFieldStrength": 7}))
    (anat / "sub-1_ses-a_T2w.json").write_text(json.dumps({"MagneticFieldStrength": 7}))
    (anat / "sub-1_ses-a_T1w.json").write_text(json.dumps({"MagneticFieldStrength": 1.5}))
    assert scanner_of(scan) == {"MagneticFieldStrength": "1.5", "ManufacturersModelName": "Skyra"}
    (anat / "sub-1_ses-a_T1w.json").write_text("not JSON")
    assert scanner_of(scan)["MagneticFieldStrength"] == "3"


def test_nominal_field_strengths_are_the_same_scanner() -> None:
    assert same_scanner("MagneticFieldStrength", "2.89362", ["3"])
    assert not same_scanner("MagneticFieldStrength", "1.5", ["3"])
    assert not same_scanner("MagneticFieldStrength", "high", ["3"])
    assert same_scanner("ManufacturersModelName", "SKYRA", ["Skyra", "Vida"])
    assert not same_scanner("ManufacturersModelName", "Avanto", ["Skyra", "Vida"])
