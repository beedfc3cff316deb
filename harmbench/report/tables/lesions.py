"""Tables of lesions: contrast that is kept, volume, and errors inside them."""

from __future__ import annotations

from collections.abc import Iterator

from harmbench.files.names import file_label
from harmbench.metrics.lesion_declarations import LESION_METRICS
from harmbench.pages.table import Table, TableNumber
from harmbench.report.evidence import Evidence
from harmbench.report.tables.shapes import list_measures, mean_table
from harmbench.report.tables.titles import SIMULATED, direction_title

__all__ = ["lesion_tables"]

_NUMBER = 47


def lesion_tables(evidence: Evidence) -> Iterator[Table]:
    """Make one table for each direction with subjects whose scans have masks of lesions."""
    for direction in evidence.shown_directions:
        measures = list_measures(evidence, [direction], list(LESION_METRICS))
        if not measures:
            continue
        values = evidence.values(measures[0].metric)
        own = values[(values["direction"] == str(direction)) & values["value"].notna()]
        count = own["subject"].nunique()
        subjects = "1 subject has" if count == 1 else f"{count} subjects have"
        text = f"{SIMULATED} " if evidence.simulated else ""
        caption = (
            f"{text}{subjects} a mask of lesions; the others are left out. Contrast: "
            "how far lesions lie below the white matter around them, relative to the reference's; -100 % "
            "where they cannot be seen any more. Volume: what is darker than that white matter by half "
            "of the reference's contrast. Signed measures (→0) show bias: errors of opposite sign "
            "cancel in their mean. Mean over each fold's subjects, then over folds."
        )
        yield mean_table(
            evidence,
            TableNumber(_NUMBER),
            f"lesions-{file_label(str(direction))}",
            f"Lesions, {direction_title(direction)}",
            caption,
            measures,
            section="study",
        )
