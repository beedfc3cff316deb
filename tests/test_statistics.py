"""Statistics: values derived on paper, agreement with SciPy, and what failures do to them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harmbench.metrics.base import Metric
from harmbench.results import table
from harmbench.statistics import (
    ALL,
    count_measurements,
    fold_statistics,
    intervals,
    paired_differences,
    rank_methods,
    subject_values,
    summarize,
)

NAN = float("nan")


def metric(name: str, better: str) -> Metric:
    return Metric(name, name, "1", -math.inf, math.inf, better, "image", "")  # type: ignore[arg-type]


METRICS = {
    name: metric(name, better)
    for name, better in {"mse": "lower", "dice": "higher", "bias": "zero", "volume": "none"}.items()
}


def rows(
    method: str,
    values: Iterable[float],
    *,
    name: str = "mse",
    folds: int = 2,
    seed: int = 0,
    statuses: Iterable[str] = (),
    direction: str = "a-to-b",
) -> list[dict[str, object]]:
    """Subjects s0, s1, ... in turn over folds and over the groups HC and MS."""
    listed = list(values)
    found = [*statuses] or ["ok" if math.isfinite(v) else "failed" for v in listed]
    return [
        {
            "method": method,
            "direction": direction,
            "fold": place % folds,
            "seed": seed,
            "subject": f"s{place}",
            "group": ("HC", "MS")[place % 2],
            "segmenter": "",
            "metric": name,
            "tissue": "",
            "value": value,
            "unit": "1",
            "status": found[place],
        }
        for place, value in enumerate(listed)
    ]


def only(frame: pd.DataFrame, **where: str) -> pd.Series:
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_fold_mean_weighs_folds_not_subjects() -> None:
    # Fold 0 holds 1, 3, 8 (mean 4), fold 1 holds 2, 4 (mean 3): mean 3.5, variance 0.5 (ddof 1).
    found = fold_statistics(table(rows("m", [1, 2, 3, 4, 8]))).iloc[0]
    assert found["fold_mean"] == pytest.approx(3.5)
    assert found["fold_variance"] == pytest.approx(0.5)
    assert found["fold_sd"] == pytest.approx(math.sqrt(0.5))
    assert found["folds"] == 2


def test_fold_variance_with_ddof_0_divides_by_the_number_of_folds() -> None:
    found = fold_statistics(table(rows("m", [1, 2, 3, 4, 8])), ddof=0).iloc[0]
    assert found["fold_variance"] == pytest.approx(0.25)


def test_one_fold_has_no_variance() -> None:
    found = fold_statistics(table(rows("m", [1, 2], folds=1))).iloc[0]
    assert found["fold_mean"] == 1.5
    assert math.isnan(found["fold_variance"])
    assert math.isnan(found["fold_sd"])


def test_seeds_are_averaged_within_a_subject() -> None:
    frame = table([*rows("m", [1, 5]), *rows("m", [3, NAN], seed=1)])
    assert subject_values(frame)["value"].tolist() == [2, 5]


def test_visits_of_a_subject_count_once() -> None:
    # s0 has two visits, 1 and 3, one of them with two seeds; s1 has one.
    listed = [
        {**rows("dm", [1])[0], "visit": "1", "seed": 0},
        {**rows("dm", [1])[0], "visit": "1", "seed": 1},
        {**rows("dm", [3])[0], "visit": "2"},
        {**rows("dm", [0, 8])[1], "visit": ""},
    ]
    assert subject_values(pd.DataFrame(listed))["value"].tolist() == [2, 8]


def test_a_fold_without_values_is_left_out_and_counted() -> None:
    frame = table(rows("m", [1, NAN, 3, NAN]))
    found = fold_statistics(frame).iloc[0]
    assert (found["fold_mean"], found["folds"]) == (2, 1)
    assert count_measurements(frame).iloc[0].to_dict() == {
        "n_ok": 2,
        "n_empty": 0,
        "n_undefined": 0,
        "n_failed": 2,
        "n_absent": 0,
    }


def test_every_status_is_counted_once() -> None:
    statuses = ["ok", "empty", "undefined", "failed", "segmentation_failed"]
    frame = table([*rows("m", [1, 2, NAN, NAN, NAN], statuses=statuses), *rows("other", range(7))])
    found = count_measurements(frame).xs("m", level="method").iloc[0]
    assert found.to_dict() == {
        "n_ok": 1,
        "n_empty": 1,
        "n_undefined": 1,
        "n_failed": 2,
        "n_absent": 2,
    }


def test_a_missing_value_with_status_ok_counts_as_failed() -> None:
    found = count_measurements(table(rows("m", [NAN], statuses=["ok"]))).iloc[0]
    assert (found["n_ok"], found["n_failed"]) == (0, 1)


def wide(*columns: Iterable[float]) -> pd.DataFrame:
    data = np.array([list(column) for column in columns], dtype=float).T
    return pd.DataFrame(data, index=[f"s{i:02d}" for i in range(len(data))])


def skewed(n: int = 25) -> list[float]:
    return [math.exp(2 * x) for x in np.random.default_rng(7).normal(size=n)]


def test_means_and_sds_are_those_of_the_subjects() -> None:
    sample = skewed()
    found = intervals(wide(sample)).iloc[0]
    assert found["n"] == 25
    assert found["mean"] == pytest.approx(statistics.fmean(sample))
    assert found["sd"] == pytest.approx(statistics.stdev(sample))


def test_intervals_of_symmetric_values_are_students() -> None:
    sample = [-4.0, -1.0, 0.0, 1.0, 4.0]
    found = intervals(wide(sample)).iloc[0]
    peer = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((peer.low, peer.high))


def test_an_interval_reaches_further_into_the_long_tail_and_never_less_than_students() -> None:
    sample = skewed()
    found = intervals(wide(sample)).iloc[0]
    peer = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert found["high"] > peer.high
    assert found["low"] == pytest.approx(peer.low)


def test_the_upper_bound_of_skewed_values_is_halls() -> None:
    # Hall (1992): the bound is where T + aT² + a²T³/3 + b, T = (mean - bound) / error, is -t(0.975).
    sample = np.array(skewed())
    n, error = len(sample), stats.sem(sample)
    skew = stats.skew(sample, bias=False) / math.sqrt(n)
    t = (sample.mean() - intervals(wide(skewed())).iloc[0]["high"]) / error
    a, b = skew / 3, skew / 6
    assert t + a * t**2 + a**2 * t**3 / 3 + b == pytest.approx(-stats.t.ppf(0.975, n - 1))


def test_equal_values_give_a_point_and_one_subject_no_interval() -> None:
    found = intervals(wide([0.3] * 5, [1, *[NAN] * 4], [NAN] * 5))
    assert found["low"].iloc[0] == found["high"].iloc[0] == pytest.approx(0.3, rel=1e-12)
    assert found["n"].tolist() == [5, 1, 0]
    assert found[["low", "high"]].iloc[1:].isna().all(axis=None)


def test_an_interval_does_not_depend_on_the_other_columns_or_the_row_order() -> None:
    sample = skewed(12)
    alone = intervals(wide(sample)).iloc[0]
    both = wide(sample, [NAN, *range(11)]).iloc[::-1]
    pd.testing.assert_series_equal(intervals(both).iloc[0], alone)


def test_intervals_scale_with_their_values() -> None:
    sample = np.array(skewed(12))
    one, other = (intervals(wide(part)).iloc[0] for part in (sample, 1e-6 * sample))
    assert other["low"] == pytest.approx(1e-6 * one["low"])
    assert other["high"] == pytest.approx(1e-6 * one["high"])


def test_a_constant_shift_has_a_certain_difference() -> None:
    base = skewed(10)
    frame = table([*rows("identity", base), *rows("dm", [v - 0.25 for v in base])])
    found = paired_differences(frame)
    assert list(found.index.get_level_values("method")) == ["dm"]
    row = found.iloc[0]
    assert row["n_pairs"] == 10
    for key in ("difference", "difference_low", "difference_high"):
        assert row[key] == pytest.approx(-0.25, abs=1e-9)


def test_differences_use_the_subjects_that_both_have() -> None:
    frame = table([*rows("identity", [1, 2, NAN, 4]), *rows("dm", [2, NAN, 9, 7])])
    row = paired_differences(frame).iloc[0]
    assert (row["n_pairs"], row["difference"]) == (2, 2)  # (2 - 1 + 7 - 4) / 2


def test_differences_of_signed_metrics_compare_magnitudes() -> None:
    frame = table([*rows("identity", [-5, -5], name="bias"), *rows("dm", [3, 3], name="bias")])
    assert paired_differences(frame)["difference"].iloc[0] == 8
    assert paired_differences(frame, magnitude=frozenset({"bias"}))["difference"].iloc[0] == -2


def test_without_a_baseline_there_are_no_differences() -> None:
    frame = table(rows("dm", [1, 2, 3]))
    assert paired_differences(frame).empty
    summary = summarize(frame, METRICS)
    assert summary["difference"].isna().all()
    assert summary["mean"].notna().all()


def test_ranks_follow_each_metrics_direction() -> None:
    values = {"a": 1.0, "b": -2.0, "c": 3.0}
    frame = table(
        [
            row
            for name in METRICS
            for method, value in values.items()
            for row in rows(method, [value, value], name=name)
        ]
    )
    summary = summarize(frame, METRICS)
    summary = summary[summary["group"] == ALL]
    ranks = {
        name: part.set_index("method")["rank"].to_dict() for name, part in summary.groupby("metric")
    }
    assert ranks["mse"] == {"b": 1, "a": 2, "c": 3}
    assert ranks["dice"] == {"c": 1, "a": 2, "b": 3}
    assert ranks["bias"] == {"a": 1, "b": 2, "c": 3}
    assert all(math.isnan(rank) for rank in ranks["volume"].values())


def test_ties_share_a_rank_and_the_ceiling_has_none() -> None:
    frame = table(
        [*rows("a", [1, 1]), *rows("b", [1, 1]), *rows("c", [2, 2]), *rows("target", [0, 0])]
    )
    summary = summarize(frame, METRICS)
    found = summary[summary["group"] == ALL].set_index("method")["rank"]
    assert (found["a"], found["b"], found["c"]) == (1, 1, 3)
    assert math.isnan(found["target"])


def test_a_method_that_failed_on_a_subject_is_not_ranked() -> None:
    frame = table([*rows("a", [1, 1, 9, 9]), *rows("b", [0.5, 0.5, NAN, NAN])])
    summary = summarize(frame, METRICS)
    one, other = (only(summary, group=ALL, method=m) for m in "ab")
    assert one["rank"] == 1
    assert math.isnan(other["rank"])
    assert not other["complete"]
    assert (other["fold_mean"], other["n"], other["n_failed"]) == (0.5, 2, 2)


def test_a_subject_that_failed_for_all_disqualifies_nobody() -> None:
    frame = table([*rows("a", [1, NAN, 9]), *rows("b", [2, NAN, 2]), *rows("target", [0, 0, 0])])
    summary = summarize(frame, METRICS)
    found = summary[(summary["group"] == ALL)].set_index("method")
    assert found.loc["b", "rank"] == 1
    assert found.loc["a", "rank"] == 2


def test_an_undeclared_metric_is_summarized_without_ranks() -> None:
    summary = summarize(table([*rows("a", [1], name="new"), *rows("b", [2], name="new")]), METRICS)
    assert summary["rank"].isna().all()
    assert summary["mean"].tolist() == [1, 2]


def test_groups_stand_beside_the_total() -> None:
    summary = summarize(table(rows("a", [1, 10, 3, 20])), METRICS)
    means = summary.set_index("group")["mean"].to_dict()
    assert means == {ALL: 8.5, "HC": 2, "MS": 15}
    alone = table([row for row in rows("a", [1, 10, 3]) if row["group"] == "HC"])
    assert summarize(alone, METRICS)["group"].tolist() == [ALL]


def test_rank_methods_needs_no_other_columns() -> None:
    frame = pd.DataFrame(
        {
            "group": ALL,
            "method": ["a", "b"],
            "direction": "x",
            "segmenter": "",
            "metric": "mse",
            "tissue": "",
            "fold_mean": [2.0, 1.0],
            "complete": True,
        }
    )
    assert rank_methods(frame, METRICS).tolist() == [2, 1]
