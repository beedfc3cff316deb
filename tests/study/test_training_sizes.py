"""Curves of errors against the number of training subjects, from results tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harmbench.metrics.suite import METRICS
from harmbench.results import BASELINE, RESCAN, table
from harmbench.study.training_sizes import RESCAN_FACTOR, size_curves, sized_errors
from harmbench.study.worth import CHOSEN

SIZES = (2, 4, 8, 16)


def rows(method: str, size: int, error, *, tissue: str = "GM", folds: int = 2) -> pd.DataFrame:
    """Volume differences of eight subjects in two folds: `error(subject)` in mm3."""
    found = table(
        {
            "method": method,
            "direction": "A-to-B",
            "fold": subject % folds,
            "seed": 0,
            "subject": f"s{subject}",
            "group": "HC",
            "segmenter": "hmrf",
            "metric": "volume_difference_mm3",
            "tissue": tissue,
            "value": error(subject),
            "unit": "mm3",
            "status": "ok",
        }
        for subject in range(8)
    )
    return found.assign(train_subjects=size)


def study(error, *others: pd.DataFrame) -> pd.DataFrame:
    learned = [rows("net", size, lambda s, n=size: error(n) + 10 * (s % 3 - 1)) for size in SIZES]
    return pd.concat([*learned, *others], ignore_index=True)


def test_the_number_of_pairs_is_where_the_curve_meets_the_other_error() -> None:
    # 1000 + 8000 / n falls below 2600 at n = 5; below 1.2 x 1500 = 1800 at n = 10.
    found = size_curves(
        study(
            lambda n: 1000 + 8000 / n,
            rows(BASELINE, 16, lambda s: 2600 + 10 * (s % 3 - 1)),
            rows(RESCAN, 16, lambda s: 1500 + 10 * (s % 3 - 1) / RESCAN_FACTOR),
        ),
        METRICS,
    )
    (curve,) = found
    assert (curve.method, curve.metric, curve.tissue, curve.subjects) == (
        "net",
        "volume_difference_mm3",
        "GM",
        8,
    )
    assert curve.sizes.tolist() == [2, 4, 8, 16]
    mean = np.mean([10 * (s % 3 - 1) for s in range(8)])
    np.testing.assert_allclose(curve.error, [1000 + 8000 / n + mean for n in SIZES])
    assert (curve.low < curve.error).all()
    assert (curve.error < curve.high).all()
    assert curve.curve.status == "ok"
    assert curve.needed[BASELINE].pairs == pytest.approx(5, rel=1e-2)
    assert curve.needed[RESCAN].pairs == pytest.approx(10, rel=1e-2)
    assert curve.limits[RESCAN] == pytest.approx(1800, rel=1e-2)
    assert curve.needed[CHOSEN] is None
    assert math.isnan(curve.limits[CHOSEN])


def test_the_chosen_correction_is_a_rival() -> None:
    corrections = pd.concat(
        [rows("ratio", 16, lambda s: 2000.0), rows("offset", 16, lambda s: 1.0)]
    )
    choices = {("A-to-B", fold, "GM"): "ratio" for fold in (0, 1)}
    (curve,) = size_curves(study(lambda n: 1000 + 8000 / n, corrections), METRICS, choices)
    # Training subjects chose the ratio: that the offset is better on test subjects does not count.
    assert curve.limits[CHOSEN] == pytest.approx(2000)
    assert curve.needed[CHOSEN].pairs == pytest.approx(8, rel=2e-2)


def test_seeds_and_signs_are_averaged_as_squares_and_folds_of_other_sizes_are_one_size() -> None:
    learned = study(lambda n: 100.0)
    again = learned.assign(seed=1, value=-learned["value"])
    both = pd.concat([learned, again])
    uneven = both.assign(
        train_subjects=both["train_subjects"].where(
            ~((both["train_subjects"] == 16) & (both["fold"] == 1)), 17
        )
    )
    errors = sized_errors(uneven, METRICS)
    assert sorted(set(errors["size"])) == [2, 4, 8, 16.5]
    assert (errors["error"] > 0).all()
    assert len(errors) == 4 * 8
    own = errors[(errors["subject"] == "s1") & (errors["size"] == 2)]
    assert own["error"].item() == pytest.approx(100)


def test_methods_with_one_size_and_real_scans_have_no_curve() -> None:
    alone = rows("other", 16, lambda s: 5.0)
    found = size_curves(study(lambda n: 100 / n, alone, rows(RESCAN, 16, lambda s: 1.0)), METRICS)
    assert [curve.method for curve in found] == ["net"]


def test_a_subject_without_a_value_at_some_size_does_not_count() -> None:
    whole = study(lambda n: 1000 / n)
    lost = (whole["subject"] == "s0") & (whole["train_subjects"] == 4)
    whole.loc[lost, "value"] = np.nan
    (curve,) = size_curves(whole, METRICS)
    assert curve.subjects == 7
