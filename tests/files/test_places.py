"""Outputs apart from inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmbench.files.places import is_input, why_not_apart


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A scan of a BIDS data set."""
    path = tmp_path / "bids" / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    path.touch()
    (tmp_path / "bids" / "dataset_description.json").touch()
    return path


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        ("out", None),
        ("bids2", None),
        ("bids/derivatives/x", None),
        ("bids/derivatives/x/y", None),
        ("bids/derivatives", "inside the data set"),
        ("bids/out", "inside the data set"),
        ("bids/sub-1/anat/out", "inside the data set"),
        ("bids/derivatives/../out", "inside the data set"),
        ("bids/sub-1/anat", "holds the input"),
        ("bids", "holds the input"),
        (".", "holds the input"),
        ("link/x", "inside the data set"),
    ],
)
def test_places(tmp_path: Path, scan: Path, out: str, problem: str | None) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "bids")
    found = why_not_apart(tmp_path / out, [scan])
    assert found is None if problem is None else problem in str(found)


def test_beside_an_input_that_is_in_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").touch()
    assert why_not_apart(tmp_path, [tmp_path / "scan.nii.gz"], beside=True) is None
    assert "holds the input" in str(why_not_apart(tmp_path, [tmp_path / "scan.nii.gz"]))
    assert is_input(tmp_path / "x" / ".." / "scan.nii.gz", [None, tmp_path / "scan.nii.gz"])


def test_a_link_counts_where_it_lies_and_where_it_points(tmp_path: Path, scan: Path) -> None:
    link = tmp_path / "links" / "a.nii.gz"
    link.parent.mkdir()
    link.symlink_to(scan)
    assert "inside the data set" in str(why_not_apart(tmp_path / "bids" / "out", [link]))
    assert "holds the input" in str(why_not_apart(tmp_path / "links", [link]))
