"""What a change of scanner costs: against statsmodels, and values derived on paper."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower, TTestIndPower

from harmbench.study.switch import detectable_effect_percent, subjects_per_arm, switch_cost


def test_the_default_effect() -> None:
    # A quarter of 0.5 % a year over two years.
    assert detectable_effect_percent() == pytest.approx(0.25)


@pytest.mark.parametrize(("sd", "effect"), [(0.5, 0.25), (1.7, 0.25), (2, 1.5)])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_sample_sizes_are_those_of_statsmodels(sd: float, effect: float, power: float) -> None:
    found = subjects_per_arm(sd, effect, power)
    peer = NormalIndPower().solve_power(effect / sd, alpha=0.05, power=power)
    assert found == pytest.approx(peer, rel=1e-4)
    # Student's t needs about z^2 / 4 subjects more.
    exact = TTestIndPower().solve_power(effect / sd, alpha=0.05, power=power)
    assert found <= exact <= found + 2


def test_the_cost_on_paper() -> None:
    # Errors of +1 % and -1 %: bias 0, SD sqrt(2).
    found = switch_cost([101, 198], [100, 200], effect_percent=0.25, own_sd_percent=1.0)
    assert found.bias_percent == pytest.approx(0)
    assert found.sd_percent == pytest.approx(np.sqrt(2))
    assert found.smallest_change_percent == pytest.approx(1.96 * np.sqrt(2))
    assert found.ratio == pytest.approx(3)
    assert found.subjects_per_arm_without == 252
    assert found.subjects_per_arm == 754


def test_a_switch_without_noise_costs_nothing() -> None:
    # A bias is the same in both arms.
    found = switch_cost([110, 220, 330], [100, 200, 300], effect_percent=0.25, own_sd_percent=0.8)
    assert found.bias_percent == pytest.approx(10)
    assert found.sd_percent == pytest.approx(0, abs=1e-9)
    assert found.ratio == pytest.approx(1)


def test_without_own_noise_the_ratio_is_not_known() -> None:
    assert switch_cost([101, 99], [100, 100], effect_percent=1, own_sd_percent=0).ratio == np.inf
    assert np.isnan(switch_cost([10, 20], [10, 20], effect_percent=1, own_sd_percent=0).ratio)


def test_bad_values_are_refused() -> None:
    for arguments, message in (
        (([1], [1]), "at least 2 subjects"),
        (([1, 2], [1, 0]), "above 0"),
        (([1, np.nan], [1, 1]), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            switch_cost(*arguments, effect_percent=1, own_sd_percent=1)
    with pytest.raises(ValueError, match="own_sd_percent"):
        switch_cost([1, 2], [1, 2], effect_percent=1, own_sd_percent=-1)
    with pytest.raises(ValueError, match="effect above 0"):
        subjects_per_arm(1, 0)
    with pytest.raises(ValueError, match="slowing"):
        detectable_effect_percent(slowing=0)
