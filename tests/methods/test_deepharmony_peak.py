"""The white matter peak on mixtures whose modes are known."""

import numpy as np
import pytest

from harmbench.methods.deepharmony.peak import AlignedPairs, white_matter_peak
from harmbench.task import Pair
from harmbench.volume import Volume


def brain(parts, spread=0.04, seed=0):
    """A (64, 32, 16) block of tissue, half of it background: (mode, share) of each tissue."""
    random = np.random.default_rng(seed)
    count = 64 * 32 * 8
    values = [random.normal(mode, spread, round(share * count)) for mode, share in parts]
    data = np.zeros(64 * 32 * 16, dtype=np.float32)
    data[: sum(map(len, values))] = np.clip(np.concatenate(values), 0.001, None)
    return data.reshape(64, 32, 16)


CSF, GM, WM = (0.2, 0.15), (0.5, 0.5), (0.75, 0.35)


def test_it_is_the_mode_of_white_matter_though_grey_matter_is_more():
    assert white_matter_peak(brain([CSF, GM, WM])) == pytest.approx(0.75, abs=0.02)


def test_it_is_found_where_grey_matter_leaves_but_a_shoulder():
    data = brain([CSF, (0.6, 0.55), (0.75, 0.3)], spread=0.065)
    # The density rises all the way from 0.75 down to the mode of grey matter.
    counts, edges = np.histogram(data[data > 0], bins=12, range=(0.45, 0.9))
    assert (np.diff(counts[edges[:-1] > 0.6]) < 0).all()
    assert white_matter_peak(data) == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize("factor", [0.01, 0.6, 300])
def test_it_scales_with_the_intensities(factor):
    data = brain([CSF, GM, WM])
    expected = factor * white_matter_peak(data)
    assert white_matter_peak(data * np.float32(factor)) == pytest.approx(expected, rel=1e-3)


def test_a_few_bright_voxels_are_no_peak():
    clean = white_matter_peak(brain([CSF, GM, WM]))
    vessels = brain([CSF, GM, (0.75, 0.33), (1.4, 0.02)])
    assert white_matter_peak(vessels) == pytest.approx(clean, abs=0.03)


def test_clipped_voxels_are_no_peak():
    data = np.minimum(brain([CSF, GM, (0.75, 0.25), (1.2, 0.1)]), 1)
    assert white_matter_peak(data) == pytest.approx(0.75, abs=0.02)


def test_small_and_simple_volumes_have_a_peak():
    assert white_matter_peak(np.zeros((4, 4, 4))) == 1
    assert white_matter_peak(np.full((4, 4, 4), 0.3)) == pytest.approx(0.3)
    two = np.full((4, 4, 4), 0.3)
    two[0] = 0.6
    assert 0 < white_matter_peak(two) <= 0.6
    assert white_matter_peak(brain([(0.4, 1.0)])) == pytest.approx(0.4, abs=0.02)


def test_both_scans_of_a_pair_are_aligned_and_the_targets_are_remembered():
    def pair(number, target_wm):
        source = Volume(brain([CSF, GM, WM], seed=number), np.eye(4))
        target = Volume(brain([CSF, GM, (target_wm, 0.35)], seed=10 + number), np.eye(4))
        return Pair(f"sub-{number}", "HC", source, target)

    originals = [pair(0, 0.7), pair(1, 0.8), pair(2, 0.9)]
    pairs = AlignedPairs(originals)
    assert len(pairs) == 3
    for original, aligned in zip(originals, pairs, strict=True):
        assert white_matter_peak(aligned.source.data) == pytest.approx(1, rel=1e-3)
        assert white_matter_peak(aligned.target.data) == pytest.approx(1, rel=1e-3)
        step = aligned.source.history[-1]
        np.testing.assert_allclose(
            aligned.source.data * step.parameters["peak"], original.source.data, rtol=1e-5
        )
    assert pairs.target_peak == pytest.approx(0.8, abs=0.02)
    assert [p.subject for p in pairs[1:]] == ["sub-1", "sub-2"]
