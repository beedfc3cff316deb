"""The scans of a run, read and checked, and what its cells make of them; nothing is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.data import read_cohort
from harmbench.cohorts.left_out import left_out_notes
from harmbench.cohorts.pairing import with_plain_sessions
from harmbench.cohorts.validation import validate
from harmbench.config import Experiment
from harmbench.errors import RunError
from harmbench.files.places import why_not_apart
from harmbench.notes import Note, summarize
from harmbench.progress import Display
from harmbench.runner.context import RunContext
from harmbench.runner.inputs import keys_of_inputs, scans_of
from harmbench.runner.splits import RunSplits, split_run
from harmbench.segmentation import (
    choose_segmenter,
    contrast_notes,
    find_contrast,
    make_segmenter,
)
from harmbench.task import Direction

__all__ = ["Opened", "first_lines", "open_run"]

_DIRECTIONS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Opened:
    """A cohort that was read and checked, and what the run does with it.

    Attributes:
        cohort: the subjects and scans that take part.
        directions: to run.
        context: what the cells share.
        notes: on the scans, and on what is left out.
        split_words: what is particular about folds and pairs, in sentences.
    """

    cohort: Cohort
    directions: Sequence[Direction]
    context: RunContext
    notes: Sequence[Note]
    split_words: Sequence[str]


def open_run(experiment: Experiment, out: Path, device: str) -> Opened:
    """Read and check the scans of an experiment, and choose its directions, folds and pairs.

    Raises:
        HarmbenchError: a scan, the directions, the folds or the segmenter are not usable.
    """
    data = experiment.data
    with Display("cohort", 1) as display:
        whole = with_plain_sessions(read_cohort(data, display, os.cpu_count() or 1))
    problem = why_not_apart(out, [scan.path for scan in whole.scans.values()])
    if problem:
        raise RunError(f"{out}: {problem}")
    splits = split_run(whole, data, experiment.folds, experiment.split)
    cohort = splits.cohort
    scans = [scan.path for scan in cohort.scans.values()]
    contrast = find_contrast(scans, experiment.scoring.contrast)
    chosen = choose_segmenter(experiment.scoring.segmenter)
    segmenter = make_segmenter(chosen, contrast=contrast)
    with Display("validate", len(cohort.subjects)) as display:
        workers = os.cpu_count() or 1
        checked = validate(cohort, cohort.sessions, data.rescale, display, workers)
    inputs = scans_of(out.absolute(), cohort, checked.keys, data.rescale)
    context = RunContext(
        root=out.absolute(),
        experiment=experiment,
        folds=splits.folds,
        own_folds=splits.own_folds,
        splits=splits.cells,
        groups=dict(whole.groups),
        inputs=inputs,
        input_keys=keys_of_inputs(inputs),
        segmenter=segmenter.name,
        segmenter_reference=chosen,
        device=device,
        contrast=contrast,
    )
    notes = (*cohort.notes, *left_out_notes(cohort.left_out), *splits.notes, *checked.notes)
    notes = (*notes, *contrast_notes(scans, experiment.scoring.contrast))
    return Opened(cohort, splits.directions, context, notes, _split_words(experiment, splits))


def _split_words(experiment: Experiment, splits: RunSplits) -> list[str]:
    """Say what is particular about the folds and pairs of a run."""
    words = []
    if experiment.folds.file is not None:
        words.append(f"Folds are those of {experiment.folds.file.name}.")
    words += experiment.split.words()
    if any(pair.visit for cell in splits.cells.values() for pair in cell.test):
        closest = " and learned from the closest visits"
        words.append(
            "Subjects have several visits: methods were tested on one pair for each subject and "
            f"visit{closest if experiment.split.train_pairs == 'closest' else ''}. A subject's "
            "visits are averaged before any statistic."
        )
    if any(set(cell.train_subjects) | set(cell.test_subjects) != set(splits.cohort.subjects)
           for cell in splits.cells.values()):  # fmt: skip
        words.append("A subject takes part in the directions whose scanners it was scanned on.")
    if splits.own_folds:
        ways = ", ".join(map(str, splits.own_folds))
        words.append(f"Folds of their own, since common ones would have left one empty: {ways}.")
    return words


def first_lines(opened: Opened, cells: int, old_keys: str) -> list[str]:
    """Return what is said before any work starts.

    Args:
        opened: the run.
        cells: how many cells it has.
        old_keys: what is said of cells of an earlier harmbench; may be empty.
    """
    context, subjects = opened.context, len(opened.cohort.subjects)
    version = context.make_segmenter().version
    return [
        f"{cells} cells on {context.device}: {subjects} subjects, {context.folds.k} folds",
        *_direction_lines(opened),
        f"segmenter: {context.segmenter} ({version}), {context.contrast}",
        *(f"note: {line}" for line in summarize(opened.notes)),
        *([old_keys] if old_keys else []),
    ]


def _direction_lines(opened: Opened) -> list[str]:
    """Count test subjects and visits of each direction; empty where it is one pair for each subject."""
    splits = opened.context.splits
    if all(split.simple for split in splits.values()):
        return []
    counts = {}
    for way in opened.directions:
        tested = [pair for (own, _), split in splits.items() if own == way for pair in split.test]
        counts[way] = (len({pair.subject for pair in tested}), len(tested))
    if len(counts) <= _DIRECTIONS_SHOWN:
        return [f"{way}: {n} subjects, {pairs} pairs to test" for way, (n, pairs) in counts.items()]
    subjects, pairs = zip(*counts.values(), strict=True)
    return [
        f"{len(counts)} directions with {min(subjects)} to {max(subjects)} subjects and "
        f"{min(pairs)} to {max(pairs)} pairs to test each"
    ]
