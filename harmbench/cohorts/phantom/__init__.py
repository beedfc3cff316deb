"""The simulated cohort."""

from harmbench.cohorts.phantom.cohort import cache_folder, make_phantom
from harmbench.cohorts.phantom.subjects import PhantomSettings

__all__ = ["PhantomSettings", "cache_folder", "make_phantom"]
