"""Raw scans to a prepared data set: whole subjects, failures, repetition, quality control."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import psutil
import pytest

import harmbench.preparation.cohort
import harmbench.preparation.subject
import harmbench.preparation.summary
from harmbench.cohorts.base import Cohort
from harmbench.cohorts.bids import read_bids
from harmbench.cohorts.data import DataSettings
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.cohorts.validation import validate
from harmbench.config import load_preparation
from harmbench.errors import CohortError, HarmbenchError, PreparationError
from harmbench.preparation.cohort import prepare_cohort
from harmbench.preparation.derivative import raw_spacing_mm
from harmbench.preparation.qc.numbers import SessionNumbers, flag
from harmbench.preparation.subject import prepare_subject
from harmbench.preparation.summary import PrepareSummary
from harmbench.storage import read_json
from harmbench.trained.scanners import scanner_of
from harmbench.volume import read, write

QUICK = [
    "strip.method=mask",
    "bias.method=none",
    "spacing_mm=4",
    "registration.transform=rigid",
    "registration.reference=3T",
    "crop.shape=[48, 60, 56]",
]

Row = dict[str, str]


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    settings = PhantomSettings(subjects=2, spacing_mm=4.0, product="raw")
    return make_phantom(settings, tmp_path_factory.mktemp("raw") / "cohort", jobs=1)


@pytest.fixture
def manifest(raw: Cohort, tmp_path: Path) -> Callable[..., Path]:
    """Write a manifest of the simulated scans; `change` may edit its rows."""

    def write(change: Callable[[list[Row]], object] = lambda rows: None) -> Path:
        rows = [
            {
                "subject": subject,
                "group": raw.groups[subject],
                "session": session,
                "path": str(scan.path),
                "mask": str(scan.mask),
            }
            for (subject, session), scan in raw.scans.items()
        ]
        change(rows)
        path = tmp_path / "raw.csv"
        pd.DataFrame(rows).to_csv(path, index=False)
        return path

    return write


@pytest.fixture
def prepare(manifest, tmp_path: Path) -> Callable[..., PrepareSummary]:
    def run(*overrides: str, out: str = "out", data: Path | None = None, **settings):
        return prepare_cohort(
            DataSettings(path=data or manifest()),
            tmp_path / out,
            load_preparation(None, [*QUICK, *overrides]).settings,
            jobs=1,
            say=lambda _: None,
            **settings,
        )

    return run


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "logs" not in path.parts
    }


def _table(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "preparation.tsv", sep="\t", keep_default_na=False)


def test_the_prepared_data_set_is_a_cohort_as_it_stands(prepare, raw, tmp_path: Path) -> None:
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
        own = read(raw.scans[subject, session].path).spacing_mm
        assert raw_spacing_mm(scan.path) == pytest.approx(own, abs=1e-6)
        middle = [] if session == "3T" else ["register"]
        assert names == ["reorient", "strip", "bias", *middle, "resample", "normalize", "crop"]
        assert (scan.path.parents[2] / "figures" / f"qc-{subject}.png").is_file()
    page = summary.page.read_text()
    assert "sub-02" in page
    assert str(tmp_path) not in page


def test_numbers_show_that_pairs_were_aligned(prepare, tmp_path: Path) -> None:
    summary = prepare()
    table = _table(tmp_path / "out").set_index(["subject", "session"])
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
    table = _table(tmp_path / "out")
    assert table["flags"].str.contains("two people").sum() == 2
    assert "two people" in summary.page.read_text()


def test_twice_gives_the_same_files(prepare, tmp_path: Path) -> None:
    corrected = ("bias.method=n4", "bias.iterations=[5]")
    prepare(*corrected, out="one")
    prepare(*corrected, out="two")
    one, two = _files(tmp_path / "one"), _files(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_what_is_done_is_kept_and_what_is_damaged_is_made_again(
    prepare, tmp_path: Path, monkeypatch
) -> None:
    prepare()
    before = _files(tmp_path / "out")
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
    assert _files(tmp_path / "out") == before


def test_other_settings_need_another_folder_or_the_word(prepare, tmp_path: Path) -> None:
    prepare()
    before = _files(tmp_path / "out")
    with pytest.raises(
        PreparationError, match=r"interpolation was linear, is bspline.*--overwrite"
    ):
        prepare("interpolation=bspline")
    assert _files(tmp_path / "out") == before
    prepare("interpolation=bspline", overwrite=True)
    assert _files(tmp_path / "out") != before


def test_unusable_scans_cost_their_own_subject_only(
    prepare, manifest, raw: Cohort, tmp_path: Path
) -> None:
    scan = raw.scans["sub-02", "3T"].path
    image = nib.load(scan)
    data, affine = np.asarray(image.dataobj), image.affine

    def stored(name: str, values: np.ndarray, code: int = 1, affine: np.ndarray = affine) -> Path:
        made = nib.Nifti1Image(values, affine)
        made.set_qform(affine, code)
        made.set_sform(affine, code)
        nib.save(made, tmp_path / name)
        return tmp_path / name

    other = nib.load(raw.scans["sub-02", "1.5T"].path)
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(scan.read_bytes()[:20000])
    text = tmp_path / "text.nii.gz"
    text.write_text("not an image")
    cases = {
        "cut": (cut, "damaged or truncated"),
        "text": (text, "not an image"),
        "series": (stored("4d.nii.gz", np.stack([data, data], axis=-1)), "expected a single 3D"),
        "turned": (stored("turned.nii.gz", data, 0), "has no orientation in the header"),
    }

    def add(rows: list[Row]) -> None:
        two = [row for row in rows if row["subject"] == "sub-02"]
        rows[:] = [row for row in rows if row["subject"] == "sub-01"]
        # No scan may be there twice: each subject gets one of its own brightness.
        for place, (name, (path, _)) in enumerate(cases.items(), start=1):
            for row in two:
                bright = other.get_fdata(dtype=np.float32) * (1 + place / 50)
                own = stored(f"{name}-1p5T.nii.gz", bright, affine=other.affine)
                file = path if row["session"] == "3T" else own
                rows.append({**row, "subject": name, "path": str(file)})
        rows.append({**two[0], "subject": "alone"})

    summary = prepare(data=manifest(add))
    assert summary.prepared == ("sub-01",)
    # A subject with one scan could be in no pair: it is left out, and counted.
    assert set(summary.failed) == set(cases)
    for name, (path, message) in cases.items():
        assert message in summary.failed[name]
        assert str(path) in summary.failed[name]
    assert "one scan only, on 1.5T" in summary.page.read_text()
    folders = {p.name for p in (tmp_path / "out").glob("sub-*")}
    assert folders == {"sub-01"}
    assert list(read_bids(tmp_path / "out").groups) == ["sub-01"]
    table = _table(tmp_path / "out").set_index("subject")
    assert table.loc["series", "status"] == "failed"
    assert "expected a single 3D" in summary.page.read_text()


def test_no_brain_is_a_failure(prepare) -> None:
    summary = prepare("strip.plausible_ml=[3000, 4000]")
    assert "expected 3000 to 4000 ml" in summary.failed["sub-01"]


def test_a_full_disk_leaves_finished_subjects_intact(prepare, tmp_path: Path, monkeypatch) -> None:
    prepare()
    before = _files(tmp_path / "out" / "sub-01")
    shutil.rmtree(tmp_path / "out" / "sub-02")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(harmbench.preparation.subject, "write_session", full)
    summary = prepare()
    assert summary.failed == {"sub-02": f"{tmp_path / 'out'}: no space left for its files"}
    assert _files(tmp_path / "out" / "sub-01") == before
    assert not list((tmp_path / "out").glob(".new-*"))
    monkeypatch.setattr(harmbench.preparation.summary, "write_participants", full)
    with pytest.raises(OSError, match=r"No space left.*prepared subjects are intact"):
        prepare()
    assert _files(tmp_path / "out" / "sub-01") == before


def test_a_killed_preparation_goes_on_and_ends_in_the_same_place(
    prepare, manifest, tmp_path: Path
) -> None:
    prepare(out="whole")
    out = tmp_path / "parts"
    command = [sys.executable, "-m", "harmbench", "prepare", str(manifest()), str(out)]
    command += ["--jobs", "1", *(part for setting in QUICK for part in ("--set", setting))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(out.glob(".new-sub-02-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "a process outlived its command"
    assert (out / "sub-01").is_dir()
    assert not (out / "sub-02").exists()
    assert not (out / "qc.html").exists()
    finished = _files(out / "sub-01")
    again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "sub-01: prepared before" in again.stderr
    assert _files(out / "sub-01") == finished
    made = {name: data for name, data in _files(out).items() if not name.startswith(".new-")}
    assert made == _files(tmp_path / "whole")
    assert read_bids(out).groups == {"sub-01": "HC", "sub-02": "MS"}


def test_an_unexpected_error_is_logged_with_its_traceback(prepare, tmp_path, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(harmbench.preparation.subject, "measure", broken)
    summary = prepare()
    assert summary.failed["sub-01"].startswith("ZeroDivisionError: oh (logs/sub-01.log")
    assert "Traceback" in (tmp_path / "out" / "logs" / "sub-01.log").read_text()


@pytest.mark.parametrize(
    ("overrides", "out", "error", "message"),
    [
        (["registration.reference=7T"], "out", PreparationError, r"no session '7T'; .*1\.5T, 3T"),
        (["strip.method=bet"], "out", HarmbenchError, "FSLDIR is not set"),
        ([], "raw.csv/out", PreparationError, "is a file"),
        ([], "full", PreparationError, "neither empty nor a prepared data set"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    prepare, tmp_path: Path, monkeypatch, overrides, out, error, message
) -> None:
    monkeypatch.delenv("FSLDIR", raising=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(error, match=message):
        prepare(*overrides, out=out)
    assert not (tmp_path / "out").exists()
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_subjects_that_become_one_are_refused(prepare, manifest, tmp_path: Path) -> None:
    def rename(rows: list[Row]) -> None:
        for row in rows:
            row["subject"] = {"sub-01": "P_1", "sub-02": "P1"}[row["subject"]]

    with pytest.raises(CohortError, match=r"subject 'P1' cannot be .* the same as P_1"):
        prepare(data=manifest(rename))
    assert not (tmp_path / "out").exists()


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
    raw: Cohort, prepare, tmp_path: Path
) -> None:
    """A data set of links whose fields stand at its root, whose title says nothing."""
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "a study", "BIDSVersion": "1.8.0"}')
    for label, strength in (("A", 1.5), ("B", 3)):
        fields = f'{{"MagneticFieldStrength": {strength}, "Simulated": true}}'
        (root / f"ses-{label}_T1w.json").write_text(fields)
    for (subject, session), scan in raw.scans.items():
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


def test_a_title_that_says_simulated_makes_nothing_simulated(raw: Cohort, prepare, tmp_path: Path):
    """The mark comes from sidecars: copies without them are not known to be simulated."""
    root = tmp_path / "bids"
    root.mkdir()
    (root / "dataset_description.json").write_text(
        '{"Name": "no simulated scans", "BIDSVersion": "1.8.0"}'
    )
    for (subject, session), scan in raw.scans.items():
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


def test_a_scan_that_is_there_twice_is_refused(prepare, manifest, tmp_path: Path) -> None:
    def repeat(rows: list[Row]) -> None:
        image = nib.load(rows[0]["path"])
        nib.save(image, tmp_path / "copy.nii")
        rows[2]["path"] = str(tmp_path / "copy.nii")

    with pytest.raises(CohortError, match="is the same scan as"):
        prepare(data=manifest(repeat))
    assert not (tmp_path / "out").exists()


def test_outputs_among_the_scans_are_refused(prepare, raw: Cohort) -> None:
    scan = next(iter(raw.scans.values())).path
    with pytest.raises(PreparationError, match="holds the input"):
        prepare(out=str(scan.parent))


def test_a_scan_with_an_offset_is_prepared_alike_and_noted(
    prepare, manifest, raw: Cohort, tmp_path: Path
) -> None:
    scan = read(raw.scans["sub-01", "1.5T"].path)
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
