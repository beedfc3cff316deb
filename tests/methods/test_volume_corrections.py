"""Corrections of tissue volumes: values derived on paper, peers, and no leakage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.odr import ODR, Model, RealData

from harmbench.errors import MethodError
from harmbench.methods.volume_combat import VolumeCombat
from harmbench.methods.volume_linear import VolumeLinear, VolumeLinearSettings, deming
from harmbench.methods.volume_offset import VolumeOffset
from harmbench.methods.volume_ratio import VolumeRatio
from harmbench.volume_correction import VolumeCorrection

ALL = [VolumeOffset, VolumeRatio, VolumeLinear, VolumeCombat]


def _pairs(subjects: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True volumes of three tissues, measured on two scanners with errors of their own."""
    random = np.random.default_rng(seed)
    true = random.normal([3e5, 6e5, 5e5], [4e4, 5e4, 4e4], (subjects, 3))
    source = true + random.normal(0, 3e3, true.shape)
    target = 1.2 * true - 4e3 + random.normal(0, 3e3, true.shape)
    return source, target


def test_an_offset_on_paper() -> None:
    method = VolumeOffset()
    # Differences are 2, 4, 6 in the first tissue and -1, -1, -4 in the second.
    method.fit(
        np.array([[10.0, 9.0], [20.0, 8.0], [30.0, 7.0]]),
        np.array([[12.0, 8.0], [24.0, 7.0], [36.0, 3.0]]),
    )
    np.testing.assert_allclose(method.correct(np.array([[40.0, 1.0]])), [[44.0, 0.0]])


def test_a_ratio_on_paper() -> None:
    method = VolumeRatio()
    # 12 + 24 + 45 to 10 + 20 + 30, not the mean of three ratios.
    method.fit(np.array([[10.0], [20.0], [30.0]]), np.array([[12.0], [24.0], [45.0]]))
    np.testing.assert_allclose(method.correct(np.array([[50.0]])), [[50.0 * 81 / 60]])


def test_a_line_on_paper() -> None:
    # Through (0, 1), (1, 3), (2, 5): no error at all.
    slope, intercept = deming(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    assert (slope, intercept) == pytest.approx((2, 1))
    # Sxx 2, Syy 2, Sxy 1: equal errors give the diagonal.
    slope, _ = deming(np.array([-1.0, 0.0, 1.0]), np.array([-1.0, 1.0, 0.0]))
    assert slope == pytest.approx(1)
    # Without correlation, the mean difference.
    assert deming(np.array([0.0, 1, 2]), np.array([7.0, 7, 7])) == (1.0, 6.0)


@pytest.mark.parametrize("error_ratio", [0.5, 1.0, 2.0])
def test_a_line_is_that_of_orthogonal_distance_regression(error_ratio: float) -> None:
    source, target = _pairs()
    for x, y in zip(source.T / 1e5, target.T / 1e5, strict=True):
        data = RealData(x, y, sx=np.ones_like(x), sy=np.full_like(y, np.sqrt(error_ratio)))
        peer = ODR(data, Model(lambda beta, x: beta[0] * x + beta[1]), beta0=[1.0, 0.0]).run().beta
        np.testing.assert_allclose(deming(x, y, error_ratio), peer, rtol=1e-5, atol=1e-5)


def test_a_line_does_not_shrink_where_least_squares_does() -> None:
    random = np.random.default_rng(1)
    true = random.normal(0, 1, 20000)
    x, y = true + random.normal(0, 0.7, true.size), true + random.normal(0, 0.7, true.size)
    assert stats.linregress(x, y).slope < 0.75
    assert deming(x, y)[0] == pytest.approx(1, abs=0.03)


def test_combat_to_a_reference_leaves_the_source_like_it() -> None:
    source, target = _pairs(200)
    method = VolumeCombat()
    method.fit(source, target)
    corrected = method.correct(source)
    np.testing.assert_allclose(corrected.mean(axis=0), target.mean(axis=0), rtol=2e-3)
    np.testing.assert_allclose(corrected.std(axis=0), target.std(axis=0), rtol=2e-2)


def test_combat_is_the_library_s() -> None:
    from combatlearn import ComBat

    source, target = _pairs(30)
    batch = pd.Series(["a"] * 30 + ["b"] * 30)
    ages = list(np.random.default_rng(2).uniform(20, 70, 30))
    peer = ComBat(
        batch,
        continuous_covariates=pd.DataFrame({"age": ages * 2}),
        method="fortin",
        reference_batch="b",
    ).fit_transform(np.concatenate([source, target]))
    method = VolumeCombat()
    method.fit(source, target, {"age": ages})
    np.testing.assert_allclose(method.correct(source, {"age": ages}), np.asarray(peer)[:30])


@pytest.mark.parametrize("kind", ALL)
def test_errors_of_a_known_change_of_scanner_become_small(kind: type[VolumeCorrection]) -> None:
    source, target = _pairs(40)
    method = kind()
    method.fit(source[:30], target[:30])
    before = np.abs(source[30:] - target[30:]).mean(axis=0)
    after = np.abs(method.correct(source[30:]) - target[30:]).mean(axis=0)
    assert (after < 0.5 * before).all()


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.1, 10))
def test_a_test_subject_s_other_scan_changes_nothing(
    kind: type[VolumeCorrection], seed: int, factor: float
) -> None:
    source, target = _pairs(12, seed)
    found = []
    for scale in (1.0, factor):
        own = target.copy()
        own[8:] *= scale
        method = kind()
        method.fit(source[:8], own[:8])
        found.append(method.correct(source[8:]))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("kind", ALL)
def test_each_subject_is_corrected_alone(kind: type[VolumeCorrection]) -> None:
    source, target = _pairs(12)
    method = kind()
    method.fit(source[:8], target[:8])
    alone = np.concatenate([method.correct(source[i : i + 1]) for i in range(8, 12)])
    np.testing.assert_allclose(method.correct(source[8:]), alone, rtol=1e-12)


@pytest.mark.parametrize("kind", ALL)
def test_bad_volumes_are_refused(kind: type[VolumeCorrection]) -> None:
    source, target = _pairs(6)
    method = kind()
    with pytest.raises(MethodError, match="before fit"):
        method.correct(source)
    for one, two, message in (
        (source[0], target, r"expected the shape \(subjects, tissues\), got \(3,\)"),
        (source, target[:, :2], "target volumes: expected 3 tissues, got 2"),
        (source, target[:4], "6 subjects with source volumes and 4 with target volumes"),
        (np.where(source > 0, np.nan, 0), target, "source volumes: volumes must be finite"),
        (-source, target, "must be finite and not below 0"),
    ):
        with pytest.raises(MethodError, match=message):
            method.fit(one, two)
    if kind.least_subjects > 1:
        with pytest.raises(MethodError, match=r"2 training subjects, expected at least 3"):
            method.fit(source[:2], target[:2])


def test_settings_reach_the_line() -> None:
    source, target = _pairs()
    lines = []
    for ratio in (0.01, 100.0):
        method = VolumeLinear(VolumeLinearSettings(error_ratio=ratio))
        method.fit(source, target)
        lines.append(method.correct(source))
    assert not np.allclose(lines[0], lines[1])


def _combat(source: np.ndarray, target: np.ndarray, axis: int) -> np.ndarray:
    """ComBat to a reference scanner, written from Johnson et al. 2007.

    Args:
        source, target: shape (subjects, tissues).
        axis: over which the priors are taken: 0 scanners, for each tissue; 1 tissues, for each scanner.
    """
    n, mean = len(source), target.mean(axis=0)
    sd = np.sqrt(((target - mean) ** 2).mean(axis=0))
    scaled = [(one - mean) / sd for one in (source, target)]
    gamma = np.array([one.mean(axis=0) for one in scaled])
    delta = np.array([one.var(axis=0, ddof=1) for one in scaled])
    kept = {"axis": axis, "keepdims": True}
    middle, width = gamma.mean(**kept), gamma.var(ddof=1, **kept)
    share = delta.mean(**kept) ** 2 / delta.var(ddof=1, **kept) + 2
    scale = delta.mean(**kept) * (share - 1)
    shift, spread = gamma, delta
    for _ in range(500):
        shift = (width * n * gamma + spread * middle) / (width * n + spread)
        squares = (n - 1) * delta + n * (gamma - shift) ** 2
        spread = (squares / 2 + scale) / (n / 2 + share - 1)
    return np.asarray((scaled[0] - shift[0]) / np.sqrt(spread[0]) * sd + mean)


@pytest.mark.parametrize("subjects", [6, 12, 40])
def test_combat_is_an_empirical_bayes_estimate_with_priors_over_scanners(subjects: int) -> None:
    source, target = _pairs(subjects)
    method = VolumeCombat()
    method.fit(source, target)
    found = method.correct(source)
    # The library stops where steps are below 1e-4 of the values.
    np.testing.assert_allclose(found, _combat(source, target, 0), rtol=1e-3)
    # The published priors are over tissues: with three of them, another estimate.
    published = _combat(source, target, 1)
    assert np.abs(found - published).max() > 1e-3 * published.mean()


def _people(subjects: int) -> dict[str, list[float | str]]:
    random = np.random.default_rng(3)
    ages: list[float | str] = [float(age) for age in random.uniform(20, 70, subjects)]
    return {"age": ages, "sex": [("f", "m")[i % 2] for i in range(subjects)]}


def test_combat_keeps_categories_of_a_subject_that_is_corrected_alone() -> None:
    from combatlearn import ComBat

    source, target = _pairs(30)
    people = _people(30)
    peer = ComBat(
        pd.Series(["a"] * 30 + ["b"] * 30),
        continuous_covariates=pd.DataFrame({"age": people["age"] * 2}),
        discrete_covariates=pd.DataFrame({"sex": people["sex"] * 2}),
        method="fortin",
        reference_batch="b",
    ).fit_transform(np.concatenate([source, target]))
    method = VolumeCombat()
    method.fit(source, target, people)
    together = method.correct(source, people)
    np.testing.assert_allclose(together, np.asarray(peer)[:30])
    for i in (0, 1):
        alone = method.correct(source[[i]], {name: [own[i]] for name, own in people.items()})
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-12)


def test_combat_needs_a_subject_for_each_column_of_covariates() -> None:
    source, target = _pairs(12)
    people = _people(12)
    assert VolumeCombat.subjects_needed() == 3
    assert VolumeCombat.subjects_needed(people) == 5
    assert VolumeCombat.subjects_needed({"site": ["a", "b", "c"], "age": [1.0, 2.0, 3.0]}) == 6
    # Four subjects have eight scans: those are not eight subjects.
    few = {name: own[:4] for name, own in people.items()}
    with pytest.raises(MethodError, match="4 training subjects, expected at least 5 with age, sex"):
        VolumeCombat().fit(source[:4], target[:4], few)
    VolumeCombat().fit(source[:5], target[:5], {name: own[:5] for name, own in people.items()})


def test_combat_refuses_covariates_that_it_cannot_use() -> None:
    source, target = _pairs(12)
    people = _people(12)
    method = VolumeCombat()
    with pytest.raises(MethodError, match="cannot tell again=m, age, sex=m apart"):
        method.fit(source, target, {**people, "again": people["sex"]})
    with pytest.raises(
        MethodError, match="3 training subjects, expected at least 7 with age, c, d, sex=m"
    ):
        few = {name: own[:3] for name, own in people.items()} | {"c": [1.0, 2.0, 9.0]}
        method.fit(source[:3], target[:3], {**few, "d": [3.0, 1.0, 2.0]})
    with pytest.raises(MethodError, match="11 values of age for 12 subjects"):
        method.fit(source, target, {"age": people["age"][:11]})
    method.fit(source, target, people)
    with pytest.raises(MethodError, match="fitted with the covariates age, sex, called with age"):
        method.correct(source, {"age": people["age"]})
    with pytest.raises(MethodError, match="sex 'x' is unknown, fitted with f, m"):
        method.correct(source[:1], {"age": [40.0], "sex": ["x"]})


@pytest.mark.parametrize("kind", [VolumeOffset, VolumeRatio, VolumeLinear])
def test_covariates_change_nothing_where_both_scans_are_of_one_person(
    kind: type[VolumeCorrection],
) -> None:
    source, target = _pairs(12)
    found = []
    for people in (None, _people(12)):
        method = kind()
        method.fit(source, target, people)
        found.append(method.correct(source, people))
    np.testing.assert_array_equal(found[0], found[1])
