"""Change that a method keeps, erases or invents: three frauds are found out."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harmbench.study.changes import (
    NO_SWITCH,
    RATIO_CAP,
    change_line,
    change_lines,
    sample_size_ratio,
)

TRUE = np.array([0.0, -0.5, -1.0, -2.0])
SUBJECTS = 30


def visits(slope: float, offset: float, noise: float, seed: int = 0) -> pd.DataFrame:
    """Measured changes of subjects with four follow-up visits each."""
    rng = np.random.default_rng(seed)
    first = noise * rng.standard_normal((SUBJECTS, 1))
    each = noise * rng.standard_normal((SUBJECTS, TRUE.size))
    measured = offset + slope * TRUE[None] + first + each
    return pd.DataFrame(
        {
            "subject": np.repeat([f"s{i:02d}" for i in range(SUBJECTS)], TRUE.size),
            "true_percent": np.tile(TRUE, SUBJECTS),
            "measured_percent": measured.ravel(),
        }
    )


def line_of(frame: pd.DataFrame):
    return change_line(frame["subject"], frame["true_percent"], frame["measured_percent"])


def test_the_line_is_that_of_numpy() -> None:
    frame = visits(0.9, 0.3, 0.5)
    found = line_of(frame)
    slope, offset = np.polyfit(frame["true_percent"], frame["measured_percent"], 1)
    assert (found.slope, found.offset) == pytest.approx((slope, offset))
    rest = frame["measured_percent"] - slope * frame["true_percent"] - offset
    assert found.residual_sd == pytest.approx(math.sqrt((rest**2).sum() / (len(frame) - 2)))
    assert (found.subjects, found.visits) == (SUBJECTS, SUBJECTS * 4)


def test_without_noise_the_line_is_exact() -> None:
    found = line_of(visits(0.8, -0.1, 0.0))
    assert (found.slope, found.slope_low, found.slope_high) == pytest.approx((0.8, 0.8, 0.8))
    assert (found.offset, found.residual_sd) == pytest.approx((-0.1, 0), abs=1e-6)


def test_intervals_cover_the_truth() -> None:
    covered = np.zeros(2)
    for seed in range(40):
        found = line_of(visits(0.7, 0.5, 0.4, seed))
        covered += [
            found.slope_low <= 0.7 <= found.slope_high,
            found.offset_low <= 0.5 <= found.offset_high,
        ]
    assert (covered >= 33).all()


def test_change_that_is_shrunk_away_is_found_out() -> None:
    # The volume is scaled back to what it was: nothing is left of the change.
    found = line_of(visits(0.0, 0.0, 0.3))
    assert found.slope == pytest.approx(0, abs=0.1)
    assert not found.sees_change


def test_a_copy_of_a_training_subject_is_found_out() -> None:
    # The volume of one training subject, whoever was scanned, whatever the change.
    rng = np.random.default_rng(1)
    own = 700 + 50 * rng.standard_normal(SUBJECTS)
    frame = visits(0.0, 0.0, 0.0)
    frame["measured_percent"] = np.repeat(100 * (720 - own) / own, TRUE.size)
    found = line_of(frame)
    assert found.slope == pytest.approx(0, abs=1e-9)
    assert not found.sees_change
    assert found.residual_sd == pytest.approx(100 * 50 / 700, rel=0.3)


def test_an_added_constant_is_found_out() -> None:
    found = line_of(visits(1.0, 2.0, 0.2))
    assert found.offset_low <= 2 <= found.offset_high
    assert found.offset_low > 1
    assert found.slope == pytest.approx(1, abs=0.1)


def test_the_ratio_on_paper() -> None:
    stay, keeps = line_of(visits(1, 0, 0.1)), line_of(visits(0.5, 0, 0.1))
    # Half the slope at the same noise: four times the subjects.
    assert sample_size_ratio(keeps, stay) == pytest.approx(4, rel=0.15)
    assert sample_size_ratio(stay, stay) == pytest.approx(1)


def test_ratios_are_capped_or_undefined() -> None:
    stay = line_of(visits(1, 0, 0.01))
    assert sample_size_ratio(line_of(visits(1, 0, 0.5)), stay) == RATIO_CAP
    assert math.isnan(sample_size_ratio(line_of(visits(0, 0, 0.3)), stay))
    assert math.isnan(sample_size_ratio(line_of(visits(-1, 0, 0.01)), stay))


def named(frame: pd.DataFrame, method: str) -> pd.DataFrame:
    return frame.assign(method=method, direction="A-to-B", segmenter="x", tissue="GM", visit="fu")


def test_lines_of_several_methods() -> None:
    lost = named(visits(1, 0, 0.1), "lost").assign(measured_percent=np.nan)
    frame = pd.concat(
        [
            named(visits(0.5, 0, 0.1), "half"),
            named(visits(1, 0, 0.1), NO_SWITCH),
            lost,
        ]
    )
    frame.iloc[0, frame.columns.get_loc("measured_percent")] = np.nan
    found = change_lines(frame).set_index("method")
    assert found["ratio"]["half"] == pytest.approx(4, rel=0.15)
    assert found["ratio"][NO_SWITCH] == pytest.approx(1)
    assert found["missing"]["half"] == 1
    assert found["missing"]["lost"] == len(lost)
    assert math.isnan(found["slope"]["lost"])


@pytest.mark.parametrize(
    ("subjects", "true", "measured", "message"),
    [
        (["a", "b"], [0, 1, 2], [0, 1, 2], "shapes differ"),
        (["a", "b", "b"], [0, 1, np.nan], [0, 1, 2], "finite"),
        (["a", "a", "a"], [0, 1, 2], [0, 1, 2], "two subjects"),
        (["a", "b", "b"], [1, 1, 1], [0, 1, 2], "differ"),
    ],
)
def test_bad_values_are_refused(
    subjects: list[str], true: list[float], measured: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        change_line(subjects, true, measured)
