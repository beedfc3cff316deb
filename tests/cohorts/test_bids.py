import json
import os
from pathlib import Path

import pytest

from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.cohorts.data import DataSettings, check_scans, read_cohort
from harmbench.contract import tiny_pairs
from harmbench.errors import CohortError
from harmbench.volume import write

SHARED = Path(__file__).parents[3] / "shared" / "data" / "open_ms_raw"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two subjects, two sessions that sidecars describe as 1.5 T and 3 T."""
    root = tmp_path / "bids"
    root.mkdir()
    described = {"Name": "Tiny", "BIDSVersion": "1.9.0", "DatasetDOI": "doi:10.1/x"}
    (root / "dataset_description.json").write_text(json.dumps(described))
    (root / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tMS\nsub-02\tHC\n")
    for subject, pair in zip(("01", "02"), tiny_pairs(2), strict=True):
        for session, field, volume in (("a", 1.5, pair.source), ("b", 3, pair.target)):
            _add(root, subject, session, "T1w", volume, {"MagneticFieldStrength": field})
    return root


def _add(root: Path, subject: str, session: str, end: str, volume, sidecar=None) -> Path:
    name = f"sub-{subject}_ses-{session}_{end}"
    path = root / f"sub-{subject}" / f"ses-{session}" / "anat" / f"{name}.nii.gz"
    write(volume, path)
    if sidecar is not None:
        path.with_name(f"{name}.json").write_text(json.dumps(sidecar))
    return path


def test_sessions_by_label(folder: Path) -> None:
    cohort = read_bids(folder)
    assert cohort.sessions == ("a", "b")
    assert dict(cohort.groups) == {"sub-01": "MS", "sub-02": "HC"}
    assert cohort.scans["sub-01", "b"].path.name == "sub-01_ses-b_T1w.nii.gz"
    assert "Tiny" in cohort.description
    assert cohort.citation == "doi:10.1/x"


def test_sessions_by_field_strength(folder: Path) -> None:
    cohort = read_bids(folder, BidsSettings(session_by="MagneticFieldStrength"))
    assert cohort.sessions == ("1.5T", "3T")
    assert cohort.scans["sub-02", "3T"].path.name == "sub-02_ses-b_T1w.nii.gz"


def test_a_sidecar_field_that_is_missing_is_named_for_each_file(folder: Path) -> None:
    with pytest.raises(CohortError) as caught:
        read_bids(folder, BidsSettings(session_by="ManufacturersModelName"))
    assert len(caught.value.problems) == 4
    assert "sidecar has no ManufacturersModelName" in caught.value.problems[0]


def test_runs(folder: Path) -> None:
    volume = tiny_pairs(1)[0].source
    old = folder / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz"
    old.unlink()
    for run in (1, 2):
        _add(folder, "01", "a", f"run-{run}_T1w", volume)
    name = {
        choice: read_bids(folder, BidsSettings(run=choice)).scans["sub-01", "a"].path.name
        for choice in ("first", "last")
    }
    assert name == {
        "first": "sub-01_ses-a_run-1_T1w.nii.gz",
        "last": "sub-01_ses-a_run-2_T1w.nii.gz",
    }
    with pytest.raises(CohortError, match=r"session a: no run 3, it has 1, 2"):
        read_bids(folder, BidsSettings(run="3"))


def test_several_fitting_files_must_be_chosen_by_desc(folder: Path) -> None:
    for session in "ab":
        for subject in ("01", "02"):
            _add(folder, subject, session, "desc-denoised_T1w", tiny_pairs(1)[0].source)
    with pytest.raises(CohortError, match="2 files fit"):
        read_bids(folder)
    cohort = read_bids(folder, BidsSettings(desc="denoised"))
    assert cohort.scans["sub-01", "a"].path.name == "sub-01_ses-a_desc-denoised_T1w.nii.gz"


def test_prepared_scans_are_chosen_by_themselves(folder: Path) -> None:
    for session in "ab":
        for subject in ("01", "02"):
            _add(folder, subject, session, "desc-prepared_T1w", tiny_pairs(1)[0].source)
    cohort = read_bids(folder)
    assert cohort.scans["sub-01", "a"].path.name == "sub-01_ses-a_desc-prepared_T1w.nii.gz"


def test_a_brain_mask_is_found(folder: Path) -> None:
    mask = tiny_pairs(1)[0].source
    mask = mask.with_data((mask.data > 0).astype("uint8"), kind="label")
    path = _add(folder, "01", "a", "desc-brain_mask", mask)
    cohort = read_bids(folder)
    assert cohort.scans["sub-01", "a"].mask == path
    assert cohort.scans["sub-01", "b"].mask is None


def test_participants_problems(folder: Path) -> None:
    (folder / "participants.tsv").write_text(
        "participant_id\tgroup\nsub-01\tMS\nsub-01\tHC\nsub-02\tHC\n02\tHC\nsub-02\tn/a\n"
    )
    with pytest.raises(CohortError) as caught:
        read_bids(folder)
    (problem,) = caught.value.problems
    assert problem == (
        "participants.tsv gives sub-01 several values of group: 'MS' (line 2) and 'HC' (line 3)"
    )
    (folder / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tMS\n")
    with pytest.raises(CohortError) as caught:
        read_bids(folder)
    assert list(caught.value.problems) == ["participants.tsv does not list sub-02"]
    (folder / "participants.tsv").unlink()
    assert set(read_bids(folder).groups.values()) == {"all"}


def test_not_bids(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CohortError, match=r"no dataset_description\.json"):
        read_bids(tmp_path)
    with pytest.raises(CohortError, match="no scan with suffix T2w"):
        read_bids(folder, BidsSettings(suffix="T2w"))


def test_opening_by_path(folder: Path, make_manifest, tmp_path: Path) -> None:
    assert read_cohort(DataSettings(path=folder)).name == "bids"
    assert read_cohort(DataSettings(path=make_manifest(2))).name == "manifest"
    with pytest.raises(CohortError, match="no such file or folder"):
        read_cohort(DataSettings(path=tmp_path / "none"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CohortError, match=r"pipe: not a regular file .* a manifest \(.csv\)"):
        read_cohort(DataSettings(path=tmp_path / "pipe"))
    (tmp_path / "link").symlink_to(".git/annex/objects/x")
    with pytest.raises(CohortError, match="link: a link into git-annex"):
        read_cohort(DataSettings(path=tmp_path / "link"))


def test_a_field_is_asked_of_scans_without_sidecars(folder: Path) -> None:
    settings = BidsSettings(session_by="MagneticFieldStrength")
    for sidecar in folder.rglob("*.json"):
        if sidecar.name != "dataset_description.json":
            sidecar.unlink()
    with pytest.raises(CohortError) as caught:
        read_bids(folder, settings)
    assert "it has no sidecar with fields, so none with MagneticFieldStrength" in str(caught.value)


def test_describing(folder: Path) -> None:
    data = DataSettings(path=folder)
    rows, _ = check_scans(read_cohort(data), data)
    assert next((r["subject"], r["session"], r["group"]) for r in rows) == ("sub-01", "a", "MS")
    assert {r["shape"] for r in rows} == {"16x24x20"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real scans of ../shared/data are not here")
def test_real_data_set() -> None:
    cohort = read_bids(SHARED)
    assert cohort.subjects == ("sub-01", "sub-12")
    assert cohort.sessions == ("1", "2")
    assert set(cohort.groups.values()) == {"MS"}
