"""Which tables of a report answer what a study asks."""

from __future__ import annotations

from collections.abc import Iterator

from harmbench.pages.table import Table
from harmbench.report.evidence import Evidence
from harmbench.report.tables.agreement import agreement_tables
from harmbench.report.tables.annual import annual_tables
from harmbench.report.tables.changes import change_tables
from harmbench.report.tables.learning import learning_tables
from harmbench.report.tables.lesions import lesion_tables
from harmbench.report.tables.rescan import rescan_tables
from harmbench.report.tables.switch import switch_tables
from harmbench.report.tables.worth import worth_tables
from harmbench.study.switch import Trial

__all__ = ["every_study_table", "study_tables"]


def every_study_table(evidence: Evidence, trial: Trial | None = None) -> Iterator[Table]:
    """Make the tables of `study_tables`, and those on the agreement and the worth of volumes."""
    yield from worth_tables(evidence)
    yield from agreement_tables(evidence)
    yield from study_tables(evidence, trial)


def study_tables(evidence: Evidence, trial: Trial | None = None) -> Iterator[Table]:
    """Make every table of the study that the results allow, in the order of their numbers.

    Args:
        evidence: the results.
        trial: what change is measured for; see `study.switch.Trial`.
    """
    yield from switch_tables(evidence, trial)
    yield from rescan_tables(evidence)
    yield from change_tables(evidence)
    yield from lesion_tables(evidence)
    yield from learning_tables(evidence)
    yield from annual_tables(evidence)
