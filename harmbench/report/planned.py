"""What runs planned and have not done: methods, folds and seeds that are absent."""

from __future__ import annotations

from collections.abc import Iterable

from harmbench.report.evidence import Evidence
from harmbench.results import RESCAN
from harmbench.runner.run_record import RunRecord
from harmbench.task import Direction

__all__ = ["absent_cells", "what_is_absent"]

Place = tuple[int, int]
"""Fold and seed."""


def absent_cells(evidence: Evidence, direction: Direction) -> dict[str, tuple[Place, ...]]:
    """Return the folds and seeds that were planned for each method, and have not ended.

    All folds are planned, whichever of them an invocation asked for, and all seeds that any
    invocation named. A cell that failed has ended. Where a run has particular folds or pairs, a
    fold counts as planned once any method has it.

    Returns:
        Method to folds and seeds, for methods that lack any.
    """
    planned: dict[str, set[Place]] = {}
    for record in evidence.records:
        if record.folds is None or direction not in record.directions:
            continue
        seeds = _seeds(record) or {int(seed) for seed in evidence.results["seed"]}
        places = {(fold, seed) for fold in _folds(evidence, record, direction) for seed in seeds}
        # Only some folds may have subjects with a rescan.
        for method in (name for name in record.methods if name != RESCAN):
            planned.setdefault(method, set()).update(places)
    absent = {m: _due(evidence, m, direction, places) for m, places in planned.items()}
    return {method: tuple(sorted(places)) for method, places in absent.items() if places}


def _due(evidence: Evidence, method: str, direction: Direction, places: set[Place]) -> set[Place]:
    """Return the planned places that have not ended; nothing in a volume correction depends on the seed."""
    ended = _ended(evidence, method, direction)
    if method not in evidence.corrections:
        return places - ended
    folds, first = {fold for fold, _ in ended}, min(seed for _, seed in places)
    return {(fold, seed) for fold, seed in places if seed == first and fold not in folds}


def _folds(evidence: Evidence, record: RunRecord, direction: Direction) -> set[int]:
    """Return the folds that were planned; where a direction has particular ones, those that ran."""
    if record.folds is not None and not record.split.words:
        return set(range(record.folds.k))
    rows = evidence.results
    return {int(fold) for fold in rows.loc[rows["direction"] == str(direction), "fold"]}


def _seeds(record: RunRecord) -> set[int]:
    asked = [one.config.get("seeds") for one in record.invocations]
    return {int(seed) for seeds in asked if isinstance(seeds, list | tuple) for seed in seeds}


def _ended(evidence: Evidence, method: str, direction: Direction) -> set[Place]:
    rows = evidence.results
    rows = rows[(rows["method"] == method) & (rows["direction"] == str(direction))]
    scored = rows[["fold", "seed"]].drop_duplicates()
    ended = {
        (cell.cell.fold, cell.cell.seed)
        for cell in evidence.cells.get((method, direction), ())
        if cell.record.status != "running"
    }
    return ended | set(zip(scored["fold"].tolist(), scored["seed"].tolist(), strict=True))


def what_is_absent(evidence: Evidence, direction: Direction) -> tuple[str, ...]:
    """Say in sentences what was planned and is absent; methods that lack the same share one."""
    absent = absent_cells(evidence, direction)
    alike: dict[tuple[Place, ...], list[str]] = {}
    for method, places in absent.items():
        alike.setdefault(places, []).append(evidence.methods.get(method, method))
    present = set(evidence.results.loc[evidence.results["direction"] == str(direction), "method"])
    found = []
    for places, titles in alike.items():
        names = ", ".join(titles)
        if not {m for m, own in absent.items() if own == places} & present:
            found.append(f"{names}: planned, and absent.")
        else:
            found.append(f"{names}: {_places(places)} absent.")
    return tuple(found)


def _places(places: Iterable[Place]) -> str:
    by_seed: dict[int, list[int]] = {}
    for fold, seed in places:
        by_seed.setdefault(seed, []).append(fold)
    parts = []
    for seed, folds in sorted(by_seed.items()):
        numbers = ", ".join(str(fold) for fold in sorted(folds))
        parts.append(f"fold{'s' * (len(folds) > 1)} {numbers} of seed {seed}")
    single = len(parts) == 1 and parts[0].startswith("fold ")
    return f"{'; '.join(parts)} {'is' if single else 'are'}"
