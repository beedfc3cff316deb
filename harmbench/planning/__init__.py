"""How large trainings are and how long a run takes, where the user does not say."""

from harmbench.planning.course import Course, RunCells
from harmbench.planning.durations import in_words, parse_duration
from harmbench.planning.machine import fit_to_machine
from harmbench.planning.plan import MethodPlan, Plan, read_plan, write_plan
from harmbench.planning.trial import Cost, Measure, Trial

__all__ = [
    "Cost",
    "Course",
    "Measure",
    "MethodPlan",
    "Plan",
    "RunCells",
    "Trial",
    "fit_to_machine",
    "in_words",
    "parse_duration",
    "read_plan",
    "write_plan",
]
