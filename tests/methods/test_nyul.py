"""Nyul & Udupa's standard scale, learned from targets."""

import sys

import numpy as np
import pytest

pytest.importorskip("intensity_normalization")

from harmbench.contract import check_method, tiny_pairs
from harmbench.discovery import load_method, make_settings, usable_methods
from harmbench.errors import ConfigError, MethodError, TrainingError, UnavailableError
from harmbench.methods.nyul import Nyul, NyulSettings
from harmbench.task import Pair
from harmbench.volume import Volume


def line(values):
    """A volume of 10 x 10 x 12 voxels: two empty planes, then values."""
    data = np.zeros((10, 10, 12), dtype=np.float32)
    data[..., 2:] = np.reshape(values, (10, 10, 10))
    return Volume(data, np.eye(4))


RISING = np.linspace(0.1, 0.5, 1000)


def test_it_holds_the_contract():
    assert [check for check in check_method(Nyul) if not check.passed] == []


def test_a_linear_change_of_intensities_is_undone(task):
    pair = Pair("a", "HC", line(RISING), line(1.5 * RISING + 0.1))
    method = Nyul()
    method.fit([pair], task())
    result = method.harmonize(pair.source, task())
    np.testing.assert_allclose(result.data, pair.target.data, atol=1e-6)
    assert (result.data[..., :2] == 0).all()
    assert result.history[-1].parameters == {"landmarks": 11, "clipped": 0.0}


def test_landmarks_are_averaged_over_the_targets_and_linear_between(task):
    # Percentiles p of the targets are 0.2 + 0.4 p and 0.6 p^2; those of the source 0.1 + 0.4 p.
    share = np.linspace(0, 1, 1000)
    targets = [line(0.2 + 0.4 * share), line(np.maximum(0.6 * share**2, 1e-6))]
    source = line(0.1 + 0.4 * share)
    pairs = [Pair(name, "HC", source, target) for name, target in zip("ab", targets, strict=True)]
    method = Nyul(NyulSettings(step=25, lowest=0, highest=100))
    method.fit(pairs, task())
    landmarks = np.array([0, 0.25, 0.5, 0.75, 1])
    # Each target's scale is stretched to the mean of the ends: 0.1 and 0.6.
    scales = [0.1 + 0.5 * landmarks, 0.1 + 0.5 * landmarks**2]
    expected = np.interp(share, landmarks, np.mean(scales, axis=0))
    result = method.harmonize(source, task())
    np.testing.assert_allclose(result.data[..., 2:].ravel(), expected, atol=1e-3)


def test_values_beyond_the_landmarks_are_extrapolated_and_clipped(task):
    pair = Pair("a", "HC", line(RISING), line(2 * RISING - 0.1))
    method = Nyul()
    method.fit([pair], task())
    bright = line(np.append(RISING[:-1], 0.9))
    result = method.harmonize(bright, task())
    assert result.data.max() == 1
    assert result.history[-1].parameters["clipped"] == pytest.approx(0.001)


def test_scans_that_have_no_scale_are_refused(task):
    flat = line(np.full(1000, 0.5))
    with pytest.raises(MethodError, match="nyul: Min and max percentiles are equal"):
        Nyul().fit([Pair("a", "HC", flat, flat)], task())
    with pytest.raises(TrainingError, match="target of a: no voxel is above 0"):
        Nyul().fit([Pair("a", "HC", flat, line(np.zeros(1000)))], task())
    with pytest.raises(TrainingError, match="no training subject"):
        Nyul().fit([], task())
    method = Nyul()
    method.fit([Pair("a", "HC", flat, line(RISING))], task())
    with pytest.raises(MethodError, match="many of them are the same"):
        method.harmonize(flat, task())
    assert not method.harmonize(line(np.zeros(1000)), task()).data.any()


def test_what_was_not_learned_or_saved_is_said(tmp_path, task):
    with pytest.raises(MethodError, match="harmonize was called before fit or load"):
        Nyul().harmonize(line(RISING), task())
    with pytest.raises(MethodError, match="save was called before fit or load"):
        Nyul().save(tmp_path)
    with pytest.raises(MethodError, match="not a saved standard scale"):
        Nyul.load(tmp_path)


@pytest.mark.parametrize("values", [{"step": 5, "lowest": 6}, {"step": 10, "highest": 80}])
def test_landmarks_have_to_rise(values):
    with pytest.raises(ConfigError, match=r"step .* must be above"):
        make_settings(Nyul, values, "nyul")


def test_without_the_library_the_extra_is_named(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("intensity_normalization")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "intensity_normalization", None)
    ours = ("harmbench.methods._normalization", "harmbench.methods.nyul")
    for name in [n for n in sys.modules if n.startswith(ours)]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        UnavailableError, match=r"'nyul' .*pip install 'harmbench\[normalization\]'"
    ):
        load_method("nyul")
    assert "nyul" not in usable_methods()
    assert "histogram_matching" in usable_methods()


def test_it_comes_nearer_to_the_target(task, mse):
    *train, held_out = tiny_pairs(4)
    method = Nyul()
    method.fit(train, task())
    result = method.harmonize(held_out.source, task())
    assert mse(result, held_out.target) < 0.3 * mse(held_out.source, held_out.target)
