"""Reading run folders, checking that they fit together, and merging their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from harmbench.errors import ReportError, suggest
from harmbench.metrics.base import Metric
from harmbench.report.comparable import Conditions, conditions_of_run, require_comparable
from harmbench.report.evidence import MOST_DIRECTIONS, Evidence, StoredCell
from harmbench.report.published import DIRECTIONS
from harmbench.results import (
    BASELINE,
    CEILING,
    REAL_SCANS,
    RESCAN,
    merge,
    read_training_sizes,
)
from harmbench.runner.folder import RunFolder
from harmbench.runner.run_record import MethodRecord, RunRecord
from harmbench.statistics import summarize
from harmbench.task import Direction

__all__ = [
    "declared_metrics",
    "list_directions",
    "list_groups",
    "load_evidence",
    "median_subject",
    "merged_results",
    "merged_training_sizes",
    "method_titles",
]

_MEASUREMENT = ["method", "direction", "seed", "subject", "visit", "segmenter", "metric", "tissue"]
_ORDER = (BASELINE, "histogram_matching", "deepharmony", "pgan", "dm")


def load_evidence(
    runs: Sequence[Path], metrics: Mapping[str, Metric], lead_subject: str | None = None
) -> Evidence:
    """Read and merge run folders.

    Args:
        runs: run folders of one cohort; where two measured the same, the later counts.
        metrics: declarations by name, in the order of tables.
        lead_subject: subject that panels show; `None` chooses the one with the median MSE of the
            untreated source.

    Raises:
        ReportError: a folder is not a run's, there are no results, the runs are not comparable (see
            `harmbench.report.comparable`), or the lead subject is unknown.
    """
    if not runs:
        raise ReportError("no run folder was given; name at least one")
    folders = tuple(RunFolder(Path(run)) for run in runs)
    records = tuple(folder.read_record() for folder in folders)
    tables = [folder.read_results() for folder in folders]
    found = [conditions_of_run(*one) for one in zip(folders, records, tables, strict=True)]
    require_comparable(found)
    results = merged_results(tables)
    if results.empty:
        names = ", ".join(str(folder.root) for folder in folders)
        raise ReportError(f"{names}: the results table has no rows; run some cells first")
    declared = declared_metrics(results, metrics)
    lead, reason = _lead_subject(results, lead_subject)
    return Evidence(
        runs=folders,
        records=records,
        results=results,
        summary=summarize(results, declared),
        metrics=declared,
        methods=method_titles(results, records),
        directions=list_directions(results, records),
        groups=list_groups(results),
        segmenter=_segmenter(results, records),
        cells=_cells(folders),
        lead=lead,
        lead_reason=reason,
        notes=(*_merge_note(folders, tables, found), *_notes(folders, records, results)),
        training_sizes=_training_sizes(folders),
    )


def _training_sizes(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """Merge the results of runs that have cells on fewer training subjects."""
    return merged_training_sizes(
        read_training_sizes(folder.training_sizes)
        for folder in folders
        if folder.training_sizes.is_file()
    )


def merged_training_sizes(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put tables of learning curves together; where two measured the same, the later counts."""
    tables = [part for part in parts if len(part)]
    if not tables:
        return pd.DataFrame()
    found = pd.concat(tables, ignore_index=True)
    found.loc[found["tissue"] == "", "segmenter"] = ""
    keys = [*_MEASUREMENT, "train_subjects"]
    return found.drop_duplicates(keys, keep="last", ignore_index=True)


def merged_results(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put results tables together; where two measured the same, the later counts."""
    results = merge(tables)
    # Image metrics don't depend on the segmenter: under two names they would be two measures.
    results.loc[results["tissue"] == "", "segmenter"] = ""
    return results.drop_duplicates(_MEASUREMENT, keep="last", ignore_index=True)


def _merge_note(
    folders: Sequence[RunFolder], tables: Sequence[pd.DataFrame], found: Sequence[Conditions]
) -> list[str]:
    """Say what several runs bring, what they share, and what is not known of them."""
    if len(folders) < 2:
        return []
    parts = []
    for folder, results in zip(folders, tables, strict=True):
        methods = ", ".join(dict.fromkeys(results["method"]))
        parts.append(f"{folder.root.name} ({methods})")
    notes = [
        f"Merged from {len(folders)} runs: {'; '.join(parts)}. Their scans, scaling, preparation, "
        "folds, segmenter and metrics are the same, as far as recorded; where two measured the same, "
        "the later counts."
    ]
    for folder, conditions in zip(folders, found, strict=True):
        if conditions.unknown:
            missing = ", ".join(conditions.unknown)
            notes.append(f"{folder.root.name} does not record: {missing}; they were not compared.")
    return notes


def declared_metrics(results: pd.DataFrame, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the declaration of each metric in a results table, in the order of tables.

    A metric that is not declared gets a declaration without a better direction.
    """
    present = results.groupby("metric", sort=True)[["unit", "tissue"]].max()
    found = {name: metric for name, metric in metrics.items() if name in present.index}
    for name, row in present.iterrows():
        if name not in found:
            found[str(name)] = Metric(
                name=str(name),
                title=str(name).replace("_", " "),
                unit=str(row["unit"]) or "1",
                lower=float("-inf"),
                upper=float("inf"),
                better="none",
                scope="tissue" if row["tissue"] else "image",
                description="Not declared by this version: no better direction is known.",
            )
    return found


def method_titles(results: pd.DataFrame, records: Sequence[RunRecord]) -> dict[str, str]:
    """Return method to title, in the order of tables: untreated first, ceiling last."""
    known: dict[str, MethodRecord] = {}
    for record in records:
        known |= record.methods
    names = [*known, *sorted(set(results["method"]))]
    ordered = [*_ORDER, *dict.fromkeys(names)]
    present = set(results["method"])
    ordered = [
        name for name in dict.fromkeys(ordered) if name in present and name not in REAL_SCANS
    ]
    # A stable sort: volume corrections stand behind all methods that give images.
    ordered.sort(key=lambda name: name in known and known[name].maps == "volumes")
    ordered += [name for name in (RESCAN, CEILING) if name in present]
    default = {BASELINE: "Original", RESCAN: "Rescan", CEILING: "Target (ceiling)"}
    recorded = {name: method.title for name, method in known.items() if method.title}
    titles = {name: recorded.get(name, default.get(name, name)) for name in ordered}
    twice = {title for title, times in Counter(titles.values()).items() if times > 1}
    return {n: f"{title} ({n})" if title in twice else title for n, title in titles.items()}


def list_directions(results: pd.DataFrame, records: Sequence[RunRecord]) -> tuple[Direction, ...]:
    """Return the directions of a results table, the paper's first."""
    known = {str(direction): direction for r in records for direction in r.directions}
    for text in sorted(set(results["direction"])):
        if text not in known:
            source, _, target = text.partition("-to-")
            known[text] = Direction(source, target)
    present = [name for name in [*DIRECTIONS, *known] if name in set(results["direction"])]
    return tuple(known[name] for name in dict.fromkeys(present))


def list_groups(results: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return group to subjects, sorted."""
    pairs = results[["group", "subject"]].drop_duplicates().sort_values(["group", "subject"])
    return {str(g): tuple(part) for g, part in pairs.groupby("group", sort=True)["subject"]}


def _segmenter(results: pd.DataFrame, records: Sequence[RunRecord]) -> str:
    """Name the last run's segmenter, or else the one with most rows."""
    counts = results.loc[results["tissue"] != "", "segmenter"].value_counts()
    for record in reversed(records):
        if record.segmenter.name in counts.index:
            return record.segmenter.name
    return str(counts.index[0]) if len(counts) else ""


def _cells(
    folders: Sequence[RunFolder],
) -> dict[tuple[str, Direction], tuple[StoredCell, ...]]:
    found: dict[tuple[str, Direction], list[StoredCell]] = {}
    for folder in reversed(folders):
        for cell, record in folder.cells():
            key = (cell.method, cell.direction)
            found.setdefault(key, []).append(StoredCell(folder, cell, record))
    return {key: tuple(cells) for key, cells in found.items()}


def _lead_subject(results: pd.DataFrame, wanted: str | None) -> tuple[str, str]:
    subjects = sorted(set(results["subject"]))
    if wanted is not None:
        if wanted not in subjects:
            raise ReportError(f"unknown subject '{wanted}'; {suggest(wanted, subjects)}")
        return wanted, "chosen by the caller"
    found = median_subject(results, subjects)
    if found is None:
        return subjects[0], "the first subject; there is no MSE of the untreated source"
    return found, "the subject with the median MSE of the untreated source"


def median_subject(results: pd.DataFrame, subjects: Sequence[str]) -> str | None:
    """Return the subject with the (lower) median MSE of the untreated source, over directions."""
    rows = results[(results["metric"] == "mse") & (results["method"] == BASELINE)]
    rows = rows[rows["subject"].isin(list(subjects))]
    means = rows.groupby("subject", sort=True)["value"].mean().dropna().sort_values(kind="stable")
    return str(means.index[(len(means) - 1) // 2]) if len(means) else None


def _notes(
    folders: Sequence[RunFolder], records: Sequence[RunRecord], results: pd.DataFrame
) -> tuple[str, ...]:
    notes: list[str] = []
    if BASELINE not in set(results["method"]):
        notes.append(
            "The untreated source (identity) was not scored, so differences to it are not shown."
        )
    if CEILING not in set(results["method"]):
        notes.append("The reference was not scored against itself, so there is no ceiling row.")
    names = sorted(set(results.loc[results["tissue"] != "", "segmenter"]))
    if len(names) > 1:
        shown = _segmenter(results, records)
        notes.append(
            f"Segmentations were made with {', '.join(names)}; tissue tables and figures show "
            f"{shown} alone, the summary file holds all."
        )
    settings: dict[str, Mapping[str, object]] = {}
    for record, folder in zip(records, folders, strict=True):
        for name, method in record.methods.items():
            if settings.setdefault(name, method.settings) != method.settings:
                notes.append(
                    f"{name} was run with different settings in {folder.root.name} and an earlier "
                    "run; where both measured the same, the later counts."
                )
    for record in records:
        notes += record.split.words
    ways = results["direction"].nunique()
    if ways > MOST_DIRECTIONS:
        notes.append(
            f"{ways} directions were run: tables and figures of single directions show the first "
            f"{MOST_DIRECTIONS}, the overview of scanners and the summary file hold all."
        )
    return tuple(dict.fromkeys(notes))
