"""Statistics of the tidy results table: fold summaries, bootstrap intervals over subjects, ranks.

All functions are pure: they take a results table (see `harmbench.results.COLUMNS`) and return a new
one.

Missing values are never dropped silently. Means run over what was measured, and beside each mean
stands how many measurements failed. A method that was not measured on every subject that another
method was measured on gets no rank, since leaving out hard subjects would improve its mean.
"""

from harmbench.statistics.comparisons import paired_bootstrap
from harmbench.statistics.intervals import Resampling, bootstrap
from harmbench.statistics.measures import ALL, MEASURE, subject_values
from harmbench.statistics.ranks import rank_methods
from harmbench.statistics.summaries import count_measurements, fold_statistics, summarize

__all__ = [
    "ALL",
    "MEASURE",
    "Resampling",
    "bootstrap",
    "count_measurements",
    "fold_statistics",
    "paired_bootstrap",
    "rank_methods",
    "subject_values",
    "summarize",
]
