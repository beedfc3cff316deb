"""Sidecars: inherited in a BIDS data set, found beside links, and the mark of simulated scans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harmbench.files.sidecars import (
    says_simulated,
    sidecar_fields,
    sidecar_files,
    simulated_among,
)


def _put(path: Path, **fields: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields))
    return path


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """A data set whose fields stand at three levels."""
    _put(tmp_path / "dataset_description.json", Name="x")
    _put(tmp_path / "T1w.json", A=0, B=0, C=0)
    _put(tmp_path / "ses-b_T1w.json", B=1)
    _put(tmp_path / "sub-1" / "ses-b" / "anat" / "sub-1_ses-b_T1w.json", C=2)
    return tmp_path


def test_the_nearest_file_wins_field_by_field(data_set: Path) -> None:
    scan = data_set / "sub-1" / "ses-b" / "anat" / "sub-1_ses-b_acq-high_T1w.nii.gz"
    assert sidecar_fields(scan) == {"A": 0, "B": 1, "C": 2}
    other = data_set / "sub-1" / "ses-a" / "anat" / "sub-1_ses-a_T1w.nii.gz"
    assert sidecar_fields(other) == {"A": 0, "B": 0, "C": 0}
    assert [path.name for path in sidecar_files(scan)] == [
        "T1w.json",
        "ses-b_T1w.json",
        "sub-1_ses-b_T1w.json",
    ]


def test_another_suffix_or_entity_does_not_apply(data_set: Path) -> None:
    scan = data_set / "sub-1" / "ses-b" / "anat" / "sub-1_ses-b_T2w.nii.gz"
    assert sidecar_fields(scan) == {}
    _put(scan.with_name("sub-1_ses-b_acq-low_T2w.json"), D=1)
    assert sidecar_fields(scan) == {}


def test_outside_a_data_set_only_the_own_file_counts(tmp_path: Path) -> None:
    _put(tmp_path / "3T.json", A=1)
    scan = tmp_path / "01_3T.nii.gz"
    assert sidecar_fields(scan) == {}
    _put(tmp_path / "01_3T.json", A=2)
    assert sidecar_fields(scan) == {"A": 2}
    assert sidecar_fields(tmp_path / "3T.nii") == {"A": 1}


@pytest.mark.parametrize("text", ["", "not JSON", "[1, 2]", "null"])
def test_a_damaged_file_is_left_out(data_set: Path, text: str) -> None:
    place = data_set / "sub-1" / "ses-b" / "anat"
    (place / "sub-1_ses-b_T1w.json").write_text(text)
    assert sidecar_fields(place / "sub-1_ses-b_T1w.nii.gz") == {"A": 0, "B": 1, "C": 0}


def test_a_link_has_the_sidecar_beside_it_else_its_target_s(tmp_path: Path) -> None:
    blob = tmp_path / "store" / "MD5E-1.nii.gz"
    blob.parent.mkdir()
    blob.touch()
    _put(tmp_path / "store" / "MD5E-1.json", Where="target")
    link = tmp_path / "scan.nii.gz"
    link.symlink_to("store/MD5E-1.nii.gz")
    second = tmp_path / "again.nii.gz"
    second.symlink_to("scan.nii.gz")
    assert sidecar_fields(second) == {"Where": "target"}
    _put(tmp_path / "scan.json", Where="link")
    assert sidecar_fields(link) == {"Where": "link"}
    assert sidecar_fields(second) == {"Where": "link"}
    # A dangling link, as of a data set whose images were not fetched, and a circle.
    blob.unlink()
    assert sidecar_fields(link) == {"Where": "link"}
    (tmp_path / "a.nii").symlink_to("b.nii")
    (tmp_path / "b.nii").symlink_to("a.nii")
    assert sidecar_fields(tmp_path / "a.nii") == {}


@pytest.mark.parametrize(
    ("value", "simulated"),
    [
        (True, True),
        ("true", True),
        ("no", False),
        (1, True),
        ("yes", True),
        ([True], True),
        ("n/a", False),
        (0, False),
        (False, False),
        (None, False),
    ],
)
def test_the_simulated_mark(tmp_path: Path, value: object, simulated: bool) -> None:
    _put(tmp_path / "scan.json", Simulated=value)
    assert says_simulated(tmp_path / "scan.nii.gz") is simulated


def test_a_mixture_is_simulated_and_noted(tmp_path: Path) -> None:
    scans = [tmp_path / "a.nii", tmp_path / "b.nii"]
    assert simulated_among(scans) == (False, ())
    _put(tmp_path / "a.json", Simulated=True)
    marked, (note,) = simulated_among(scans)
    assert marked
    assert note.kind == "partly-simulated"
    assert "1 of 2" in note.text
    _put(tmp_path / "b.json", Simulated=True)
    assert simulated_among(scans) == (True, ())
    assert simulated_among([]) == (False, ())
