"""Is a network worth it for volumes? Each image method against the best volume correction.

Which correction is the best one is decided on training subjects alone, for each fold and tissue. Its
errors on the fold's test subjects are what image methods are compared with, subject by subject, with the
tests of the verdict: they know that the subjects of one fold share a network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmbench.metrics.declarations import VOLUME_DIFFERENCE
from harmbench.results import BASELINE, merge
from harmbench.segmentation.base import TISSUES
from harmbench.statistics.claims import holm, no_gains, run_tests
from harmbench.statistics.differences import Losses
from harmbench.statistics.intervals import estimate
from harmbench.statistics.losses import make_losses

__all__ = ["CHOSEN", "Choices", "InnerErrors", "choose", "with_chosen", "worth"]

CHOSEN = "best volume correction"
"""Name of the volume correction that training subjects choose, as a method of a results table."""

InnerErrors = Mapping[tuple[str, str, int], Mapping[str, float]]
"""(correction, direction, fold) to its error by tissue on training subjects, see `study.choice`."""

Choices = Mapping[tuple[str, int, str], str]
"""(direction, fold, tissue) to the correction that training subjects choose."""

_COLUMNS = [
    *("method", "direction", "tissue", "n_pairs", "folds"),
    *("error_mm3", "correction_mm3", "difference_mm3", "low_mm3", "high_mm3"),
    *("p", "p_adjusted", "region_mm3", "p_no_gain", "p_unneeded"),
]

Array = NDArray[np.float64]


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


def worth(
    results: pd.DataFrame,
    choices: Choices,
    claimed: Collection[str] | None = None,
    networks: Collection[str] = (),
    equivalence: float = 0.1,
) -> pd.DataFrame:
    """Compare every method's absolute volume error with that of the chosen correction.

    Args:
        results: a results table of one segmenter.
        choices: of `choose`.
        claimed: methods that something is claimed of, by default all: p-values are corrected for
            their number and that of the tissues, in each direction.
        networks: methods of which it is asked whether any of them is needed.
        equivalence: what a gain is measured by: a share of the untreated error.

    Returns:
        One row for each method, direction and tissue: `n_pairs` subjects with both, in `folds`;
        `error_mm3` and `correction_mm3`, mean absolute errors over these (over folds, of fold means);
        `difference_mm3`, the first minus the second (below 0: the method is better), from `low_mm3`
        to `high_mm3` (95 %, see `statistics.differences.compare`); `p`, two-sided, and `p_adjusted`
        (Holm), NaN for methods that nothing is claimed of. `region_mm3` is the share of the untreated
        error; `p_no_gain`, one-sided, that the method is not better by that or more; `p_unneeded`, that
        no network is (corrected for the tissues), the same for all methods. Intervals and p-values are
        NaN where there are too few folds or subjects to judge. Empty where no correction was chosen.
    """
    frame = with_chosen(results, choices)
    names = [str(name) for name in sorted(set(frame["method"]) - {CHOSEN})]
    family = set(names if claimed is None else claimed)
    rows: list[dict[str, object]] = []
    if (frame["method"] == CHOSEN).any():
        for direction, own in frame.groupby("direction", sort=True):
            needs = names, family, set(networks), equivalence
            rows += _compared(own, str(direction), *needs)
    found = pd.DataFrame(rows, columns=_COLUMNS)
    return found.sort_values(["method", "direction", "tissue"], ignore_index=True)


def _compared(
    frame: pd.DataFrame,
    direction: str,
    names: list[str],
    family: Collection[str],
    networks: Collection[str],
    equivalence: float,
) -> Iterator[dict[str, object]]:
    """Compare the methods of one direction in every tissue."""
    measures = [(VOLUME_DIFFERENCE, tissue) for tissue in TISSUES]
    losses, _ = make_losses(frame, measures, [*names, CHOSEN], BASELINE, equivalence)
    tests = run_tests(losses, [(number, len(names)) for number in range(len(names))])
    in_family = np.array([name in family for name in names])
    adjusted = holm(np.where(in_family, tests.p, np.nan))
    unneeded = no_gains(tests, [n for n, name in enumerate(names) if name in networks])
    regions = estimate(losses.region.T, losses.folds).value
    errors, corrections = _common_means(losses, len(names))
    found = tests.found
    for row, tissue in enumerate(TISSUES):
        for number, name in enumerate(names):
            if found.subjects[row, number]:
                yield {
                    "method": name,
                    "direction": direction,
                    "tissue": tissue,
                    "n_pairs": int(found.subjects[row, number]),
                    "folds": int(found.folds[row, number]),
                    "error_mm3": errors[row, number],
                    "correction_mm3": corrections[row, number],
                    "difference_mm3": found.value[row, number],
                    "low_mm3": found.low[row, number],
                    "high_mm3": found.high[row, number],
                    "p": tests.p[row, number],
                    "p_adjusted": adjusted[row, number],
                    "region_mm3": regions[row],
                    "p_no_gain": tests.p_no_gain[row, number],
                    "p_unneeded": unneeded[row],
                }


def _common_means(losses: Losses, count: int) -> tuple[Array, Array]:
    """Mean errors of each method and of the last one, over folds and the subjects that both have.

    Returns:
        Two arrays of shape (measures, count).
    """
    values = losses.array[:, :, :count]
    chosen = np.broadcast_to(losses.array[:, :, count:], values.shape)
    both = np.isfinite(values) & np.isfinite(chosen)
    measures, subjects, _ = values.shape

    def mean(array: Array) -> Array:
        flat = np.where(both, array, np.nan).transpose(1, 0, 2).reshape(subjects, -1)
        return estimate(flat, losses.folds).value.reshape(measures, count)

    return mean(values), mean(chosen)
