"""What `harmbench cohort` prints."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harmbench.cli.console import print_json, say, say_notes, show_table

if TYPE_CHECKING:
    from harmbench.cohorts.data import DataSettings

__all__ = ["add_follow_ups", "show_cohort"]


def add_follow_ups(data: DataSettings, out: Path | None) -> None:
    """Make the follow-up visits of a simulated cohort and say where they are.

    Args:
        data: which cohort.
        out: its folder.

    Raises:
        CohortError: the cohort is not simulated, or its scans are raw.
    """
    from harmbench.cohorts.phantom import make_follow_ups
    from harmbench.cohorts.phantom.follow_ups import follow_up_folder
    from harmbench.errors import CohortError
    from harmbench.progress import Display

    if data.path is not None:
        raise CohortError("--follow-ups makes visits of the simulated cohort: leave out --data")
    with Display("follow-up visits", 1) as display:
        found = make_follow_ups(data.phantom, out, progress=display)
    folder = follow_up_folder(data.phantom, out)
    say(f"{len(found.cohort.scans)} follow-up scans, with their true changes in {folder}")


def show_cohort(data: DataSettings, out: Path | None, *, scans: bool, as_json: bool) -> None:
    """Print a cohort's scanners, pairs and what is left out, then check every scan.

    Args:
        data: which scans.
        out: folder of a simulated cohort.
        scans: list every scan too.
        as_json: print one JSON object; where scanners are not clear, it holds the proposal.

    Raises:
        CohortError: lists every problem.
    """
    from harmbench.cohorts.data import check_scans, read_cohort, simulation_line
    from harmbench.cohorts.overview import overview, overview_lines
    from harmbench.cohorts.proposal import UnclearScannersError
    from harmbench.notes import to_records
    from harmbench.progress import Display

    if simulated := simulation_line(data, out):
        say(simulated)
    try:
        with Display("cohort", 1) as display:
            found = read_cohort(data, display, os.cpu_count() or 1, out)
    except UnclearScannersError as error:
        if as_json:
            print_json({"proposal": asdict(error.proposal)})
        raise
    counts = overview(found)
    if not as_json:
        # Before the scans are read: what there is helps to understand what is wrong with them.
        print("\n".join(overview_lines(counts)))
    with Display("validate", len(found.subjects)) as display:
        rows, notes = check_scans(found, data, display)
    say_notes(notes)
    if as_json:
        print_json({**counts, "notes": to_records(notes), "scans": rows})
    elif scans:
        show_table(rows, as_json=False)
