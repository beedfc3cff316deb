"""Agreement of two measurements of the same subjects, in the terms of the field.

Values of both measurements are in one unit, one value for each subject.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = [
    "BlandAltman",
    "Interval",
    "annualized_percent_change",
    "bland_altman",
    "coefficient_of_variation",
    "concordance",
    "icc",
]

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Agreement after Bland & Altman (Statistical Methods in Medical Research 1999).

    Attributes:
        bias: mean difference, second minus first, in the unit of the values.
        limits: bias -+ 1.96 SD of the differences, same unit.
        slope: change of the difference per unit of the mean of both: proportional bias.
        slope_p: p-value of a slope of 0.
    """

    bias: Interval
    limits: tuple[float, float]
    slope: Interval
    slope_p: float


def icc(values: ArrayLike, level: float = 0.95) -> tuple[Interval, Interval]:
    """Intraclass correlations of single measurements (McGraw & Wong, Psychological Methods 1996).

    Two-way model: subjects in rows, measurements in columns.

    Args:
        values: shape (subjects, measurements), at least 3 subjects and 2 measurements.
        level: confidence level of the intervals.

    Returns:
        ICC(A,1), which counts a difference of the means as disagreement, and ICC(C,1), which does
        not. NaN where all values are equal.

    Raises:
        ValueError: too few subjects or measurements, or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 3 or array.shape[1] < 2:
        raise ValueError(
            f"expected the shape (subjects, measurements), at least (3, 2), got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError("values must be finite")
    n, k = array.shape
    rows, columns, grand = array.mean(axis=1), array.mean(axis=0), array.mean()
    ms_rows = k * float(((rows - grand) ** 2).sum()) / (n - 1)
    ms_columns = n * float(((columns - grand) ** 2).sum()) / (k - 1)
    residual = array - rows[:, None] - columns[None, :] + grand
    ms_error = float((residual**2).sum()) / ((n - 1) * (k - 1))
    tail = 1 - (1 - level) / 2
    return (
        _icc_agreement(n, k, ms_rows, ms_columns, ms_error, tail),
        _icc_consistency(n, k, ms_rows, ms_error, tail),
    )


def _icc_consistency(n: int, k: int, rows: float, error: float, tail: float) -> Interval:
    if rows + (k - 1) * error == 0:
        return Interval(np.nan, np.nan, np.nan)
    value = (rows - error) / (rows + (k - 1) * error)
    if error == 0:
        return Interval(value, value, value)
    f = rows / error
    low = f / stats.f.ppf(tail, n - 1, (n - 1) * (k - 1))
    high = f * stats.f.ppf(tail, (n - 1) * (k - 1), n - 1)
    return Interval(value, float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1)))


def _icc_agreement(
    n: int, k: int, rows: float, columns: float, error: float, tail: float
) -> Interval:
    whole = rows + (k - 1) * error + k * (columns - error) / n
    if whole <= 0:
        return Interval(np.nan, np.nan, np.nan)
    value = (rows - error) / whole
    if error == 0 and columns == 0:
        return Interval(value, value, value)
    if value >= 1 or rows == 0:
        return Interval(value, np.nan, np.nan)
    # Satterthwaite's degrees of freedom of the denominator (McGraw & Wong 1996, Table 7).
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    freedom = (a * columns + b * error) ** 2 / (
        (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    )
    above, below = stats.f.ppf(tail, n - 1, freedom), stats.f.ppf(tail, freedom, n - 1)
    other = k * columns + (k * n - k - n) * error
    low = n * (rows - above * error) / (above * other + n * rows)
    high = n * (below * rows - error) / (other + n * below * rows)
    return Interval(value, float(low), float(high))


def concordance(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Interval:
    """Concordance correlation coefficient (Lin, Biometrics 1989; corrected 2000), from -1 to 1.

    The interval is computed by Fisher's z transformation.

    Args:
        first, second: shape (subjects,), at least 3 subjects.
        level: confidence level of the interval.

    Returns:
        The coefficient; NaN where one measurement is constant.

    Raises:
        ValueError: fewer than 3 subjects, other shapes, or a value that is not finite.
    """
    x, y = _pair(first, second, least=3)
    sx, sy = float(x.std()), float(y.std())
    if sx == 0 or sy == 0:
        return Interval(np.nan, np.nan, np.nan)
    r = float(((x - x.mean()) * (y - y.mean())).mean()) / (sx * sy)
    shift = (float(x.mean()) - float(y.mean())) ** 2 / (sx * sy)
    value = 2 * r * sx * sy / (sx**2 + sy**2 + shift * sx * sy)
    if abs(value) >= 1 - 1e-12 or abs(r) < 1e-12:
        return Interval(
            value, value if abs(value) > 0.5 else np.nan, value if abs(value) > 0.5 else np.nan
        )
    n, c = x.size, value
    spread = (
        (1 - r**2) * c**2 / ((1 - c**2) * r**2)
        + 2 * c**3 * (1 - c) * shift / (r * (1 - c**2) ** 2)
        - c**4 * shift**2 / (2 * r**2 * (1 - c**2) ** 2)
    ) / (n - 2)
    half = stats.norm.ppf(1 - (1 - level) / 2) * np.sqrt(max(spread, 0.0))
    z = np.arctanh(c)
    return Interval(value, float(np.tanh(z - half)), float(np.tanh(z + half)))


def coefficient_of_variation(first: ArrayLike, second: ArrayLike) -> float:
    """Within-subject coefficient of variation, as a share of the mean: root mean square over subjects.

    Args:
        first, second: positive values, shape (subjects,).

    Raises:
        ValueError: no subject, other shapes, or a value that is not finite or not above 0.
    """
    x, y = _pair(first, second, least=1)
    if (x <= 0).any() or (y <= 0).any():
        raise ValueError("a coefficient of variation needs values above 0")
    # Of two values, the variance is half the squared difference (Bland & Altman, BMJ 1996).
    return float(np.sqrt(np.mean(((x - y) ** 2 / 2) / ((x + y) / 2) ** 2)))


def bland_altman(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> BlandAltman:
    """Bias, limits of agreement, and proportional bias of two measurements.

    Args:
        first, second: shape (subjects,).
        level: confidence level of the intervals.

    Returns:
        The agreement; NaN for limits and intervals of fewer than 2 subjects, and for a slope of fewer
        than 3.

    Raises:
        ValueError: no subject, other shapes, or a value that is not finite.
    """
    x, y = _pair(first, second, least=1)
    difference, mean = y - x, (x + y) / 2
    n, bias = x.size, float(difference.mean())
    if n < 2:
        none = Interval(np.nan, np.nan, np.nan)
        return BlandAltman(replace(none, value=bias), (np.nan, np.nan), none, np.nan)
    sd = float(difference.std(ddof=1))
    half = float(stats.t.ppf(1 - (1 - level) / 2, n - 1)) * sd / np.sqrt(n)
    slope, p = Interval(np.nan, np.nan, np.nan), np.nan
    if n > 2 and np.ptp(mean) > 0:
        line = stats.linregress(mean, difference)
        width = float(stats.t.ppf(1 - (1 - level) / 2, n - 2)) * float(line.stderr)
        slope = Interval(float(line.slope), line.slope - width, line.slope + width)
        p = float(line.pvalue)
    limits = (bias - 1.96 * sd, bias + 1.96 * sd)
    return BlandAltman(Interval(bias, bias - half, bias + half), limits, slope, p)


def _pair(first: ArrayLike, second: ArrayLike, least: int) -> tuple[Values, Values]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"expected two arrays of shape (subjects,), got {x.shape} and {y.shape}")
    if x.size < least:
        raise ValueError(f"{x.size} subjects, expected at least {least}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("values must be finite")
    return x, y


def annualized_percent_change(first: ArrayLike, second: ArrayLike, years: ArrayLike) -> Values:
    """Change per year in percent of the first volume, compounded: 100 ((second / first)^(1 / years) - 1).

    Args:
        first, second: volumes at the two visits, shape (subjects,), above 0.
        years: time between the visits, same shape, not 0; negative where the second visit came first.

    Raises:
        ValueError: shapes differ, or a value that is not finite or out of range.
    """
    x, y = _pair(first, second, least=1)
    time = np.asarray(years, dtype=np.float64)
    if time.shape != x.shape or not np.isfinite(time).all() or (time == 0).any():
        raise ValueError("years: expected one finite number other than 0 for each subject")
    if (x <= 0).any() or (y <= 0).any():
        raise ValueError("a percent change needs volumes above 0")
    return np.asarray(100 * ((y / x) ** (1 / time) - 1))
