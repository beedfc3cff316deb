"""From the results table to losses and regions of equivalence."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harmbench.metrics.base import Metric
from harmbench.metrics.declarations import DICE, MSE, RELATIVE_VOLUME_DIFFERENCE, STRIPE_INDEX
from harmbench.statistics.losses import make_losses


def frame(metric: Metric, values: dict[str, list[float]], tissue: str = "") -> pd.DataFrame:
    """One seed and visit; subjects in turn over two folds."""
    return pd.DataFrame(
        [
            {
                "method": method,
                "subject": f"s{place}",
                "fold": place % 2,
                "seed": 0,
                "visit": "",
                "metric": metric.name,
                "tissue": tissue,
                "value": value,
            }
            for method, listed in values.items()
            for place, value in enumerate(listed)
        ]
    )


@pytest.mark.parametrize(
    ("metric", "value", "loss", "region"),
    [(MSE, 0.2, 0.2, 0.02), (DICE, 0.8, -0.8, 0.02), (RELATIVE_VOLUME_DIFFERENCE, -5.0, 5.0, 0.5)],
)
def test_losses_and_regions_by_direction(metric, value, loss, region) -> None:
    found, subjects = make_losses(
        frame(metric, {"identity": [value, value]}), [(metric, "")], ["identity"], "identity", 0.1
    )
    assert subjects == ("s0", "s1")
    assert found.array[0, :, 0] == pytest.approx([loss, loss])
    assert found.region[0] == pytest.approx([region, region])
    assert found.folds.tolist() == [0, 1]


def test_signed_errors_of_two_seeds_do_not_cancel() -> None:
    rows = frame(RELATIVE_VOLUME_DIFFERENCE, {"dm": [-5.0, 1.0]})
    again = rows.assign(seed=1, value=-rows["value"])
    found, _ = make_losses(
        pd.concat([rows, again]), [(RELATIVE_VOLUME_DIFFERENCE, "")], ["dm"], "identity", 0.1
    )
    assert found.array[0, :, 0].tolist() == [5, 1]
    assert np.isnan(found.region).all()  # no original, no region


def test_visits_of_a_subject_count_once() -> None:
    rows = frame(MSE, {"dm": [2.0, 1.0]})
    again = rows.assign(visit="2", value=[4.0, 1.0])
    seeds = rows.assign(seed=1)
    found, _ = make_losses(pd.concat([rows, seeds, again]), [(MSE, "")], ["dm"], "identity", 0.1)
    assert found.array[0, :, 0].tolist() == [3, 1]


def test_what_was_not_measured_is_missing() -> None:
    rows = frame(MSE, {"identity": [1, math.nan], "dm": [2, 3]})
    measures = [(MSE, ""), (STRIPE_INDEX, "")]
    found, _ = make_losses(rows, measures, ["dm", "identity", "gone"], "identity", 0.1)
    assert np.isnan(found.array[1]).all()
    assert found.array[0, 0].tolist()[:2] == [2, 1]
    assert np.isnan(found.array[0, 1, 1])
    assert np.isnan(found.array[0, :, 2]).all()


def test_different_folds_of_one_subject_put_all_in_one() -> None:
    rows = frame(MSE, {"identity": [1, 2], "dm": [2, 3]})
    rows.loc[rows["method"] == "dm", "fold"] = 0
    found, _ = make_losses(rows, [(MSE, "")], ["dm", "identity"], "identity", 0.1)
    assert found.folds.tolist() == [0, 0]
