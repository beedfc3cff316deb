"""Where scans come from: the simulated cohort, a CSV manifest, a BIDS folder."""

from harmbench.cohorts.base import Cohort, Scan, load_scan
from harmbench.cohorts.validation import validate

__all__ = ["Cohort", "Scan", "load_scan", "validate"]
