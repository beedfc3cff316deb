"""Normalization by the white stripe, to the stripes of the targets."""

import numpy as np
import pytest

pytest.importorskip("intensity_normalization")

from harmbench.contract import check_method
from harmbench.errors import MethodError
from harmbench.methods.whitestripe import WhiteStripe, WhiteStripeSettings
from harmbench.task import Pair
from harmbench.volume import Volume


def brain(seed=0, scale=1.0, shift=0.0):
    """Voxels of two tissues at 0.3 and 0.6, with a little noise, then scaled and shifted."""
    random = np.random.default_rng(seed)
    data = np.zeros((12, 12, 12), dtype=np.float32)
    tissue = random.choice([0.3, 0.6], size=(12, 12, 10))
    data[..., 2:] = scale * (tissue + 0.02 * random.standard_normal(tissue.shape)) + shift
    return Volume(data, np.eye(4))


def test_it_holds_the_contract():
    assert [check for check in check_method(WhiteStripe) if not check.passed] == []


def test_a_linear_change_of_intensities_is_undone(task):
    pair = Pair("a", "HC", brain(), brain(scale=0.8, shift=0.2))
    method = WhiteStripe()
    method.fit([pair], task())
    result = method.harmonize(pair.source, task())
    np.testing.assert_allclose(result.data, pair.target.data, atol=1e-5)
    assert (result.data[..., :2] == 0).all()


def test_the_stripe_lies_at_the_white_matter_peak_of_the_contrast(task):
    pair = Pair("a", "HC", brain(), brain(seed=1))
    for modality, peak in {"t1": 0.6, "pd": 0.3}.items():
        method = WhiteStripe(WhiteStripeSettings(modality=modality, width=0.1))
        method.fit([pair], task())
        parameters = method.harmonize(pair.source, task()).history[-1].parameters
        for stripe in (parameters["own"], parameters["wanted"]):
            assert stripe["mean"] == pytest.approx(peak, abs=0.02)
            assert 0 < stripe["sd"] < 0.02


def test_stripes_are_averaged_over_the_targets(task):
    source = brain()
    pairs = [Pair("a", "HC", source, brain(shift=shift)) for shift in (0.0, 0.2)]
    method = WhiteStripe()
    method.fit(pairs, task())
    result = method.harmonize(source, task())
    inside = source.data > 0
    np.testing.assert_allclose(result.data[inside], source.data[inside] + 0.1, atol=1e-5)


def test_scans_without_a_stripe_are_refused(tmp_path, task):
    flat = Volume(np.full((6, 6, 6), 0.5, dtype=np.float32), np.eye(4))
    with pytest.raises(MethodError, match="whitestripe: WhiteStripe fitting failed"):
        WhiteStripe().fit([Pair("a", "HC", flat, flat)], task())
    with pytest.raises(MethodError, match="harmonize was called before fit or load"):
        WhiteStripe().harmonize(flat, task())
    with pytest.raises(MethodError, match="not a saved white stripe"):
        WhiteStripe.load(tmp_path)
    method = WhiteStripe()
    method.fit([Pair("a", "HC", brain(), brain())], task())
    empty = flat.with_data(np.zeros_like(flat.data))
    assert not method.harmonize(empty, task()).data.any()
