"""A simulated pair through registration, resampling, scaling and cropping, step by step."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from harmbench.arrays import bounding_box
from harmbench.errors import ConfigError, PreparationError
from harmbench.preparation.align import prepare_scans, restore
from harmbench.preparation.bias import bias_field
from harmbench.preparation.register import halfway
from harmbench.preparation.scan import clean_scan
from harmbench.preparation.settings import BiasSettings
from harmbench.preparation.strip import make_stripper
from harmbench.storage import read_json
from harmbench.volume import Volume, read


def _truth(raw_cohort, scans):
    """True rigid transform of the first person, from 3 T to 1.5 T, in RAS millimetres."""
    path = scans["3T"].path
    record = path.with_name(path.name.replace("_T1w.nii.gz", "_desc-truth_transforms.json"))
    return np.array(read_json(record)["SessionToOther"]["1.5T"])


def _gap_mm(one, other, volume):
    """Mean distance between where two transforms send the corners and the centre of a volume."""
    corners = np.array(np.meshgrid(*[(0, n / 2, n) for n in volume.shape])).reshape(3, -1)
    points = volume.affine @ np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm(((one - other) @ points)[:3], axis=0).mean())


@pytest.fixture(scope="module")
def prepared(clean, tmp_path_factory, quick):
    return prepare_scans(clean, "3T", quick(), tmp_path_factory.mktemp("work"))


def _correlation(one, other):
    both = (one.data > 0) & (other.data > 0)
    return np.corrcoef(one.data[both], other.data[both])[0, 1]


def test_registration_finds_the_true_motion(clean, scans, raw_cohort, prepared):
    truth = _truth(raw_cohort, scans)
    scan = clean["3T"].raw
    assert _gap_mm(np.eye(4), truth, scan) > 4
    # A quarter of a voxel.
    assert _gap_mm(prepared["1.5T"].alignment.linear, truth, scan) < 1


def test_both_sessions_lie_on_one_grid_in_range(prepared):
    one, two = prepared["1.5T"].volume, prepared["3T"].volume
    assert one.same_grid(two)
    assert one.shape == (48, 60, 56)
    for session in prepared.values():
        data, brain = session.volume.data, session.brain
        assert data.min() == 0
        assert data.max() == 1
        assert not data[~brain].any()
    assert _correlation(one, two) > _correlation(prepared["1.5T"].before, two) + 0.2
    assert prepared["3T"].alignment is None
    assert prepared["1.5T"].alignment.jacobian == pytest.approx((1, 1), abs=1e-4)


def test_a_bias_field_put_on_is_found(clean):
    scan = clean["3T"]
    x, y, z = (np.linspace(-1, 1, n) for n in scan.raw.shape)
    field = np.exp(0.3 * x[:, None, None] + 0.2 * y[None, :, None] ** 2 - 0.2 * z[None, None, :])
    settings = BiasSettings(shrink_factor=2)
    before = bias_field(scan.raw, scan.brain, settings)
    after = bias_field(scan.raw.with_data(scan.raw.data * field), scan.brain, settings)
    inside = scan.brain
    assert np.corrcoef((after / before)[inside], field[inside])[0, 1] > 0.95
    assert after[inside].mean() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("session", ["1.5T", "3T"])
def test_the_field_comes_nearer_to_the_true_one_than_with_a_fourth_resolution(
    clean, scans, session
):
    scan, path = clean[session], scans[session].path
    truth = read(path.with_name(path.name.replace("T1w", "desc-truth_biasfield"))).data

    def correlation(**settings):
        found = bias_field(scan.raw, scan.brain, BiasSettings(shrink_factor=2, **settings))
        return np.corrcoef(found[scan.brain], truth[scan.brain])[0, 1]

    assert correlation() > 0.3
    assert correlation() > correlation(iterations=(50, 50, 50, 50)) + 0.1


@pytest.mark.parametrize("session", ["1.5T", "3T"])
def test_what_is_left_of_the_true_field_is_less_than_where_iterations_go_on(clean, scans, session):
    scan, path = clean[session], scans[session].path
    truth = read(path.with_name(path.name.replace("T1w", "desc-truth_biasfield"))).data

    def left(**settings):
        found = bias_field(scan.raw, scan.brain, BiasSettings(shrink_factor=2, **settings))
        ratio = (found / truth)[scan.brain]
        return ratio.std() / ratio.mean()

    assert left() < 0.9 * left(tolerance=1e-7)


def test_the_field_around_the_brain_continues_that_of_its_box(clean):
    scan = clean["3T"]
    field = bias_field(scan.raw, scan.brain, BiasSettings(shrink_factor=2))
    x, y, z = bounding_box(scan.brain, margin=2)
    assert x.start > 0
    assert np.array_equal(field[0, y, z], field[x.start, y, z])
    assert np.array_equal(field[x, y, -1], field[x, y, z.stop - 1])
    inside = field[x, y, z]
    assert (field.min(), field.max()) == (inside.min(), inside.max())
    # What lies beyond the box has no part in it.
    around = scan.raw.data.copy()
    around[: x.start] *= 3
    other = bias_field(scan.raw.with_data(around), scan.brain, BiasSettings(shrink_factor=2))
    assert np.array_equal(other, field)


def test_a_brain_of_too_few_voxels_for_the_shrink_factor_has_no_field(clean):
    scan = clean["3T"]
    mask = np.zeros_like(scan.brain)
    with pytest.raises(PreparationError, match="mask of the brain is empty"):
        bias_field(scan.raw, mask, BiasSettings())
    x, y, z = (n // 2 for n in mask.shape)
    mask[x - 4 : x + 4, y - 4 : y + 4, z] = True
    with pytest.raises(PreparationError, match=r"choose a smaller bias\.shrink_factor"):
        bias_field(scan.raw, mask, BiasSettings(shrink_factor=4))


def test_a_linear_registration_ends_earlier_where_all_voxels_are_fine(clean, quick, tmp_path):
    def of_1_mm(scan):
        """The same arrays as if their voxels had a fourth of the size."""
        affine = scan.raw.affine @ np.diag([0.25, 0.25, 0.25, 1])
        raw, corrected = (replace(one, affine=affine) for one in (scan.raw, scan.corrected))
        return replace(scan, raw=raw, corrected=corrected)

    fine = {name: of_1_mm(scan) for name, scan in clean.items()}
    coarse_moving = {**fine, "1.5T": clean["1.5T"]}
    with patch(
        "harmbench.preparation.align.register", side_effect=PreparationError("seen")
    ) as seen:
        for scans, spacing, expected in (
            (fine, 1, True),
            (fine, 2, False),
            (coarse_moving, 1, False),
        ):
            with pytest.raises(PreparationError, match="seen"):
                prepare_scans(scans, "3T", quick(spacing_mm=spacing), tmp_path)
            assert seen.call_args.kwargs["fine"] is expected


def test_a_switched_off_bias_correction_changes_nothing(clean):
    scan = clean["3T"]
    field = bias_field(scan.raw, scan.brain, BiasSettings(method="none"))
    assert np.all(field == 1)


def test_rescaling_off_leaves_scanner_units(clean, prepared, tmp_path, quick):
    found = prepare_scans(clean, "3T", quick(normalize__method="none"), tmp_path)["3T"]
    scaled = prepared["3T"]
    low, high = scaled.limits
    assert found.limits is None
    assert np.array_equal(found.brain, scaled.brain)
    expected = np.clip((found.volume.data - low) / (high - low), 0, 1) * found.brain
    np.testing.assert_allclose(expected, scaled.volume.data, atol=1e-6)


def test_cropping_off_keeps_the_reference_scans_field_of_view(clean, prepared, tmp_path, quick):
    found = prepare_scans(clean, "3T", quick(crop__shape=None), tmp_path)
    whole, cropped = found["3T"], prepared["3T"]
    assert whole.volume.shape == clean["3T"].raw.shape
    assert np.count_nonzero(whole.brain) == np.count_nonzero(cropped.brain)
    values = np.sort(whole.volume.data[whole.brain])
    np.testing.assert_allclose(values, np.sort(cropped.volume.data[cropped.brain]), atol=1e-5)


def test_registration_off_trusts_the_headers(clean, prepared, tmp_path, quick):
    found = prepare_scans(clean, "3T", quick(registration__transform="none"), tmp_path)
    assert np.array_equal(found["1.5T"].alignment.linear, np.eye(4))
    # The grid may be placed otherwise; on either, the reference session is the same.
    values = np.sort(found["3T"].volume.data[found["3T"].brain])
    expected = np.sort(prepared["3T"].volume.data[prepared["3T"].brain])
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_own_voxels_are_kept_where_asked_for(clean, tmp_path, quick):
    settings = quick(spacing_mm=None, crop__shape=None)
    found = prepare_scans({"3T": clean["3T"]}, "3T", settings, tmp_path)["3T"]
    raw = clean["3T"].raw
    assert found.volume.same_grid(raw)
    assert found.limits is not None
    low, high = found.limits
    expected = np.clip((clean["3T"].corrected.data - low) / (high - low), 0, 1)
    np.testing.assert_allclose(found.volume.data, expected * clean["3T"].brain, atol=1e-6)


def test_files_keep_the_scans_axis_order_where_asked_for(clean, prepared, tmp_path, quick):
    found = prepare_scans({"3T": clean["3T"]}, "3T", quick(orientation="scan"), tmp_path)["3T"]
    assert found.volume.space is not None
    assert found.volume.space.shape == (60, 56, 48), "P, S, R, as the simulated scanner stores it"
    assert prepared["3T"].volume.space is None


def test_halfway_moves_both_sessions_by_the_same_amount(clean, tmp_path, quick):
    found = prepare_scans(clean, "3T", quick(registration__space="halfway"), tmp_path)
    first = found["3T"].chain.links[0]
    assert isinstance(first, np.ndarray)
    forth = np.linalg.inv(first)
    whole = found["1.5T"].alignment.linear
    np.testing.assert_allclose(forth @ forth, whole, atol=1e-8)
    composed = np.eye(4)
    for link in found["1.5T"].chain.links:
        composed = link @ composed
    np.testing.assert_allclose(composed, forth, atol=1e-8)
    assert _correlation(found["1.5T"].volume, found["3T"].volume) > 0.8


def test_half_of_a_transform_is_its_square_root(quick):
    angle = np.deg2rad(30)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = 3, -8, 2
    half = halfway(matrix)
    assert np.rad2deg(np.arctan2(half[1, 0], half[0, 0])) == pytest.approx(15)
    np.testing.assert_allclose(half @ half, matrix, atol=1e-12)
    with pytest.raises(PreparationError, match="too far apart"):
        halfway(np.diag([-1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(ConfigError, match="halfway needs spacing_mm"):
        quick(spacing_mm=None, registration__space="halfway")


def test_deformable_registration_goes_beyond_the_linear(clean, raw_cohort, tmp_path, quick):
    settings = quick(registration__transform="deformable")
    # Two people: linear transforms cannot do it.
    other = clean_scan(raw_cohort.scans["sub-02", "3T"], make_stripper(settings.strip), settings)
    pair = {"3T": clean["3T"], "1.5T": other}
    found = prepare_scans(pair, "3T", settings, tmp_path)["1.5T"]
    reference = prepare_scans(pair, "3T", settings, tmp_path)["3T"]
    assert found.alignment.warp.is_file()
    low, high = found.alignment.jacobian
    assert 0 < low < 1 < high
    linear = _correlation(found.linear, reference.volume)
    assert _correlation(found.volume, reference.volume) > linear + 0.02


def test_sessions_far_apart_are_refused(clean, tmp_path, quick):
    away = clean["1.5T"].raw.affine.copy()
    away[:3, 3] += 500

    def moved(volume):
        return Volume(volume.data, away)

    from dataclasses import replace

    scan = clean["1.5T"]
    scan = replace(scan, raw=moved(scan.raw), corrected=moved(scan.corrected))
    with pytest.raises(PreparationError, match=r"session 1\.5T does not lie on the reference"):
        prepare_scans(
            {"1.5T": scan, "3T": clean["3T"]}, "3T", quick(registration__transform="none"), tmp_path
        )


def test_preparing_and_restoring_gives_the_scan_back(clean, tmp_path, quick):
    scan = clean["3T"]
    prepared = prepare_scans({"3T": scan}, "3T", quick(), tmp_path)["3T"]
    back = restore(prepared.volume, scan, prepared, units="scan")
    assert back.space is scan.raw.space
    assert back.same_grid(scan.raw)
    assert prepared.limits is not None
    low, high = prepared.limits
    inside = scan.brain & (scan.corrected.data > low) & (scan.corrected.data < high)
    error = np.abs(back.data - scan.raw.data)[inside]
    # 4 mm scans on a 4 mm grid along their own axes: only the edge of the brain is interpolated.
    assert np.median(error) < 1e-3 * scan.raw.data.max()
    assert not back.data[~scan.brain].any()
