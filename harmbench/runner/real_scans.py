"""Labels of the real scans, which all methods and directions share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from harmbench.executors import Died, Executor
from harmbench.notes import Note, summarize
from harmbench.progress import Display
from harmbench.runner.context import RunContext
from harmbench.segmentation.stored import segment_to_files
from harmbench.task import Progress

__all__ = ["NO_SCORES", "segment_inputs", "segment_real_scans"]

NO_SCORES = "no-tissue-scores"
"""Kind of the notes on real scans that have no labels."""

_GPU_BATCH = 4
"""Scans that a GPU segments at once: some 0.7 GB each at 1 mm."""


def segment_real_scans(context: RunContext, executor: Executor, say: Callable[[str], None]) -> None:
    """Segment the test subjects' real scans, each once for all methods and directions.

    A scan that has no labels shows in the rows of every cell; the reason is printed here, once.
    """
    tested = (pair for split in context.splits.values() for pair in split.test)
    items = list(
        dict.fromkeys((p.subject, session) for p in tested for session in (p.source, p.target))
    )
    size = 1 if context.device == "cpu" else _GPU_BATCH
    batches = [tuple(items[first : first + size]) for first in range(0, len(items), size)]
    notes: list[Note] = []
    with Display("segment real scans", len(batches)) as display:
        for batch, found in executor.run(partial(segment_inputs, context), batches, display):
            if isinstance(found, Died):
                places = [f"subject {subject}, session {session}" for subject, session in batch]
                notes += [Note(NO_SCORES, found.reason, where) for where in places]
            else:
                notes += found
    for line in summarize(notes):
        say(line)


def segment_inputs(
    context: RunContext, items: Sequence[tuple[str, str]], progress: Progress
) -> list[Note]:
    """Segment real scans, (subject, session) each.

    Returns:
        A note for each scan that has no labels.
    """
    progress("segment", 0, len(items))
    segmenter = context.make_segmenter()
    volumes = [context.inputs.volume(*item) for item in items]
    paths = [context.folder.input_labels(*item, segmenter.name) for item in items]
    found = segment_to_files(volumes, paths, segmenter)
    return [
        Note(NO_SCORES, one.failure.reason, f"subject {subject}, session {session}")
        for (subject, session), one in zip(items, found, strict=True)
        if one.failure is not None
    ]
