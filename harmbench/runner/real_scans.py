"""Labels and tissue volumes of the real scans, which all methods and directions share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil

from harmbench.executors import Died, Executor
from harmbench.notes import Note, summarize
from harmbench.progress import Display
from harmbench.runner.context import RunContext
from harmbench.runner.inputs import InputScan
from harmbench.runner.tissue_volumes import MeasuredScan, RealVolumes, measured
from harmbench.segmentation.result import Unsegmented
from harmbench.segmentation.stored import segment_to_files
from harmbench.task import Progress

__all__ = ["NO_SCORES", "ScanBatch", "batch_size", "segment_inputs", "segment_real_scans"]

NO_SCORES = "no-tissue-scores"
"""Kind of the notes on real scans that have no labels."""

_GPU_BATCH = 4
"""Scans that a GPU segments at once: some 0.7 GB each at 1 mm."""

_JOB_BATCH = 16
"""Scans that a job of a cluster segments at least: each takes seconds, a job may wait for longer."""

_MOST_JOBS = 500
"""Jobs that segment scans on a cluster: SLURM takes 1000 in an array where nothing else is configured."""


@dataclass(frozen=True, slots=True)
class ScanBatch:
    """Real scans that are segmented in one go. It travels to a process without the rest of the run.

    Attributes:
        scans: which.
    """

    scans: tuple[InputScan, ...]

    def __str__(self) -> str:
        return ", ".join(f"{scan.subject} {scan.session}" for scan in self.scans)


def batch_size(scans: int, device: str, *, remote: bool) -> int:
    """Return how many scans are segmented in one go.

    Args:
        scans: number of all.
        device: torch device name.
        remote: whether each batch is a job of a cluster.
    """
    if remote:
        return max(_JOB_BATCH, ceil(scans / _MOST_JOBS))
    return 1 if device == "cpu" else _GPU_BATCH


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
    size = batch_size(len(items), context.device, remote=executor.remote)
    scans = [context.inputs.scan(*item) for item in items]
    batches = [
        ScanBatch(tuple(scans[first : first + size])) for first in range(0, len(items), size)
    ]
    volumes: dict[tuple[str, str], MeasuredScan] = {}
    with Display("segment real scans", len(batches)) as display:
        work = partial(segment_inputs, context.without_scans())
        for batch, found in executor.run(work, batches, display):
            names = [(scan.subject, scan.session) for scan in batch.scans]
            if isinstance(found, Died):
                failure = Unsegmented(found.reason, "segmentation_failed", lasting=False)
                volumes |= dict.fromkeys(names, MeasuredScan(failure=failure))
            else:
                volumes |= dict(zip(names, found, strict=True))
    notes = [
        Note(NO_SCORES, scan.failure.reason, f"subject {subject}, session {session}")
        for (subject, session), scan in volumes.items()
        if scan.failure is not None
    ]
    for line in summarize(notes):
        say(line)
    return volumes


def segment_inputs(context: RunContext, batch: ScanBatch, progress: Progress) -> list[MeasuredScan]:
    """Segment real scans, and measure their tissue volumes; the context may be one without scans."""
    progress("segment", 0, len(batch.scans))
    segmenter = context.on_this_machine().make_segmenter()
    volumes = [scan.volume() for scan in batch.scans]
    paths = [
        context.folder.input_labels(scan.subject, scan.session, segmenter.name)
        for scan in batch.scans
    ]
    return [measured(found) for found in segment_to_files(volumes, paths, segmenter)]
