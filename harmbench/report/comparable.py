"""Whether the results of several runs may be put together: one check, for every command that does so.

Results are comparable where they come from the same scans, prepared, split, segmented and scored alike.
What a run does not say (an earlier harmbench recorded less) is no reason against it, but is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from harmbench.errors import ReportError
from harmbench.runner.folder import RunFolder
from harmbench.runner.run_record import RunRecord, SegmenterRecord
from harmbench.storage import key_of

__all__ = ["Conditions", "conditions_of_run", "fold_places", "require_comparable", "why_apart"]

FoldPlaces = Mapping[tuple[str, str], frozenset[int]]
"""(direction, subject) to the folds that it was tested in."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which conditions results were measured.

    Attributes:
        name: what messages call the run: its folder or file.
        cohort: the kind of cohort, such as `phantom`.
        simulated: whether the scans were computed.
        scans: a scan in words (`subject s1, session 3T`) to the key of its file and scaling; of an
            exported file, the whole cohort is one entry.
        preparation: key of the settings that the scans were prepared with; empty where unknown.
        folds: see `FoldPlaces`.
        segmenter: name, version and contrast; without a name where unknown.
        metrics: keys of the code and the settings of scores; empty where unknown.
        stacking_axis: along which slices are stacked; `None` where unknown.
    """

    name: str
    cohort: str
    simulated: bool
    scans: Mapping[str, str] = field(default_factory=dict)
    preparation: str = ""
    folds: FoldPlaces = field(default_factory=dict)
    segmenter: SegmenterRecord = field(default_factory=SegmenterRecord)
    metrics: frozenset[str] = frozenset()
    stacking_axis: int | None = None

    @property
    def unknown(self) -> tuple[str, ...]:
        """What is not recorded."""
        parts = {
            "scans": self.scans,
            "segmenter": self.segmenter.name,
            "version of the metrics": self.metrics,
        }
        return tuple(name for name, value in parts.items() if not value)


def fold_places(results: pd.DataFrame) -> FoldPlaces:
    """Return the folds in which each subject was tested, from a results table."""
    rows = results[["direction", "subject", "fold"]].drop_duplicates()
    found: dict[tuple[str, str], set[int]] = {}
    for direction, subject, fold in zip(*(rows[name] for name in rows.columns), strict=True):
        found.setdefault((str(direction), str(subject)), set()).add(int(fold))
    return {place: frozenset(folds) for place, folds in found.items()}


def conditions_of_run(folder: RunFolder, record: RunRecord, results: pd.DataFrame) -> Conditions:
    """Return the conditions of a run folder.

    Args:
        folder: where it is.
        record: its `run.json`.
        results: its results table.

    Raises:
        RunError: its table of scans is damaged.
    """
    scans = {}
    if folder.inputs.is_file():
        for (subject, session), scan in folder.input_scans().scans.items():
            where = f"subject {subject}, session {session}"
            scans[where] = scan.state
    preparation = record.cohort.preparation
    return Conditions(
        name=str(folder.root),
        cohort=record.cohort.name,
        simulated=record.cohort.simulated,
        scans=scans,
        preparation="" if preparation is None else key_of(preparation),
        folds=fold_places(results),
        segmenter=record.segmenter,
        metrics=frozenset(cell.metrics for _, cell in folder.cells() if cell.metrics),
        stacking_axis=record.stacking_axis,
    )


def why_apart(one: Conditions, other: Conditions) -> list[str]:
    """Say why results under these conditions must not be put together; nothing where they may."""
    return [*_other_cohort(one, other), *_other_folds(one, other), *_other_scores(one, other)]


def _other_cohort(one: Conditions, other: Conditions) -> Iterator[str]:
    for key, own, known in (
        ("name", other.cohort, one.cohort),
        ("simulated", other.simulated, one.simulated),
    ):
        if own != known:
            yield f"{other.name}: its cohort has {key} {own!r}, {one.name} has {known!r}"
    shared = [where for where in other.scans if where in one.scans]
    if one.scans and other.scans and not shared:
        yield f"{one.name} and {other.name} have no scan in common"
    changed = [where for where in shared if one.scans[where] != other.scans[where]]
    if changed:
        yield (f"{_some(changed)}: {one.name} and {other.name} used different files or scalings")
    if one.preparation and other.preparation and one.preparation != other.preparation:
        yield f"{one.name} and {other.name}: the scans were prepared with different settings"


def _other_folds(one: Conditions, other: Conditions) -> Iterator[str]:
    changed = [
        f"{subject} ({direction})"
        for (direction, subject), folds in other.folds.items()
        if one.folds.get((direction, subject), folds) != folds
    ]
    if changed:
        yield (
            f"{one.name} and {other.name} tested subjects in different folds, so their methods "
            f"learned from different subjects: {_some(changed)}"
        )


def _other_scores(one: Conditions, other: Conditions) -> Iterator[str]:
    own, known = other.segmenter, one.segmenter
    if own.name and known.name and own != known:
        yield (
            f"{other.name}: tissues were segmented with {_in_words(own)}, those of {one.name} with "
            f"{_in_words(known)}; `harmbench rescore` segments again"
        )
    axes = {one.stacking_axis, other.stacking_axis} - {None}
    if len(axes) > 1:
        yield f"{one.name} and {other.name}: slices are stacked along different axes"
    if one.metrics and other.metrics and one.metrics != other.metrics:
        yield (
            f"{one.name} and {other.name}: scores were computed by different versions or settings "
            "of the metrics; `harmbench rescore` scores again"
        )


def _in_words(segmenter: SegmenterRecord) -> str:
    version = f" ({segmenter.version})" if segmenter.version else ""
    return f"{segmenter.name}{version} as {segmenter.contrast}"


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def require_comparable(found: Sequence[Conditions]) -> None:
    """Raise an error where runs must not be put together.

    Args:
        found: the conditions of each run; every one is held against every other.

    Raises:
        ReportError: lists every reason.
    """
    problems = [
        problem
        for place, one in enumerate(found)
        for other in found[place + 1 :]
        for problem in why_apart(one, other)
    ]
    if problems:
        raise ReportError(
            "these runs cannot be put together:\n"
            + "\n".join(f"  {problem}" for problem in dict.fromkeys(problems))
        )
