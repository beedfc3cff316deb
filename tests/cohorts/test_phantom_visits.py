"""Later visits of simulated subjects: rescans, follow-ups with a known change, masks of lesions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmbench.cohorts.base import Cohort, load_scan
from harmbench.cohorts.bids import read_bids
from harmbench.cohorts.pairing import pairs, rescans
from harmbench.cohorts.phantom import FollowUps, PhantomSettings, make_follow_ups, make_phantom
from harmbench.cohorts.phantom.anatomy import field_of_view, make_anatomy
from harmbench.cohorts.phantom.atlas import load_atlas
from harmbench.cohorts.phantom.atrophy import make_atrophy
from harmbench.cohorts.phantom.dataset import truth_path
from harmbench.cohorts.phantom.follow_ups import CHANGES_PERCENT, follow_up_folder
from harmbench.cohorts.phantom.subjects import make_subjects
from harmbench.cohorts.phantom.warp import draw_traits, draw_warp, keep_volume
from harmbench.errors import CohortError, ConfigError
from harmbench.settings import validated
from harmbench.task import Direction
from harmbench.volume import read

TWICE = PhantomSettings(subjects=2, spacing_mm=4.0, rescans=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cohort]:
    root = tmp_path_factory.mktemp("twice") / "cohort"
    return root, make_phantom(TWICE, root, jobs=1)


@pytest.fixture(scope="module")
def later(made: tuple[Path, Cohort]) -> FollowUps:
    return make_follow_ups(TWICE, made[0], ["sub-02"], jobs=1)


def test_a_rescan_changes_nothing_of_the_first_visits(
    made: tuple[Path, Cohort], tmp_path: Path
) -> None:
    once = TWICE.model_copy(update={"rescans": False, "subjects": 1})
    make_phantom(once, tmp_path / "once", jobs=1)
    for path in (tmp_path / "once" / "sub-01").rglob("*"):
        if path.is_file() and not path.name.endswith("record.json"):
            same = made[0] / path.relative_to(tmp_path / "once")
            assert same.read_bytes() == path.read_bytes()


def test_a_rescan_shows_the_same_brain_with_other_noise(made: tuple[Path, Cohort]) -> None:
    _, cohort = made
    for scanner in ("1.5T", "3T"):
        assert [len(one.scans) for one in rescans(cohort, scanner)] == [2, 2]
    for subject in cohort.subjects:
        first, second, other = (
            load_scan(cohort.scans[subject, session]).data for session in ("3T", "3T-2", "1.5T")
        )
        assert not np.array_equal(first, second)
        errors = [np.mean((image - first) ** 2) for image in (second, other)]
        assert 0 < errors[0] < 0.5 * errors[1]


def test_scanners_and_visits_are_read_from_disk_without_options(
    made: tuple[Path, Cohort],
) -> None:
    root, cohort = made
    found = read_bids(root)
    assert found.scanners == ("1p5T", "3T")
    visits = {(s.subject, s.scanner, s.visit) for s in found.scans.values()}
    assert visits == {
        (subject, scanner, visit)
        for subject in cohort.subjects
        for scanner in found.scanners
        for visit in ("", "2")
    }
    closest = {(p.source.session, p.target.session) for p in pairs(found, Direction("3T", "1p5T"))}
    assert ("3T", "1p5T") in closest


def test_patients_have_masks_of_lesions(made: tuple[Path, Cohort]) -> None:
    root, cohort = made
    for found in (cohort, read_bids(root)):
        for (subject, _), scan in found.scans.items():
            mask = found.lesions.get(scan.path)
            assert (mask is not None) == (subject == "sub-02")
            if mask is not None:
                lesions = read(mask, kind="label").data
                truth = read(root / truth_path(subject, "lesion"), kind="label").data
                assert np.array_equal(lesions > 0, truth > 0)
                assert lesions.any()


def test_raw_scans_have_no_rescans() -> None:
    with pytest.raises(ConfigError, match="leave product at `prepared`"):
        validated(PhantomSettings, {"product": "raw", "rescans": True}, "phantom")
    with pytest.raises(CohortError, match="prepared scans only"):
        make_follow_ups(PhantomSettings(product="raw"))


def test_follow_ups_lie_where_no_run_looks(made: tuple[Path, Cohort], later: FollowUps) -> None:
    root, _ = made
    assert follow_up_folder(TWICE, root).is_relative_to(root)
    assert all("fu" not in scan.visit for scan in read_bids(root).scans.values())
    # The cohort is still taken for its own.
    assert make_phantom(TWICE, root, jobs=1).subjects == ("sub-01", "sub-02")
    own = read_bids(follow_up_folder(TWICE, root))
    assert own.simulated
    assert {scan.visit for scan in own.scans.values()} == set(CHANGES_PERCENT)
    assert own.scanners == ("1p5T", "3T")
    assert later.cohort.subjects == ("sub-02",)


def test_true_changes_are_near_what_was_asked_for(
    made: tuple[Path, Cohort], later: FollowUps
) -> None:
    for visit, asked in CHANGES_PERCENT.items():
        found = later.true_change["sub-02", visit]
        for tissue in ("GM", "WM"):
            assert found[tissue] == pytest.approx(asked, rel=0.15)
    assert later.true_change["sub-02", "fu0"] == {"CSF": 0, "GM": 0, "WM": 0}
    table = pd.read_csv(follow_up_folder(TWICE, made[0]) / "changes.tsv", sep="\t")
    assert list(table["asked_percent"]) == list(CHANGES_PERCENT.values())
    assert table["gm_percent"][3] == later.true_change["sub-02", "fu2"]["GM"]


def test_the_stored_truth_has_the_stored_change(
    made: tuple[Path, Cohort], later: FollowUps
) -> None:
    root = made[0]
    after = follow_up_folder(TWICE, root)
    for tissue in ("GM", "WM"):
        first = read(root / truth_path("sub-02", tissue)).data.sum(dtype=float)
        second = read(after / truth_path("sub-02", tissue, visit="fu2")).data.sum(dtype=float)
        change = 100 * (second / first - 1)
        assert change == pytest.approx(later.true_change["sub-02", "fu2"][tissue], abs=0.02)


def test_the_jacobian_gives_the_change_of_volume() -> None:
    atlas, field = load_atlas(), field_of_view(1.0)
    subject = make_subjects(0)[0]
    generator = subject.anatomy_generator()
    traits = draw_traits(subject, generator)
    warp = draw_warp(generator, atlas, field, traits)
    traits = keep_volume(atlas, warp, traits, field)
    change = make_atrophy(atlas, warp, traits, field, -2.0)
    assert 0.85 < change.smallest_jacobian < 1
    grid = field_of_view(4.0)
    first = make_anatomy(subject, atlas, grid)
    now = make_anatomy(subject, atlas, grid, change_percent=-2.0)
    assert now.grid == first.grid
    white = now.tissues["WM"]
    # What is there now, times the Jacobian, is what was there.
    before = float((white * change.jacobian(now.grid)).sum(dtype=float))
    assert before == pytest.approx(float(first.tissues["WM"].sum(dtype=float)), rel=2e-3)
    assert float(white.sum(dtype=float)) < 0.985 * before


@pytest.mark.parametrize("percent", [-10, 10, float("nan")])
def test_changes_out_of_range(percent: float) -> None:
    subject = make_subjects(0)[0]
    with pytest.raises(ValueError, match="expected a change above -10"):
        make_anatomy(subject, load_atlas(), field_of_view(4.0), change_percent=percent)


def test_unknown_subject(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="unknown subject 'sub-99'"):
        make_follow_ups(TWICE, tmp_path, ["sub-99"], jobs=1)


def test_sidecars_say_whose_scan_it_is(made: tuple[Path, Cohort]) -> None:
    path = made[0] / "sub-01/ses-1p5Tv2/anat/sub-01_ses-1p5Tv2_desc-prepared_T1w.json"
    fields = json.loads(path.read_text())
    assert (fields["SessionLabel"], fields["Scanner"], fields["Visit"]) == ("1p5T-2", "1p5T", "2")
