"""Reading run folders, checking that they fit together, and merging their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from harmbench.errors import ReportError, suggest
from harmbench.metrics.base import Metric
from harmbench.report.evidence import MOST_DIRECTIONS, Evidence, StoredCell
from harmbench.report.published import DIRECTIONS
from harmbench.results import (
    BASELINE,
    CEILING,
    REAL_SCANS,
    RESCAN,
    merge,
    read_results,
    read_training_sizes,
)
from harmbench.runner.folder import RunFolder
from harmbench.runner.run_record import MethodRecord, RunRecord
from harmbench.statistics import summarize
from harmbench.task import Direction

__all__ = ["load_evidence", "median_subject"]

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
        ReportError: a folder is not a run's, there are no results, the runs used different scans,
            or the lead subject is unknown.
    """
    if not runs:
        raise ReportError("no run folder was given; name at least one")
    folders = tuple(RunFolder(Path(run)) for run in runs)
    records = tuple(folder.read_record() for folder in folders)
    _require_same_cohort(folders, records)
    results = merge(read_results(folder.results) for folder in folders)
    if results.empty:
        names = ", ".join(str(folder.root) for folder in folders)
        raise ReportError(f"{names}: the results table has no rows; run some cells first")
    # Image metrics don't depend on the segmenter: under two names they would be two measures.
    results.loc[results["tissue"] == "", "segmenter"] = ""
    # A run that split its subjects otherwise holds the same measurement under another fold.
    results = results.drop_duplicates(_MEASUREMENT, keep="last", ignore_index=True)
    declared = _declared(results, metrics)
    lead, reason = _lead_subject(results, lead_subject)
    return Evidence(
        runs=folders,
        records=records,
        results=results,
        summary=summarize(results, declared),
        metrics=declared,
        methods=_methods(results, records),
        directions=_directions(results, records),
        groups=_groups(results),
        segmenter=_segmenter(results, records),
        cells=_cells(folders),
        lead=lead,
        lead_reason=reason,
        notes=_notes(folders, records, results),
        training_sizes=_training_sizes(folders),
    )


def _training_sizes(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """Merge the results of runs that have cells on fewer training subjects."""
    tables = [
        read_training_sizes(folder.training_sizes)
        for folder in folders
        if folder.training_sizes.is_file()
    ]
    if not tables:
        return pd.DataFrame()
    found = pd.concat(tables, ignore_index=True)
    found.loc[found["tissue"] == "", "segmenter"] = ""
    keys = [*_MEASUREMENT, "train_subjects"]
    return found.drop_duplicates(keys, keep="last", ignore_index=True)


def _require_same_cohort(folders: Sequence[RunFolder], records: Sequence[RunRecord]) -> None:
    first, *others = (record.cohort for record in records)
    for folder, cohort in zip(folders[1:], others, strict=True):
        for key, own, known in (
            ("name", cohort.name, first.name),
            ("simulated", cohort.simulated, first.simulated),
        ):
            if own != known:
                raise ReportError(
                    f"{folder.root}: its cohort has {key} {own!r}, {folders[0].root} "
                    f"has {known!r}; one report shows runs of one cohort"
                )
    seen: dict[tuple[str, str], tuple[str, Path]] = {}
    for folder in folders:
        if not folder.inputs.is_file():
            continue
        for (subject, session), scan in folder.input_scans().scans.items():
            found = f"{scan.sha256} {scan.rescale}"
            before, where = seen.setdefault((subject, session), (found, folder.root))
            if before != found:
                raise ReportError(
                    f"subject {subject}, session {session}: {where} and {folder.root} used different "
                    "files or scalings; one report shows runs of the same scans"
                )


def _declared(results: pd.DataFrame, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
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


def _methods(results: pd.DataFrame, records: Sequence[RunRecord]) -> dict[str, str]:
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


def _directions(results: pd.DataFrame, records: Sequence[RunRecord]) -> tuple[Direction, ...]:
    known = {str(direction): direction for r in records for direction in r.directions}
    for text in sorted(set(results["direction"])):
        if text not in known:
            source, _, target = text.partition("-to-")
            known[text] = Direction(source, target)
    present = [name for name in [*DIRECTIONS, *known] if name in set(results["direction"])]
    return tuple(known[name] for name in dict.fromkeys(present))


def _groups(results: pd.DataFrame) -> dict[str, tuple[str, ...]]:
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
    folds = results[["direction", "subject", "fold"]].drop_duplicates()
    if len(folds) != len(folds[["direction", "subject"]].drop_duplicates()):
        notes.append(
            "The runs split their subjects into different folds: read the spread over folds of "
            "methods from different runs with care. Intervals over subjects are not affected."
        )
    return tuple(dict.fromkeys(notes))
