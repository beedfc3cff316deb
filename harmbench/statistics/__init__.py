"""Statistics of the tidy results table: summaries, intervals, comparisons, ranks.

All functions are pure: they take a results table (see `harmbench.results.COLUMNS`), or arrays of losses
(see `differences.Losses`), and return something new.

Missing values are never dropped silently. Means run over what was measured, and beside each mean
stands how many measurements failed. A method that was not measured on every subject that another
method was measured on gets no rank, since leaving out hard subjects would improve its mean.
"""

from harmbench.statistics.comparisons import paired_differences
from harmbench.statistics.intervals import intervals
from harmbench.statistics.measures import ALL, MEASURE, subject_values
from harmbench.statistics.ranks import rank_methods
from harmbench.statistics.summaries import count_measurements, fold_statistics, summarize

__all__ = [
    "ALL",
    "MEASURE",
    "count_measurements",
    "fold_statistics",
    "intervals",
    "paired_differences",
    "rank_methods",
    "subject_values",
    "summarize",
]
