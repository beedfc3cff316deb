"""One subject's follow-up visits from its seed to its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harmbench.cohorts.phantom.anatomy import field_of_view, make_anatomy
from harmbench.cohorts.phantom.atlas import load_atlas
from harmbench.cohorts.phantom.subject_files import (
    participant_row,
    tissue_volumes_ml,
    write_truth,
    write_visit,
)
from harmbench.cohorts.phantom.subjects import PhantomSettings, Subject

__all__ = ["write_follow_ups"]


def write_follow_ups(
    subject: Subject,
    settings: PhantomSettings,
    changes: Mapping[str, float],
    folder: Path,
    first_number: int,
) -> dict[str, str | float]:
    """Make a subject's follow-up visits and write their files below `folder`.

    Args:
        subject: who.
        settings: of the cohort.
        changes: visit to the change of tissue volume, in percent.
        folder: of the dataset.
        first_number: number of the first of the visits, which chooses its noise.

    Returns:
        The subject's row of `participants.tsv`, and for each visit and tissue (`fu1_GM`) the change
        of the true volume since the first visit, in percent.
    """
    atlas, grid = load_atlas(), field_of_view(settings.spacing_mm)
    first = make_anatomy(subject, atlas, grid)
    before = tissue_volumes_ml(first)
    row = participant_row(subject, first)
    for number, (visit, percent) in enumerate(changes.items(), start=first_number):
        now = make_anatomy(subject, atlas, grid, change_percent=percent) if percent else first
        write_visit(subject, now, grid, folder, visit, number)
        write_truth(subject, now, grid, folder, visit)
        for tissue, volume in tissue_volumes_ml(now).items():
            row[f"{visit}_{tissue}"] = round(100 * (volume / before[tissue] - 1), 5)
    return row
