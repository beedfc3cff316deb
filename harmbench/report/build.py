"""From run folders to a report folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmbench.errors import ReportError
from harmbench.metrics.lesion_declarations import ALL_METRICS
from harmbench.pages.escapes import spreadsheet_safe
from harmbench.pages.render import write_table
from harmbench.pages.table import Table
from harmbench.report.evidence import Evidence
from harmbench.report.figures.drawing import figures_begun
from harmbench.report.figures.selection import why_not_drawn
from harmbench.report.loading import load_evidence
from harmbench.report.page import page_contents, render_page
from harmbench.report.tables.run import cost_table, published_tables, status_table
from harmbench.report.tables.selection import all_tables
from harmbench.report.tables.study import study_tables
from harmbench.results import COLUMNS, write_results
from harmbench.storage import atomic, why_not_writable, write_text
from harmbench.study.switch import Trial
from harmbench.task import NoProgress, Progress

__all__ = ["check_place", "make_report", "remove_stale"]

_RESULTS = "results.csv"


def make_report(
    runs: Sequence[Path],
    out: Path | None = None,
    progress: Progress | None = None,
    lead_subject: str | None = None,
    trial: Trial | None = None,
    jobs: int = 1,
) -> Path:
    """Make tables, figures and a page from the results and volumes of one or more runs.

    ```
    OUT/
      index.html     the page, self-contained
      results.csv    merged tidy table
      summary.csv    every statistic of every measure, by group
      tables/        NAME.csv, NAME.md, NAME.tex; published-* hold the paper's numbers
      figures/       NAME.png, NAME.pdf, and NAME.svg for line art
    ```

    Each file is written atomically, the page last; files of an earlier report that this one no
    longer makes are removed from `tables/` and `figures/`.

    Args:
        runs: run folders of one cohort; where two measured the same, the later counts.
        out: report folder, by default `report` in the first run folder.
        progress: told about each step.
        lead_subject: subject shown in image panels; by default the one with the median MSE of the
            untreated source.
        trial: what a change of volume is measured for, in the tables of a switch of scanner; by
            default a slowing by 25 % of 0.5 % a year over two years.
        jobs: number of processes that draw figures.

    Returns:
        Path of the page.

    Raises:
        ReportError: a folder is not a run's, there are no results, the runs are not comparable,
            the lead subject is unknown, `out` holds anything but an earlier report, or a process
            that draws figures died.
    """
    out = Path(runs[0]) / "report" if out is None else Path(out)
    check_place(out)
    progress = progress or NoProgress()
    progress("report: read", 0, 1)
    evidence = load_evidence(runs, ALL_METRICS, lead_subject)
    progress("report: read", 1, 1)
    write_results(evidence.results, out / _RESULTS)
    with atomic(out / "summary.csv") as temporary:
        spreadsheet_safe(evidence.summary).to_csv(
            temporary, index=False, float_format="%.9g", lineterminator="\n"
        )
    with figures_begun(evidence, out / "figures", jobs, progress) as collect:
        tables, written = _write_tables(evidence, out / "tables", progress, trial)
        contents = page_contents(evidence, tables)
        drawn = collect()
    figures = [one.figure for one in drawn]
    undrawn = why_not_drawn(evidence, {figure.name for figure in figures})
    write_text(out / "index.html", render_page(evidence, contents, figures, out, undrawn))
    remove_stale(out, {*written, *(path for one in drawn for path in one.files)})
    return out / "index.html"


def check_place(out: Path) -> None:
    """Raise `ReportError` where a report would replace files that are none of a report's."""
    problem = why_not_writable(out)
    if problem is None and out.is_dir():
        names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
        if "run.json" in names:
            problem = "is a run folder; choose a folder of its own for the report"
        elif names and not _holds_results(out / _RESULTS):
            problem = f"holds files that are none of a report's ({', '.join(sorted(names)[:3])})"
    if problem:
        raise ReportError(f"{out}: {problem}")


def _holds_results(path: Path) -> bool:
    """Whether a file begins as the table of results of a report does."""
    if not path.is_file():
        return False
    begin = ",".join(COLUMNS[:2]).encode()
    with path.open("rb") as file:
        return file.read(len(begin)) == begin


def _write_tables(
    evidence: Evidence, folder: Path, progress: Progress, trial: Trial | None
) -> tuple[list[Table], list[Path]]:
    cost = cost_table(evidence)
    tables = [*all_tables(evidence), *([cost] if cost else []), status_table(evidence)]
    tables += [*study_tables(evidence, trial), *published_tables(evidence)]
    written: list[Path] = []
    for done, table in enumerate(tables, start=1):
        written += write_table(table, folder)
        progress("report: tables", done, len(tables))
    return tables, written


def remove_stale(out: Path, written: set[Path]) -> None:
    """Remove tables and figures of an earlier report, and nothing else."""
    kinds = {
        "tables": ("table-*", "published-table-*"),
        "figures": ("figure-*",),
    }
    for folder, patterns in kinds.items():
        for pattern in patterns:
            for path in (out / folder).glob(pattern):
                if path not in written:
                    path.unlink()
