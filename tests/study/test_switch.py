"""What a change of scanner costs: against statsmodels, and values derived on paper."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import NormalIndPower, TTestIndPower

from harmbench.results import CEILING, RESCAN, table
from harmbench.study.switch import (
    Trial,
    detectable_effect_percent,
    subjects_per_arm,
    switch_cost,
    switch_costs,
)


def test_the_default_effect() -> None:
    # A quarter of 0.5 % a year over two years.
    assert detectable_effect_percent() == pytest.approx(0.25)
    assert Trial().effect_percent == detectable_effect_percent()


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
    found = switch_cost([101, 198], [100, 200], stay_sd_percent=1.0)
    assert found.bias_percent == pytest.approx(0)
    assert found.sd_percent == pytest.approx(np.sqrt(2))
    assert found.smallest_change_percent == pytest.approx(1.96 * np.sqrt(2))
    assert found.ratio == pytest.approx(2)
    assert found.arm_stay == 252
    assert found.arm == 503


def test_each_visit_counts_and_the_interval_is_over_subjects() -> None:
    volumes, reference = [101.0, 103.0, 98.0, 99.0, 100.5, 99.5], [100.0] * 6
    found = switch_cost(volumes, reference, subjects=["a", "a", "b", "b", "c", "c"])
    apart = switch_cost(volumes, reference)
    assert (found.subjects, apart.subjects) == (3, 6)
    assert found.sd_percent == pytest.approx(np.std(volumes, ddof=1)) == apart.sd_percent
    # The same numbers as of a run's results with these visits.
    rows = run_with({"net": [value - 100 for value in volumes]})
    rows = rows.assign(subject=[*"aabbcc"], visit=["1", "2"] * 3)
    (run,) = switch_costs(rows).to_dict("records")
    assert (run["sd_low"], run["sd_high"]) == pytest.approx((found.sd_low, found.sd_high))
    assert (found.sd_low, found.sd_high) != (apart.sd_low, apart.sd_high)


def test_what_differs_between_people_counts_on_both_sides() -> None:
    trial = Trial(people_sd_percent=math.sqrt(3))
    found = switch_cost([101, 198], [100, 200], trial, stay_sd_percent=1.0)
    assert found.ratio == pytest.approx((3 + 2) / (3 + 1))


def test_a_switch_without_noise_costs_nothing() -> None:
    # A bias is the same in both arms.
    found = switch_cost([110, 220, 330], [100, 200, 300], stay_sd_percent=0.8)
    assert found.bias_percent == pytest.approx(10)
    assert found.sd_percent == pytest.approx(0, abs=1e-9)
    assert found.ratio == pytest.approx(1)


def test_a_switch_with_the_noise_of_a_rescan_costs_nothing() -> None:
    rescans = np.array([101.0, 99.5, 100.2, 98.9])
    sd = float(np.std(rescans, ddof=1))
    assert switch_cost(rescans, [100] * 4, stay_sd_percent=sd).ratio == pytest.approx(1)


def test_without_rescans_the_ratio_is_not_known() -> None:
    found = switch_cost([101, 99], [100, 100])
    assert math.isnan(found.ratio)
    assert math.isnan(found.arm_stay)
    assert found.arm > 0


def test_the_interval_of_the_sd_covers_it() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(40):
        found = switch_cost(100 + rng.standard_normal(40), np.full(40, 100.0))
        assert found.sd_low < found.sd_percent < found.sd_high
        covered += found.sd_low <= 1 <= found.sd_high
    assert covered >= 32


def test_bad_values_are_refused() -> None:
    for arguments, message in (
        (([1], [1]), "at least 2 subjects"),
        (([1, 2], [1, 0]), "above 0"),
        (([1, np.nan], [1, 1]), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            switch_cost(*arguments)
    with pytest.raises(ValueError, match="one for each of 3 visits, got 1 in 1"):
        switch_cost([1, 2, 3], [1, 1, 1], subjects=["a"])
    with pytest.raises(ValueError, match="stay_sd_percent"):
        switch_cost([1, 2], [1, 2], stay_sd_percent=-1)
    with pytest.raises(ValueError, match="people_sd_percent"):
        Trial(people_sd_percent=-1)
    with pytest.raises(ValueError, match="effect above 0"):
        Trial(effect_percent=0)
    with pytest.raises(ValueError, match="slowing"):
        detectable_effect_percent(slowing=0)


def run_with(values: dict[str, list[float]]) -> pd.DataFrame:
    return table(
        {
            "method": method,
            "direction": "A-to-B",
            "fold": 0,
            "seed": 0,
            "subject": f"s{number}",
            "group": "HC",
            "segmenter": "x",
            "metric": "relative_volume_difference",
            "tissue": "GM",
            "value": value,
            "unit": "%",
            "status": "ok",
        }
        for method, own in values.items()
        for number, value in enumerate(own)
    )


def test_the_costs_of_a_run() -> None:
    values = {
        "one": [2.0, -2.0, 2.0, -2.0],
        RESCAN: [1.0, -1.0, 1.0, -1.0],
        CEILING: [0.0] * 4,
        "few": [1.0],
    }
    found = switch_costs(run_with(values))
    assert list(found["method"]) == ["one"]
    row = found.iloc[0]
    assert row["ratio"] == pytest.approx(np.var([2, -2, 2, -2], ddof=1))
    # Differences of rescans have the mean 0: no degree of freedom is lost to it.
    assert row["stay_sd_percent"] == pytest.approx(1)
    assert (row["direction"], row["tissue"]) == ("A-to-B", "GM")


def test_rescans_in_both_orders_do_not_cancel() -> None:
    once = run_with({"one": [2, -2, 2, -2], RESCAN: [1, -1, 1, -1]})
    back = once.assign(visit="2", value=-once["value"])
    for frame in (once, pd.concat([once, back])):
        row = switch_costs(frame).iloc[0]
        assert row["stay_sd_percent"] == pytest.approx(1)
        assert row["subjects"] == 4


def test_a_run_without_volumes_has_no_costs() -> None:
    assert switch_costs(table([])).empty
    assert "ratio" in switch_costs(table([])).columns
