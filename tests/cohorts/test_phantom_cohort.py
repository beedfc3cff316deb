import json
import os
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from skimage.exposure import match_histograms

from harmbench.cohorts.base import load_scan
from harmbench.cohorts.phantom import PhantomSettings, cache_folder, make_phantom
from harmbench.cohorts.phantom.dataset import truth_path
from harmbench.cohorts.phantom.subjects import make_subjects
from harmbench.cohorts.validation import validate
from harmbench.cohorts.whole_subjects import intact, publish
from harmbench.errors import CohortError, ConfigError
from harmbench.settings import validated
from harmbench.volume import read

SMALL = PhantomSettings(subjects=2, spacing_mm=4.0)


def key_of(root):
    return json.loads((root / "dataset_description.json").read_text())["Key"]


def files_of(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom") / "cohort"
    calls = []
    cohort = make_phantom(SMALL, root, lambda *call, **_: calls.append(call), jobs=1)
    assert calls == [("phantom", done, 2) for done in range(3)]
    return root, cohort


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "copy")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw") / "cohort"
    settings = PhantomSettings(subjects=1, spacing_mm=4.0, product="raw")
    return root, make_phantom(settings, root, jobs=1)


def test_cohort_says_that_it_is_simulated(made):
    root, cohort = made
    assert cohort.name == "phantom"
    assert cohort.simulated
    assert "SIMULATED" in cohort.description
    assert cohort.sessions == ("1.5T", "3T")
    assert dict(cohort.groups) == {"sub-01": "HC", "sub-02": "MS"}
    description = json.loads((root / "dataset_description.json").read_text())
    assert "SIMULATED" in description["Name"]
    assert description["DatasetType"] == "derivative"


def test_scans_pass_the_validation_of_every_cohort(made):
    _, cohort = made
    assert len(validate(cohort, ["1.5T", "3T"]).keys) == 4


def test_prepared_scans(made):
    _, cohort = made
    for scan in cohort.scans.values():
        volume = load_scan(scan)
        assert volume.shape == (40, 56, 56)
        assert volume.spacing_mm == pytest.approx((4, 4, 4))
        assert volume.data.min() == 0
        assert volume.data.max() == 1
        mask = read(scan.mask, kind="label").data > 0
        assert not volume.data[~mask].any()
        assert (volume.data[mask] > 0).mean() > 0.99
        image = nib.load(scan.path)
        assert image.get_data_dtype() == np.float32
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")


def test_sidecars_tell_field_strength_and_simulation(made):
    _, cohort = made
    for (_, session), scan in cohort.scans.items():
        sidecar = json.loads(scan.path.with_name(scan.path.name[:-7] + ".json").read_text())
        assert sidecar["Simulated"] is True
        assert f"{sidecar['MagneticFieldStrength']:g}T" == session


def test_truth_fits_the_scans(made):
    root, cohort = made
    for subject in cohort.subjects:
        labels = read(root / truth_path(subject, "dseg"), kind="label").data
        shares = np.stack([read(root / truth_path(subject, t)).data for t in ("CSF", "GM", "WM")])
        brain = labels > 0
        assert shares.sum(0)[brain] == pytest.approx(np.ones(brain.sum()), abs=0.01)
        assert not shares[:, ~brain].any()
        labelled = np.take_along_axis(shares, np.maximum(labels, 1)[None] - 1, axis=0)[0]
        assert (labelled >= shares.max(0) - 0.005)[brain].all()
        for session in cohort.sessions:
            scan = load_scan(cohort.scans[subject, session]).data
            medians = [np.median(scan[labels == label]) for label in (1, 2, 3)]
            assert medians == sorted(medians)
    lesions = [read(root / truth_path(s, "lesion"), kind="label").data for s in cohort.subjects]
    assert not lesions[0].any()


def test_participants_table(made):
    root, cohort = made
    table = pd.read_csv(root / "participants.tsv", sep="\t")
    assert list(table["participant_id"]) == list(cohort.subjects)
    assert list(table["group"]) == ["HC", "MS"]
    assert table["lesion_load_ml"][0] == 0
    assert 1 <= table["lesion_load_ml"][1] <= 30
    parts = table[["csf_ml", "gm_ml", "wm_ml"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(table["brain_ml"].to_numpy(), abs=0.5)


def test_difference_between_scanners_is_a_contrast_that_can_be_learned(made):
    _, cohort = made
    for subject in cohort.subjects:
        source, target = (load_scan(cohort.scans[subject, s]).data for s in ("3T", "1.5T"))
        mapped = np.zeros_like(source)
        mapped[source > 0] = match_histograms(source[source > 0], target[target > 0])
        untreated, matched = ((image - target) ** 2 for image in (source, mapped))
        assert matched.mean() < 0.7 * untreated.mean()


def test_processes_and_number_of_subjects_do_not_change_a_byte(made, tmp_path):
    root, _ = made
    make_phantom(PhantomSettings(subjects=1, spacing_mm=4.0), tmp_path / "new", jobs=1)
    first = files_of(tmp_path / "new" / "sub-01")
    assert first == files_of(root / "sub-01")
    make_phantom(SMALL, tmp_path / "new", jobs=2)
    assert files_of(tmp_path / "new" / "sub-01") == first
    assert files_of(tmp_path / "new" / "sub-02") == files_of(root / "sub-02")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "dataset_description.json",
        "participants.tsv",
        "sub-01",
        "sub-02",
    ]


def test_what_is_there_is_kept(copy):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    make_phantom(SMALL, copy, jobs=1)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_damage_is_repaired(made, copy):
    scan = copy / "sub-01/ses-3T/anat/sub-01_ses-3T_desc-prepared_T1w.nii.gz"
    scan.write_bytes(scan.read_bytes()[:1000])
    cohort = make_phantom(PhantomSettings(subjects=1, spacing_mm=4.0), copy, jobs=1)
    assert files_of(copy) == files_of(made[0])
    assert cohort.subjects == ("sub-01",)


def test_damage_is_noticed(copy):
    assert intact(copy, "sub-01", key_of(copy))
    (copy / truth_path("sub-01", "lesion")).unlink()
    assert not intact(copy, "sub-01", key_of(copy))
    record = copy / "sub-02/sub-02_record.json"
    for text in ("{", "[]", "{}", '{"files": {}}', "null"):
        record.write_text(text)
        assert not intact(copy, "sub-02", key_of(copy))
    record.unlink()
    assert not intact(copy, "sub-02", key_of(copy))


def test_a_subject_that_another_process_made_first_stays(made, copy, tmp_path):
    rival = tmp_path / "rival"
    shutil.copytree(made[0] / "sub-01", rival / "sub-01")
    inode = (copy / "sub-01").stat().st_ino
    publish(rival, copy, "sub-01", {"participant_id": "sub-01"}, key_of(copy))
    assert (copy / "sub-01").stat().st_ino == inode
    assert intact(copy, "sub-01", key_of(copy))


def test_leftovers_of_killed_processes_are_swept_after_a_day(copy):
    old, young = copy / ".new-sub-03-x", copy / ".new-sub-04-x"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    make_phantom(SMALL, copy, jobs=1)
    assert not old.exists()
    assert young.exists()


def test_a_folder_with_other_data_is_refused(copy, tmp_path):
    other = PhantomSettings(subjects=1, spacing_mm=4.0, seed=1)
    with pytest.raises(CohortError, match="holds other data"):
        make_phantom(other, copy, jobs=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(CohortError, match="not empty"):
        make_phantom(SMALL, tmp_path / "mine", jobs=1)


def test_a_lost_description_is_written_again(made, copy):
    for damage in (lambda path: path.unlink(), lambda path: path.write_text("{")):
        damage(copy / "dataset_description.json")
        make_phantom(SMALL, copy, jobs=1)
        assert files_of(copy) == files_of(made[0])


def test_subjects_made_otherwise_do_not_count(copy):
    entry = copy / "sub-01/sub-01_record.json"
    entry.write_text(entry.read_text().replace(key_of(copy), "0" * 64))
    assert not intact(copy, "sub-01", key_of(copy))
    assert intact(copy, "sub-02", key_of(copy))


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HARMBENCH_CACHE", str(tmp_path))
    few, many = PhantomSettings(subjects=2), PhantomSettings(subjects=40)
    assert cache_folder(few) == cache_folder(many)
    assert cache_folder(few).parent == tmp_path
    others = [
        PhantomSettings(seed=1),
        PhantomSettings(spacing_mm=2),
        PhantomSettings(product="raw"),
    ]
    assert len({cache_folder(s) for s in (few, *others)}) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [("subjects", 0), ("subjects", 41), ("spacing_mm", 0.5), ("spacing_mm", 9), ("seed", -1)],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(ConfigError, match=rf"phantom\.{name}: .*got {value}"):
        validated(PhantomSettings, {name: value}, "phantom")


def test_jobs_out_of_range(tmp_path):
    with pytest.raises(CohortError, match="jobs is 0"):
        make_phantom(SMALL, tmp_path, jobs=0)
    assert not any(tmp_path.iterdir())


def test_demographics_are_those_of_the_paper():
    for seed in (0, 7):
        people = pd.DataFrame(
            [(s.label, s.group, s.age, s.sex) for s in make_subjects(seed)],
            columns=["label", "group", "age", "sex"],
        )
        assert len(set(people["label"])) == 40
        counts = people.groupby(["group", "sex"]).size().to_dict()
        assert counts == {("HC", "F"): 11, ("HC", "M"): 11, ("MS", "F"): 14, ("MS", "M"): 4}
        ages = people.groupby("group")["age"].agg(["mean", "std"])
        assert ages.loc["HC"].tolist() == pytest.approx([28.9, 7.6], abs=0.05)
        assert ages.loc["MS"].tolist() == pytest.approx([51.7, 12.7], abs=0.05)
        assert people["age"].min() >= 18
        for count in range(2, 41):
            controls = (people["group"][:count] == "HC").sum()
            assert abs(controls - 22 / 40 * count) <= 1


def test_seeds_make_other_people():
    assert make_subjects(0) == make_subjects(0)
    assert [s.age for s in make_subjects(0)] != [s.age for s in make_subjects(1)]
    one, two = make_subjects(0)[:2]
    draws = [s.anatomy_generator().random() for s in (one, two)]
    draws += [one.session_generator(k).random() for k in range(2)]
    assert len(set(draws)) == 4


def test_raw_scans_lie_on_grids_of_their_own(raw):
    _, cohort = raw
    images = [nib.load(scan.path) for scan in cohort.scans.values()]
    assert not np.allclose(images[0].affine, images[1].affine, atol=0.5)
    for image in images:
        assert nib.aff2axcodes(image.affine) == ("P", "S", "R")
        assert not np.allclose(np.sort(np.abs(image.affine[:3, :3]), axis=0)[:2], 0, atol=1e-3)
        assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 1
        assert image.get_qform() == pytest.approx(image.affine, abs=1e-3)
    assert images[0].header.get_zooms() == pytest.approx((4 * 250 / 256, 4 * 234 / 240, 4))


def test_raw_scans_have_a_head_around_the_brain(raw):
    root, cohort = raw
    for (subject, session), scan in cohort.scans.items():
        volume = read(scan.path).data
        brain = read(scan.mask, kind="label").data > 0
        assert np.array_equal(volume, np.round(volume))
        assert volume.max() <= 4095
        white = read(root / truth_path(subject, "dseg", session), kind="label").data == 3
        level = np.median(volume[white])
        assert 250 < level < 600
        assert (volume[~brain] > 0.8 * level).sum() > 0.05 * brain.sum()
        corner = volume[:4, :4, :4]
        assert corner.mean() < 0.2 * level


def test_raw_truth_takes_one_session_onto_the_other(raw):
    root, cohort = raw
    centres = {}
    for session in cohort.sessions:
        mask = read(cohort.scans["sub-01", session].mask, kind="label")
        voxels = np.argwhere(mask.data > 0).mean(0)
        centres[session] = mask.affine @ [*voxels, 1]
    path = root / "sub-01/ses-3T/anat/sub-01_ses-3T_desc-truth_transforms.json"
    matrix = np.array(json.loads(path.read_text())["SessionToOther"]["1.5T"])
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
    away = np.linalg.norm((centres["3T"] - centres["1.5T"])[:3])
    found = np.linalg.norm((matrix @ centres["3T"] - centres["1.5T"])[:3])
    assert found < 1.5
    assert away > 2 * found


def test_raw_bias_field_is_the_one_in_the_image(raw):
    root, cohort = raw
    scan = cohort.scans["sub-01", "3T"]
    image = read(scan.path).data
    bias = read(root / truth_path("sub-01", "biasfield", "3T")).data
    white = read(root / truth_path("sub-01", "dseg", "3T"), kind="label").data == 3
    spread = [np.std(values[white]) / np.mean(values[white]) for values in (image, image / bias)]
    assert spread[1] < spread[0]
    assert bias.min() > 0.5
