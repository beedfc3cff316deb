"""From raw scans to a prepared data set."""

from harmbench.prepare.cohort import PrepareSummary, prepare_cohort

__all__ = ["PrepareSummary", "prepare_cohort"]
