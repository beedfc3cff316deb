"""The rescan floor: values derived on paper."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harmbench.metrics.declarations import METRICS
from harmbench.results import CEILING, RESCAN, table
from harmbench.study.rescan import error_of, floor_ratio, floor_ratios


def test_errors_are_distances_to_the_best_score() -> None:
    assert error_of(METRICS["mse"], [0.5, 0]) == pytest.approx([0.5, 0])
    assert error_of(METRICS["dice"], [1, 0.8]) == pytest.approx([0, 0.2])
    assert error_of(METRICS["nmi"], [2, 1.5]) == pytest.approx([0, 0.5])
    assert error_of(METRICS["relative_volume_difference"], [-3, 2]) == pytest.approx([3, 2])
    assert error_of(METRICS["psnr"], [30]) is None
    assert error_of(METRICS["volume_mm3"], [30]) is None


def test_the_ratio_on_paper() -> None:
    # RMS of 3, 4, 5 is sqrt(50 / 3), of 1, 1, 1 is 1.
    found = floor_ratio([3, 4, 5], [1, 1, 1])
    assert found.ratio == pytest.approx(math.sqrt(50 / 3))
    assert (found.method_rms, found.rescan_rms) == pytest.approx((math.sqrt(50 / 3), 1))
    assert found.low < found.ratio < found.high
    assert (found.low, found.high) == pytest.approx((3, 5))


def test_as_good_as_a_rescan() -> None:
    errors = [0.2, 0.5, 0.1]
    found = floor_ratio(errors, errors)
    assert (found.ratio, found.low, found.high) == pytest.approx((1, 1, 1))


def test_subjects_without_both_do_not_count() -> None:
    found = floor_ratio([2, np.nan, 2], [1, 1, np.nan])
    assert found.subjects == 1
    assert found.ratio == pytest.approx(2)
    assert math.isnan(found.low)
    assert floor_ratio([np.nan], [1]).subjects == 0


def test_rescans_without_an_error_give_no_ratio() -> None:
    assert math.isnan(floor_ratio([1, 2], [0, 0]).ratio)
    with pytest.raises(ValueError, match="one error a subject"):
        floor_ratio([1, 2], [1])


def rows(method: str, values: list[float], metric: str = "dice", tissue: str = "GM") -> list[dict]:
    common = {"method": method, "direction": "A-to-B", "fold": 0, "seed": 0, "group": "HC"}
    return [
        {
            **common,
            "subject": f"s{number}",
            "segmenter": "x",
            "metric": metric,
            "tissue": tissue,
            "value": value,
            "unit": "1",
            "status": "ok",
        }
        for number, value in enumerate(values)
    ]


def test_ratios_of_a_run() -> None:
    frame = table(
        [
            *rows("unet", [0.8, 0.6]),
            *rows(RESCAN, [0.9, 0.8]),
            *rows(CEILING, [1, 1]),
            *rows("unet", [30, 31], "psnr", ""),
            *rows(RESCAN, [33, 33], "psnr", ""),
        ]
    )
    found = floor_ratios(frame, METRICS)
    assert list(found["method"]) == ["unet"]
    assert found["ratio"][0] == pytest.approx(math.sqrt((0.04 + 0.16) / (0.01 + 0.04)))
    assert found["metric"][0] == "dice"


def test_a_run_without_rescans_has_no_ratios() -> None:
    found = floor_ratios(table(rows("unet", [0.8, 0.6])), METRICS)
    assert found.empty
    assert "ratio" in found.columns
    assert floor_ratios(table([]), METRICS).empty


def test_seeds_are_averaged_as_squares() -> None:
    twice = pd.concat(
        [
            table(rows("unet", [3.0, 4.0], "hd95")),
            table(rows("unet", [4.0, 3.0], "hd95")).assign(seed=1),
            table(rows(RESCAN, [1.0, 1.0], "hd95")),
        ]
    )
    assert floor_ratios(twice, METRICS)["method_rms"][0] == pytest.approx(math.sqrt(12.5))
