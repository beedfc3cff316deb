"""Labels and tissue volumes of the real scans, which all methods and directions share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from harmbench.executors import Died, Executor
from harmbench.notes import Note, summarize
from harmbench.progress import Display
from harmbench.runner.context import RunContext
from harmbench.runner.tissue_volumes import MeasuredScan, RealVolumes, measured
from harmbench.segmentation.result import Unsegmented
from harmbench.segmentation.stored import segment_to_files
from harmbench.task import Progress

__all__ = ["NO_SCORES", "segment_inputs", "segment_real_scans"]

NO_SCORES = "no-tissue-scores"
"""Kind of the notes on real scans that have no labels."""

_GPU_BATCH = 4
"""Scans that a GPU segments at once: some 0.7 GB each at 1 mm."""

_JOB_BATCH = 16
"""Scans that a job of a cluster segments: each takes seconds, a job may wait for longer."""


def segment_real_scans(
    context: RunContext,
    executor: Executor,
    say: Callable[[str], None],
    *,
    training: bool = False,
) -> RealVolumes:
    """Segment real scans of pairs, each once for all methods and directions.

    A scan that has no labels shows in the rows of every cell; the reason is printed here, once.

    Args:
        context: what the cells of the run share.
        executor: runs the segmentations.
        say: called with why scans have no labels.
        training: whether the scans of training pairs are needed too, beside those of test pairs.

    Returns:
        The tissue volumes of these scans.
    """
    pairs = [pair for split in context.splits.values() for pair in split.test]
    if training:
        pairs += [pair for split in context.splits.values() for pair in split.train]
    items = list(
        dict.fromkeys((p.subject, session) for p in pairs for session in (p.source, p.target))
    )
    size = _JOB_BATCH if executor.remote else 1 if context.device == "cpu" else _GPU_BATCH
    batches = [tuple(items[first : first + size]) for first in range(0, len(items), size)]
    volumes: dict[tuple[str, str], MeasuredScan] = {}
    with Display("segment real scans", len(batches)) as display:
        for batch, found in executor.run(partial(segment_inputs, context), batches, display):
            if isinstance(found, Died):
                failure = Unsegmented(found.reason, "segmentation_failed", lasting=False)
                volumes |= dict.fromkeys(batch, MeasuredScan(failure=failure))
            else:
                volumes |= dict(zip(batch, found, strict=True))
    notes = [
        Note(NO_SCORES, scan.failure.reason, f"subject {subject}, session {session}")
        for (subject, session), scan in volumes.items()
        if scan.failure is not None
    ]
    for line in summarize(notes):
        say(line)
    return volumes


def segment_inputs(
    context: RunContext, items: Sequence[tuple[str, str]], progress: Progress
) -> list[MeasuredScan]:
    """Segment real scans, (subject, session) each, and measure their tissue volumes."""
    progress("segment", 0, len(items))
    segmenter = context.on_this_machine().make_segmenter()
    volumes = [context.inputs.volume(*item) for item in items]
    paths = [context.folder.input_labels(*item, segmenter.name) for item in items]
    return [measured(found) for found in segment_to_files(volumes, paths, segmenter)]
