"""Supervised regression of slices, for methods whose network maps a source slice to a target slice.

A method derives from `SliceRegression` and adds its network, its loss and its schedule.
"""

from harmbench.methods._regression.model import SliceRegression
from harmbench.methods._regression.schedule import ScheduleSettings
from harmbench.methods._regression.settings import RegressionSettings
from harmbench.methods._regression.train import ORIENTATIONS

__all__ = ["ORIENTATIONS", "RegressionSettings", "ScheduleSettings", "SliceRegression"]
