"""Change per year between dated visits, on paper."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harmbench.study.annual import VISIT_COLUMNS, annual_changes, years_between


def _visits(*rows: tuple[str, float, str, float, str]) -> pd.DataFrame:
    """Subject, volume and date, and the same of the target scanner, of one method's GM."""
    place = ("net", "A-to-B", "x", "GM")
    return pd.DataFrame([(*place, *row) for row in rows], columns=list(VISIT_COLUMNS))


def test_years_are_of_365_and_a_quarter_days() -> None:
    assert years_between("2020-01-01", "2024-01-01") == pytest.approx(4)
    assert years_between("2020-01-01T06:00:00", "2019-01-01T00:00:00+02:00") < 0
    assert years_between("2020-01-01", "") is None


def test_one_subject_on_paper() -> None:
    # 1000 to 980.1 ml in two years is 1 % a year, compounded; the visit between them does not count.
    found = annual_changes(
        _visits(
            ("s1", 980100, "2022-01-01", 995, "2022-01-01"),
            ("s1", 1000000, "2020-01-01", 1000, "2020-01-01"),
            ("s1", 5, "2021-01-01", math.nan, "2021-01-01"),
        )
    )
    (row,) = found.to_dict("records")
    years = 731 / 365.25
    assert row["subjects"] == row["target_subjects"] == 1
    assert row["years"] == pytest.approx(years)
    assert row["percent_per_year"] == pytest.approx(100 * (0.9801 ** (1 / years) - 1))
    assert row["target_percent_per_year"] == pytest.approx(100 * (0.995 ** (1 / years) - 1))
    assert row["difference"] == pytest.approx(
        row["percent_per_year"] - row["target_percent_per_year"]
    )
    assert math.isnan(row["low"])


def test_the_difference_is_over_the_period_that_both_have() -> None:
    # 2 % a year on both scanners in 2020; the method's third visit has no scan on the target scanner.
    dates = ("2020-01-01", "2021-01-01", "2022-01-01")
    volumes = (1000.0, 980.0, 700.0)
    rows = [("s1", v, d, v, d) for v, d in zip(volumes[:2], dates[:2], strict=True)]
    later = ("s1", volumes[2], dates[2], math.nan, "")
    (row,) = annual_changes(_visits(*rows, later)).to_dict("records")
    assert row["difference"] == pytest.approx(0)
    assert row["target_percent_per_year"] == pytest.approx(-2, abs=0.01)
    assert row["percent_per_year"] < -10
    # The other way round: the target scanner's last visit has no date on the source scanner.
    later = ("s1", volumes[2], "", volumes[2], dates[2])
    (row,) = annual_changes(_visits(*rows, later)).to_dict("records")
    assert row["difference"] == pytest.approx(0)
    assert row["target_percent_per_year"] == pytest.approx(row["percent_per_year"])


def test_visits_without_dates_or_too_close_do_not_count() -> None:
    found = annual_changes(
        _visits(
            ("s1", 100, "2020-01-01", 100, "2020-01-01"),
            ("s1", 99, "2020-02-01", 99, "2020-02-01"),
            ("s2", 100, "", 100, ""),
            ("s2", 99, "2022-01-01", 99, "2022-01-01"),
            ("s3", 0, "2020-01-01", 100, "2020-01-01"),
            ("s3", 99, "2022-01-01", 99, "2022-01-01"),
        )
    )
    assert found.empty


def test_intervals_are_over_subjects() -> None:
    rows = []
    for number, rate in enumerate((-1.0, -2.0, -3.0, -2.0)):
        first = 100.0 + number
        last = first * (1 + rate / 100) ** (731 / 365.25)
        for date, volume in (("2020-01-01", first), ("2022-01-01", last)):
            rows.append((f"s{number}", volume, date, math.nan, ""))
    (row,) = annual_changes(_visits(*rows)).to_dict("records")
    assert row["percent_per_year"] == pytest.approx(-2)
    assert row["low"] < -2 < row["high"]
    assert row["target_subjects"] == 0
    assert np.isnan(row["difference"])
