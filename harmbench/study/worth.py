"""Is a network worth it for volumes? Each image method against the best volume correction.

Which correction is the best one is decided on training subjects alone, for each fold and tissue. Its
errors on the fold's test subjects are what image methods are compared with, subject by subject.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from harmbench.metrics.declarations import VOLUME_DIFFERENCE
from harmbench.results import merge
from harmbench.statistics import paired_differences, subject_values

__all__ = ["CHOSEN", "Choices", "InnerErrors", "choose", "with_chosen", "worth"]

CHOSEN = "best volume correction"
"""Name of the volume correction that training subjects choose, as a method of a results table."""

InnerErrors = Mapping[tuple[str, str, int], Mapping[str, float]]
"""(correction, direction, fold) to its error by tissue on training subjects, see `study.choice`."""

Choices = Mapping[tuple[str, int, str], str]
"""(direction, fold, tissue) to the correction that training subjects choose."""

_COLUMNS = ["n_pairs", "error_mm3", "correction_mm3", "difference_mm3", "low_mm3", "high_mm3"]


def choose(inner: InnerErrors) -> Choices:
    """Choose the correction with the smallest error on training subjects.

    Of equal errors, that of the first name in the alphabet. A correction without an error is not
    chosen.
    """
    best: dict[tuple[str, int, str], tuple[float, str]] = {}
    for (name, direction, fold), errors in inner.items():
        for tissue, error in errors.items():
            place = (direction, fold, tissue)
            best[place] = min(best.get(place, (error, name)), (error, name))
    return {place: name for place, (_, name) in best.items()}


def with_chosen(results: pd.DataFrame, choices: Choices) -> pd.DataFrame:
    """Return the absolute volume differences of a results table, and those of the method `CHOSEN`.

    Args:
        results: a results table, see `harmbench.results.COLUMNS`.
        choices: of `choose`.
    """
    rows = results[results["metric"] == VOLUME_DIFFERENCE.name]
    places = zip(rows["direction"], rows["fold"], rows["tissue"], strict=True)
    wanted = [choices.get((str(way), int(fold), str(tissue))) for way, fold, tissue in places]
    chosen = rows[rows["method"] == pd.Series(wanted, index=rows.index, dtype=object)]
    return merge([rows, chosen.assign(method=CHOSEN)])


def worth(results: pd.DataFrame, choices: Choices) -> pd.DataFrame:
    """Compare every method's absolute volume error with that of the chosen correction.

    Args:
        results: a results table of one segmenter.
        choices: of `choose`.

    Returns:
        One row for each method, direction and tissue: `n_pairs`, subjects with both; `error_mm3` and
        `correction_mm3`, mean absolute errors over these; `difference_mm3`, the mean of the paired
        differences, method minus correction (below 0: the method is better), from `low_mm3` to
        `high_mm3` (95 %, about subjects). Empty where no correction was chosen.
    """
    frame = with_chosen(results, choices)
    index = ["method", "direction", "tissue"]
    pairs = paired_differences(frame, CHOSEN)
    if pairs.empty:
        return pd.DataFrame(columns=[*index, *_COLUMNS])
    names = {"difference": "difference_mm3", "difference_low": "low_mm3"}
    found = pairs.reset_index().rename(columns={**names, "difference_high": "high_mm3"})
    values = subject_values(frame)
    mine = values[values["method"] == CHOSEN]
    at = ["direction", "tissue", "subject"]
    both = values.merge(mine[[*at, "value"]], on=at, suffixes=("", "_chosen")).dropna(
        subset=["value", "value_chosen"]
    )
    means = both.groupby(index, sort=True)[["value", "value_chosen"]].mean().reset_index()
    means = means.rename(columns={"value": "error_mm3", "value_chosen": "correction_mm3"})
    whole: pd.DataFrame = found.merge(means, on=index)[[*index, *_COLUMNS]]
    return whole.astype({"n_pairs": int})
