import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from medpy.metric import binary as medpy
from scipy import ndimage

from harmbench.errors import MetricError
from harmbench.metrics import overlap as o

BACKENDS = ("nearest", "medpy")
DISTANCES = (o.hd, o.hd95, o.assd)
SCANS = Path(__file__).parents[2].parent / "shared" / "reference" / "fast"


def box(*corners: tuple[int, int], shape: tuple[int, int, int] = (8, 8, 8)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*corner) for corner in corners)] = True
    return mask


def voxel(*index: int, shape: tuple[int, int, int] = (8, 8, 8)) -> np.ndarray:
    return box(*((i, i + 1) for i in index), shape=shape)


def uncropped_medpy(mask, reference, spacing_mm):
    return [f(mask, reference, voxelspacing=spacing_mm) for f in (medpy.hd, medpy.hd95, medpy.assd)]


def ours(mask, reference, spacing_mm, backend):
    found = o.surface_distances(mask, reference, spacing_mm=spacing_mm, backend=backend)
    return [found.hd_mm, found.hd95_mm, found.assd_mm]


@pytest.mark.parametrize("backend", BACKENDS)
class TestPaper:
    def test_a_cube_moved_by_two_voxels(self, backend):
        # Two 3x3x3 cubes sharing one layer. Of either surface (26 voxels: all but the centre) 9
        # voxels lie 3 mm from the other, 8 lie 1.5 mm and 9 lie on it: mean (27 + 12) / 26 = 1.5.
        here, there = box((0, 3), (1, 4), (1, 4)), box((2, 5), (1, 4), (1, 4))
        assert o.dice(here, there) == pytest.approx(1 / 3)
        found = o.surface_distances(here, there, spacing_mm=(1.5, 1, 1), backend=backend)
        assert found.hd_mm == pytest.approx(3)
        assert found.hd95_mm == pytest.approx(3)
        assert found.assd_mm == pytest.approx(1.5)

    def test_two_voxels_are_as_far_as_their_centres(self, backend):
        expected = math.sqrt((1 * 1.0) ** 2 + (2 * 2.0) ** 2 + (3 * 0.5) ** 2)
        for distance in DISTANCES:
            value = distance(
                voxel(1, 1, 1), voxel(2, 3, 4), spacing_mm=(1, 2, 0.5), backend=backend
            )
            assert value == pytest.approx(expected)

    def test_one_stray_voxel_decides_hd_but_not_hd95(self, backend):
        # 26 + 1 surface voxels against 26; the stray is 12 mm from the cube's far face at 2.
        cube = box((0, 3), (0, 3), (0, 3), shape=(20, 8, 8))
        stray = cube | voxel(14, 1, 1, shape=cube.shape)
        found = o.surface_distances(stray, cube, spacing_mm=(1, 1, 1), backend=backend)
        assert found.hd_mm == pytest.approx(12)
        assert found.hd95_mm == 0
        assert found.assd_mm == pytest.approx(12 / (27 + 26))

    def test_directed_distances_may_differ(self, backend):
        # Every voxel of the small mask lies on the large one; the reverse is 4 voxels off.
        small, large = voxel(0, 0, 0), box((0, 5), (0, 1), (0, 1))
        found = o.surface_distances(small, large, spacing_mm=(1, 1, 1), backend=backend)
        assert found.hd_mm == 4
        assert found.assd_mm == pytest.approx((0 + 0 + 1 + 2 + 3 + 4) / 6)


@pytest.mark.parametrize("backend", BACKENDS)
class TestEmptyMasks:
    EMPTY = np.zeros((3, 4, 12), bool)
    FULL = np.ones((3, 4, 12), bool)

    def test_nothing_agrees_with_nothing(self, backend):
        assert o.dice(self.EMPTY, self.EMPTY) == 1
        assert ours(self.EMPTY, self.EMPTY, (1, 1, 1), backend) == [0, 0, 0]

    def test_nothing_against_something_is_the_diagonal(self, backend):
        for one, other in ((self.EMPTY, self.FULL), (self.FULL, self.EMPTY)):
            assert o.dice(one, other) == 0
            assert ours(one, other, (1, 1, 1), backend) == [13, 13, 13]
            assert ours(one, other, (2, 2, 2), backend) == [26, 26, 26]

    def test_the_penalty_exceeds_every_real_distance(self, backend):
        corners = voxel(0, 0, 0, shape=(3, 4, 12)), voxel(2, 3, 11, shape=(3, 4, 12))
        assert ours(*corners, (1, 1, 1), backend)[0] < o.diagonal_mm((3, 4, 12), spacing_mm=[1] * 3)


BALL = np.linalg.norm(np.indices((15, 15, 15)) - 7, axis=0)
NAMED_CASES = {
    "one voxel each": (voxel(0, 0, 0), voxel(7, 7, 7)),
    "one voxel, same": (voxel(3, 4, 5), voxel(3, 4, 5)),
    "nested": (BALL < 3, BALL < 6),
    "hollow in solid": ((BALL < 6) & (BALL > 4), BALL < 6),
    "whole volume": (np.ones((5, 6, 7), bool), voxel(2, 3, 3, shape=(5, 6, 7))),
    "both touch a border": (box((0, 4), (2, 6), (2, 6)), box((0, 5), (3, 8), (2, 6))),
    "opposite borders": (box((0, 2), (0, 8), (0, 8)), box((6, 8), (0, 8), (0, 8))),
    "one slice": (box((3, 4), (0, 8), (0, 8)), box((4, 5), (2, 8), (0, 5))),
    "two pieces": (voxel(0, 0, 0) | voxel(7, 7, 0), box((2, 5), (2, 5), (2, 5))),
}


@pytest.mark.parametrize("backend", BACKENDS)
class TestPeer:
    @pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.72, 0.72, 3.0)])
    @pytest.mark.parametrize("case", NAMED_CASES)
    def test_named_cases(self, case, spacing_mm, backend):
        mask, reference = NAMED_CASES[case]
        expected = uncropped_medpy(mask, reference, spacing_mm)
        assert ours(mask, reference, spacing_mm, backend) == pytest.approx(expected, abs=1e-4)
        assert o.dice(mask, reference) == pytest.approx(medpy.dc(mask, reference))

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(
        seed=st.integers(0, 2**32 - 1),
        shape=st.tuples(*[st.integers(1, 9)] * 3),
        spacing_mm=st.tuples(*[st.floats(0.3, 4)] * 3),
        blur=st.sampled_from([0.0, 1.0, 2.0]),
        kind=st.sampled_from(["random", "nested", "one voxel", "touching the border"]),
    )
    def test_random_masks(self, backend, seed, shape, spacing_mm, blur, kind):
        noise = np.random.default_rng(seed).random((2, *shape))
        smooth = [ndimage.gaussian_filter(part, blur) for part in noise]
        mask, reference = (part >= np.quantile(part, 0.6) for part in smooth)
        if kind == "nested":
            reference = ndimage.binary_dilation(mask)
        elif kind == "one voxel":
            reference = smooth[1] == smooth[1].max()
        elif kind == "touching the border":
            mask[0], reference[:, -1] = True, True
        expected = uncropped_medpy(mask, reference, spacing_mm)
        assert ours(mask, reference, spacing_mm, backend) == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(
    not SCANS.is_dir(), reason="needs the segmentations in ../shared/reference/fast"
)
def test_real_segmentations():
    maps = [nib.load(SCANS / f"{name}_seg.nii.gz") for name in ("simulated", "mni152")]
    # A block of cortex and ventricles, cut through, so that tissues touch the border.
    labels = [np.asarray(one.dataobj)[60:120, 80:140, 80:130] for one in maps]
    for label in (1, 2, 3):
        mask, reference = (one == label for one in labels)
        expected = uncropped_medpy(mask, reference, (1.0, 1.2, 2.0))
        assert ours(mask, reference, (1.0, 1.2, 2.0), "nearest") == pytest.approx(
            expected, abs=1e-4
        )


class TestProperties:
    @settings(derandomize=True, deadline=None, max_examples=40)
    @given(data=st.data())
    def test_ranges_symmetry_and_order(self, data):
        shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))
        one, other = (data.draw(hnp.arrays(bool, shape)) for _ in "ab")
        spacing_mm = data.draw(st.tuples(*[st.floats(0.3, 4)] * 3))
        assert o.DICE.contains(o.dice(one, other))
        assert o.dice(one, other) == o.dice(other, one)
        there, back = (ours(*pair, spacing_mm, "nearest") for pair in ((one, other), (other, one)))
        assert there == pytest.approx(back)
        assert o.HD.contains(there[0])
        assert o.HD95.contains(there[1])
        assert o.ASSD.contains(there[2])
        assert there[0] >= there[1]
        assert there[0] >= there[2] - 1e-12

    def test_identical_masks_are_perfect(self):
        ball = BALL < 5
        assert o.dice(ball, ball) == 1
        assert ours(ball, ball, (1, 1, 1), "nearest") == [0, 0, 0]

    def test_a_mask_further_off_is_worse_in_the_declared_direction(self):
        reference = BALL < 4
        mild, bad = (np.roll(reference, step, axis=0) for step in (1, 3))
        assert o.DICE.better == "higher"
        assert o.dice(bad, reference) < o.dice(mild, reference) < 1
        assert {o.HD.better, o.HD95.better, o.ASSD.better} == {"lower"}
        near, far = (ours(mask, reference, (1, 1, 1), "nearest") for mask in (mild, bad))
        assert all(b > a > 0 for a, b in zip(near, far, strict=True))

    def test_distances_scale_with_the_spacing(self):
        masks = NAMED_CASES["two pieces"]
        once, twice = (ours(*masks, [1.3 * k, 0.7 * k, 2 * k], "nearest") for k in (1, 2))
        assert twice == pytest.approx([2 * value for value in once])

    def test_each_function_gives_its_part(self):
        masks = NAMED_CASES["nested"]
        expected = ours(*masks, (1, 2, 3), "nearest")
        assert [f(*masks, spacing_mm=(1, 2, 3)) for f in DISTANCES] == expected


class TestErrors:
    def test_an_unknown_backend_is_named_with_the_nearest(self):
        with pytest.raises(MetricError, match=r"unknown backend 'medpi'; did you mean 'medpy'"):
            o.hd(voxel(0, 0, 0), voxel(1, 1, 1), spacing_mm=(1, 1, 1), backend="medpi")  # type: ignore[arg-type]  # on purpose

    @pytest.mark.parametrize("distance", DISTANCES)
    def test_masks_and_spacing_must_fit(self, distance):
        with pytest.raises(MetricError, match=r"mask \(8, 8, 8\), reference \(8, 8, 7\)"):
            distance(voxel(0, 0, 0), voxel(0, 0, 0)[..., :7], spacing_mm=(1, 1, 1))
        with pytest.raises(MetricError, match="three positive lengths"):
            distance(voxel(0, 0, 0), voxel(0, 0, 0), spacing_mm=(1, 1))

    def test_a_label_map_is_not_a_mask(self):
        with pytest.raises(MetricError, match="mask has dtype uint8; a mask is bool"):
            o.dice(voxel(0, 0, 0).astype(np.uint8), voxel(0, 0, 0))
