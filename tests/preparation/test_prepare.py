"""Raw scans to a prepared data set: whole subjects, failures, repetition, quality control."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from prepared import QUICK, Row, files, preparation_table

import harmbench.preparation.cohort
import harmbench.preparation.subject
import harmbench.preparation.summary
from harmbench.cohorts.base import Cohort
from harmbench.cohorts.bids import read_bids
from harmbench.cohorts.data import DataSettings
from harmbench.cohorts.validation import validate
from harmbench.config import load_preparation
from harmbench.errors import PreparationError
from harmbench.preparation.cohort import prepare_cohort
from harmbench.preparation.derivative import raw_spacing_mm
from harmbench.preparation.qc.numbers import SessionNumbers, flag
from harmbench.preparation.subject import prepare_subject
from harmbench.storage import read_json
from harmbench.trained.scanners import scanner_of
from harmbench.volume import read, write


def test_the_prepared_data_set_is_a_cohort_as_it_stands(
    prepare, raw_cohort, tmp_path: Path
) -> None:
    summary = prepare()
    assert summary.prepared == ("sub-01", "sub-02")
    assert not summary.failed
    cohort = read_bids(tmp_path / "out")
    assert cohort.sessions == ("1.5T", "3T")
    assert cohort.groups == {"sub-01": "HC", "sub-02": "MS"}
    assert cohort.preparation == load_preparation(None, QUICK).settings.model_dump(mode="json")
    assert [str(way) for way in cohort.directions()] == ["1.5T-to-3T", "3T-to-1.5T"]
    validate(cohort, cohort.sessions)
    for (subject, session), scan in cohort.scans.items():
        assert scan.mask is not None
        volume, mask = read(scan.path), read(scan.mask, kind="label")
        assert volume.shape == (48, 60, 56)
        assert nib.load(scan.path).get_data_dtype() == np.float32
        assert not volume.data[mask.data == 0].any()
        sidecar = read_json(scan.path.with_name(scan.path.name.replace(".nii.gz", ".json")))
        assert sidecar["MagneticFieldStrength"] == float(session.removesuffix("T"))
        names = [step["name"] for step in sidecar["Steps"]]
        own = read(raw_cohort.scans[subject, session].path).spacing_mm
        assert raw_spacing_mm(scan.path) == pytest.approx(own, abs=1e-6)
        middle = [] if session == "3T" else ["register"]
        assert names == ["reorient", "strip", "bias", *middle, "resample", "normalize", "crop"]
        assert (scan.path.parents[2] / "figures" / f"qc-{subject}.png").is_file()
    page = summary.page.read_text()
    assert "sub-02" in page
    assert str(tmp_path) not in page


def test_numbers_show_that_pairs_were_aligned(prepare, tmp_path: Path) -> None:
    summary = prepare()
    table = preparation_table(tmp_path / "out").set_index(["subject", "session"])
    for subject in ("sub-01", "sub-02"):
        row = table.loc[subject, "1.5T"]
        assert float(row["correlation_after"]) > 0.85 > float(row["correlation_before"])
        assert float(row["nmi_after"]) > float(row["nmi_before"])
        assert float(row["overlap"]) > 0.95
        assert table.loc[subject, "3T"]["nmi_after"] == "n/a"
    assert not summary.flagged


def test_a_pair_of_two_people_is_flagged(prepare, manifest, tmp_path: Path) -> None:
    def swap(rows: list[Row]) -> None:
        one, other = (next(r for r in rows if (r["subject"], r["session"]) == key) for key in (
            ("sub-01", "1.5T"), ("sub-02", "1.5T")))  # fmt: skip
        for name in ("path", "mask"):
            one[name], other[name] = other[name], one[name]

    summary = prepare("registration.transform=affine", data=manifest(swap))
    assert set(summary.flagged) == {"sub-01", "sub-02"}
    table = preparation_table(tmp_path / "out")
    assert table["flags"].str.contains("two people").sum() == 2
    assert "two people" in summary.page.read_text()


@pytest.mark.figures
def test_twice_gives_the_same_files(prepare, tmp_path: Path) -> None:
    corrected = ("bias.method=n4", "bias.iterations=[5]")
    prepare(*corrected, out="one")
    prepare(*corrected, out="two")
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_what_is_done_is_kept_and_what_is_damaged_is_made_again(
    prepare, tmp_path: Path, monkeypatch
) -> None:
    prepare()
    before = files(tmp_path / "out")
    made: list[str] = []

    def watched(job, progress):
        made.append(job.subject)
        return prepare_subject(job, progress)

    monkeypatch.setattr(harmbench.preparation.cohort, "prepare_subject", watched)
    prepare()
    assert made == []
    # As a process that was killed leaves it: one subject missing, a half-made one beside.
    shutil.rmtree(tmp_path / "out" / "sub-02")
    (tmp_path / "out" / ".new-sub-02-x").mkdir()
    prepare()
    assert made == ["sub-02"]
    shutil.rmtree(tmp_path / "out" / ".new-sub-02-x")
    assert files(tmp_path / "out") == before


def test_other_settings_need_another_folder_or_the_word(prepare, tmp_path: Path) -> None:
    prepare()
    before = files(tmp_path / "out")
    with pytest.raises(
        PreparationError, match=r"interpolation was linear, is bspline.*--overwrite"
    ):
        prepare("interpolation=bspline")
    assert files(tmp_path / "out") == before
    prepare("interpolation=bspline", overwrite=True)
    assert files(tmp_path / "out") != before


def test_outliers_are_judged_against_the_cohort() -> None:
    rows = [SessionNumbers(session="A", mask_ml=1400.0 + 10 * n) for n in range(8)]
    assert not any(flag(rows))
    found = flag([*rows, SessionNumbers(session="A", mask_ml=1900.0)])
    assert [bool(own) for own in found] == [False] * 8 + [True]
    assert found[-1][0].number == "mask_ml"
    assert "far from the cohort's median" in found[-1][0].sentence


def test_absolute_limits_hold_for_single_pairs() -> None:
    good = SessionNumbers(
        session="B",
        mask_change=2.0,
        overlap=0.97,
        correlation_linear=0.9,
        nmi_before=1.0,
        nmi_after=1.1,
        jacobian_min=0.4,
        jacobian_max=1.9,
    )
    assert flag([good]) == [[]]
    bad = SessionNumbers(
        session="B",
        mask_change=-20.0,
        overlap=0.8,
        correlation_linear=0.5,
        nmi_before=1.1,
        nmi_after=1.0,
        jacobian_min=-0.1,
        jacobian_max=3.0,
    )
    (found,) = flag([bad])
    names = [one.number for one in found]
    assert names == ["correlation_linear", "nmi_after", "overlap", "mask_change", "jacobian_min"]


def test_links_inherited_sidecars_and_the_simulated_mark_reach_the_prepared_scans(
    raw_cohort: Cohort, prepare, tmp_path: Path
) -> None:
    """A data set of links whose fields stand at its root, whose title says nothing."""
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "a study", "BIDSVersion": "1.8.0"}')
    for label, strength in (("A", 1.5), ("B", 3)):
        fields = f'{{"MagneticFieldStrength": {strength}, "Simulated": true}}'
        (root / f"ses-{label}_T1w.json").write_text(fields)
    for (subject, session), scan in raw_cohort.scans.items():
        label = {"1.5T": "A", "3T": "B"}[session]
        place = root / subject / f"ses-{label}" / "anat"
        place.mkdir(parents=True)
        assert scan.mask is not None
        (place / f"{subject}_ses-{label}_T1w.nii.gz").symlink_to(scan.path)
        (place / f"{subject}_ses-{label}_desc-brain_mask.nii.gz").symlink_to(scan.mask)
    summary = prepare("registration.reference=B", "registration.transform=none", data=root)
    assert not summary.failed
    cohort = read_bids(tmp_path / "out")
    assert cohort.simulated
    assert cohort.description.startswith("SIMULATED")
    assert "Simulated data" in summary.page.read_text()
    for (_, session), scan in cohort.scans.items():
        expected = {"A": "1.5", "B": "3"}[session]
        assert scanner_of(scan.path)["MagneticFieldStrength"] == expected


def test_a_title_that_says_simulated_makes_nothing_simulated(
    raw_cohort: Cohort, prepare, tmp_path: Path
):
    """The mark comes from sidecars: copies without them are not known to be simulated."""
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text(
        '{"Name": "no simulated scans", "BIDSVersion": "1.8.0"}'
    )
    for (subject, session), scan in raw_cohort.scans.items():
        label = session.replace(".", "p")
        place = root / subject / f"ses-{label}" / "anat"
        place.mkdir(parents=True)
        shutil.copy(scan.path, place / f"{subject}_ses-{label}_T1w.nii.gz")
    assert not read_bids(root).simulated


def test_a_withdrawn_subject_is_named_and_not_used(prepare, manifest, tmp_path: Path) -> None:
    prepare()
    lines: list[str] = []
    only = manifest(lambda rows: rows.__delitem__(slice(2, None)))
    prepare_cohort(
        DataSettings(path=only),
        tmp_path / "out",
        load_preparation(None, QUICK).settings,
        jobs=1,
        say=lines.append,
    )
    assert any("withdrawn-subject" in line and "sub-02" in line for line in lines)
    cohort = read_bids(tmp_path / "out")
    assert cohort.subjects == ("sub-01",)
    assert [(n.kind, n.where) for n in cohort.notes if n.kind == "withdrawn-subject"] == [
        ("withdrawn-subject", "subject sub-02")
    ]


def test_a_scan_with_an_offset_is_prepared_alike_and_noted(
    prepare, manifest, raw_cohort: Cohort, tmp_path: Path
) -> None:
    scan = read(raw_cohort.scans["sub-01", "1.5T"].path)
    shifted = write(scan.with_data(scan.data - 200), tmp_path / "shifted_T1w.nii.gz")

    def only_one(rows: list[Row]) -> None:
        rows[:] = [row for row in rows if row["subject"] == "sub-01"]

    def change(rows: list[Row]) -> None:
        only_one(rows)
        for row in rows:
            if row["session"] == "1.5T":
                row["path"] = str(shifted)

    plain = prepare(data=manifest(only_one))
    moved = prepare(data=manifest(change), out="moved")
    assert plain.notes == ()
    assert {note.kind for note in moved.notes} == {"counted-from-background"}
    assert "counted-from-background" in moved.page.read_text()
    name = "sub-01/ses-1p5T/anat/sub-01_ses-1p5T_desc-prepared_T1w.nii.gz"
    one, other = (read(tmp_path / out / name).data for out in ("out", "moved"))
    # Registration has other images to work with: single voxels of the brain's edge may differ.
    assert np.count_nonzero(np.abs(other - one) > 0.02) < 0.005 * np.count_nonzero(one)
