"""Comparison of several runs, in one report; and of results from several laboratories, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from harmbench.errors import ReportError
from harmbench.files.names import file_label
from harmbench.metrics.base import Metric
from harmbench.metrics.suite import METRICS
from harmbench.metrics.volumetry import VOLUME_DIFFERENCE
from harmbench.pages.html import page_environment
from harmbench.pages.render import write_table
from harmbench.pages.table import Table, TableNumber
from harmbench.report.boards import Board, make_boards, read_source
from harmbench.report.build import check_place, make_report, remove_stale
from harmbench.report.evidence import Evidence
from harmbench.report.tables.learning import learning_tables
from harmbench.report.tables.shapes import interval_table, list_measures
from harmbench.results import write_results
from harmbench.storage import atomic, write_text
from harmbench.task import NoProgress, Progress

__all__ = ["compare"]

_FAMILIES = (
    ("image", "Similarity of images", ("mse_brain", "ssim_brain", "mse", "ssim", "ahd")),
    ("volume-differences", "Volume differences", (VOLUME_DIFFERENCE.name,)),
    ("dice", "Dice score", ("dice",)),
    ("hd95", "HD95", ("hd95",)),
)
"""Tables of a board: name, title, metrics."""

_MOST_IMAGE = 3
"""Measures in one table of images."""


def compare(sources: Sequence[Path], out: Path, progress: Progress | None = None) -> Path:
    """Compare runs, or results of several laboratories.

    Run folders alone give a full report of what they have together. Where one source is a file of exported
    results, the page is a leaderboard: a board for each set of results that may be pooled, with methods x
    measures as means over subjects with intervals, by direction. Nothing is pooled over cohorts,
    segmenters, folds or versions of the metrics.

    ```
    OUT/
      index.html     the page, self-contained
      results.csv    all results; of a leaderboard, subjects are BOARD-NUMBER
      summary.csv    every statistic of every measure; of a leaderboard, with the column board
      tables/        NAME.csv, NAME.md, NAME.tex
    ```

    Args:
        sources: run folders, and files that `export_results` wrote; where two measured the same, the
            later counts.
        out: report folder.
        progress: told about each step.

    Returns:
        Path of the page.

    Raises:
        ReportError: run folders that are not comparable (see `harmbench.report.comparable`), a source
            that is neither folder nor file of results, or `out` holds anything but an earlier report;
            nothing is written.
    """
    if not sources:
        raise ReportError("nothing to compare; name run folders, or files of exported results")
    missing = [str(path) for path in sources if not path.exists()]
    if missing:
        raise ReportError(f"no such file or folder: {', '.join(missing)}")
    if all(path.is_dir() for path in sources):
        return make_report(sources, out, progress)
    check_place(out)
    progress = progress or NoProgress()
    progress("compare: read", 0, len(sources))
    boards = make_boards(
        read_source(path, name) for path, name in zip(sources, _names(sources), strict=True)
    )
    progress("compare: read", len(sources), len(sources))
    return _write(boards, out, progress)


def _names(sources: Sequence[Path]) -> list[str]:
    """Name sources by their last part, or in full where two would have one name."""
    short = [path.resolve().name for path in sources]
    twice = {name for name, times in Counter(short).items() if times > 1}
    return [str(p) if name in twice else name for p, name in zip(sources, short, strict=True)]


def _write(boards: Sequence[Board], out: Path, progress: Progress) -> Path:
    found = [(board, board.evidence(METRICS)) for board in boards]
    write_results(
        pd.concat(
            [
                evidence.results.assign(subject=f"{board.number}-" + evidence.results["subject"])
                for board, evidence in found
            ],
            ignore_index=True,
        ),
        out / "results.csv",
    )
    summaries = [evidence.summary.assign(board=board.number) for board, evidence in found]
    with atomic(out / "summary.csv") as temporary:
        whole = pd.concat(summaries, ignore_index=True)
        whole.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")
    shown, written, count = [], set[Path](), 0
    for done, (board, evidence) in enumerate(found, start=1):
        tables = [*_tables(board, evidence, count)]
        count += len(tables)
        for table in tables:
            written |= set(write_table(table, out / "tables"))
        shown.append({"board": board, "evidence": evidence, "tables": tables})
        progress("compare: tables", done, len(found))
    metrics: dict[str, Metric] = {}
    for _, evidence in found:
        metrics |= evidence.metrics
    template = page_environment("harmbench.report").get_template("boards.html.j2")
    write_text(out / "index.html", template.render(shown=shown, metrics=metrics.values()))
    remove_stale(out, written)
    return out / "index.html"


def _tables(board: Board, evidence: Evidence, before: int) -> Iterator[Table]:
    """Make the tables of a board, numbered on from those before it."""
    number = before
    for direction in evidence.directions:
        for name, title, metrics in _FAMILIES:
            wanted = [metric for metric in metrics if evidence.has(metric)][:_MOST_IMAGE]
            measures = list_measures(evidence, [direction], wanted)
            if not measures:
                continue
            number += 1
            label = file_label(f"board-{board.number}-{name}")
            table = interval_table(evidence, TableNumber(number), label, title, measures)
            yield replace(table, title=f"{board.title.partition('. ')[2]}: {table.title}")
    for table in learning_tables(evidence):
        number += 1
        name = file_label(f"board-{board.number}-training-subjects-{number}")
        title = f"{board.title.partition('. ')[2]}: {table.title}"
        own = TableNumber(number)
        yield replace(table, title=title, number=own, name=own.file_name(name), section="intervals")
