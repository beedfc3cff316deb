"""Which file of several is a session's scan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from harmbench.cohorts.bids_names import BidsFile
from harmbench.cohorts.bids_sessions import Identity
from harmbench.cohorts.left_out import LeftOut
from harmbench.errors import CohortError, suggest
from harmbench.notes import Note

__all__ = [
    "ALL_RUNS",
    "choose",
    "chosen_scans",
    "differing",
    "for_scanner",
    "matching",
]

ALL_RUNS: Final = "all"
"""Each run of a visit is a scan of its own."""

_NUMBERED = ("run", "echo", "inv", "flip", "split", "chunk")
_ABSENT = "null"
_STRICT = {"desc", "space"}


def matching(
    files: Iterable[BidsFile], wanted: Mapping[str, str | None]
) -> tuple[list[BidsFile], list[Note]]:
    """Return the files with all wanted labels.

    Where no file of a subject's session has a wanted entity, its files are kept, with a note. This
    does not hold for desc- and space-.

    Args:
        files: of one suffix.
        wanted: label by entity; `None`: without that entity.
    """
    visits: dict[tuple[str, str], list[BidsFile]] = {}
    for file in files:
        visits.setdefault((file.subject, file.session), []).append(file)
    found: list[BidsFile] = []
    notes = []
    for (subject, session), own in visits.items():
        where = f"subject {subject}" + (f", session {session}" if session else "")
        there = {entity for file in own for entity in file.entities} | _STRICT
        for entity, label in wanted.items():
            if entity not in there and label is not None:
                text = f"no scan has {entity}-; taken without {entity}-{label}"
                notes.append(Note("entity-not-there", text, where))
        applied = {e: label for e, label in wanted.items() if e in there or label is None}
        found += [
            file
            for file in own
            if all(_same_label(e, file.entities.get(e), label) for e, label in applied.items())
        ]
    return found, notes


def _same_label(entity: str, label: str | None, wanted: str | None) -> bool:
    if label == wanted or label is None or wanted is None:
        return label == wanted
    # Indices may have leading zeros.
    numbers = entity in _NUMBERED and label.isdecimal() and wanted.isdecimal()
    return numbers and int(label) == int(wanted)


class _SeveralFitError(CohortError):
    """Several files fit one visit.

    Attributes:
        advice: which setting chooses; empty where none does.
    """

    def __init__(self, summary: str, advice: str) -> None:
        super().__init__(summary)
        self.advice = advice


def choose(files: Sequence[BidsFile], run: str) -> BidsFile:
    """Choose one of the files that fit one subject and session.

    Args:
        files: at least one.
        run: `first`, `last`, or a label; among files that differ in nothing else.

    Raises:
        CohortError: several files fit, or none; says which setting chooses.
    """
    if run not in ("first", "last"):
        there = sorted({file.entities.get("run", "no run-") for file in files}, key=_order)
        files, _ = matching(files, {"run": run})
        if not files:
            raise CohortError(f"no run {run}, it has {', '.join(there)}")
    labels = _labels(files)
    others = {entity: own for entity, own in labels.items() if len(own) > 1 and entity != "run"}
    by_run = sorted(files, key=lambda file: _order(file.entities.get("run", "")))
    found = by_run[-1 if run == "last" else 0]
    mine = found.entities.get("run")
    alike = [file for file in files if _same_label("run", file.entities.get("run"), mine)]
    if not others and len(alike) == 1:
        return found
    names = ", ".join(sorted(file.path.name for file in (files if others else alike)))
    settings = " and ".join(
        f"data.bids.entities.{entity} ({', '.join(sorted(own))})" for entity, own in others.items()
    )
    advice = (
        f"choose with {settings}"
        if others
        else "they differ in folder or ending, or in zeros of run-: remove one"
    )
    count = len(files if others else alike)
    raise _SeveralFitError(f"{count} files fit ({names}): {advice}", advice if others else "")


def chosen_scans(
    scans: Iterable[tuple[BidsFile, Identity]], run: str, problems: list[str]
) -> tuple[dict[tuple[str, str], tuple[Identity, BidsFile]], list[LeftOut]]:
    """Choose one file for each subject and session, and say which others are left out.

    Args:
        scans: files with their identity.
        run: as in `choose`, or `all`.
        problems: gets a line for each visit where several files fit, or two visits have one label;
            visits of one scanner that the same setting would help are one line.

    Returns:
        By (subject, session), sorted: the identity and the file. With `all`, a run's label is a part
        of its visit's label where any visit has several runs.
    """
    if run == ALL_RUNS:
        scans = _runs_as_visits(list(scans))
    visits: dict[Identity, list[BidsFile]] = defaultdict(list)
    for file, own in scans:
        visits[own].append(file)
    reason = f"another run of the visit is used (run: {run})"
    found: dict[tuple[str, str], tuple[Identity, BidsFile]] = {}
    out: list[LeftOut] = []
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for own, files in sorted(visits.items(), key=lambda item: (item[0].subject, item[0].session)):
        where = f"subject {own.subject}, session {own.session}"
        try:
            chosen = choose(files, "first" if run == ALL_RUNS else run)
        except _SeveralFitError as error:
            hint = f"; for this scanner alone, --acquisition {own.scanner}=LABEL"
            said = f"{error}{hint if 'entities.acq' in error.advice else ''}"
            alike[own.scanner, error.advice or where].append(f"{where}: {said}")
            continue
        except CohortError as error:
            problems.append(f"{where}: {error}")
            continue
        if (own.subject, own.session) in found:
            problems.append(f"{where}: the label stands for two visits; rename one")
        found[own.subject, own.session] = (own, chosen)
        out += [LeftOut("other-run", reason, f.path.name) for f in files if f.path != chosen.path]
    for (scanner, _), lines in alike.items():
        others = len(lines) - 1
        more = f" (and {others} more visit{'s' * (others > 1)} on {scanner})" if others else ""
        problems.append(f"{lines[0]}{more}")
    return found, out


def _runs_as_visits(
    scans: Sequence[tuple[BidsFile, Identity]],
) -> list[tuple[BidsFile, Identity]]:
    runs: dict[Identity, set[str]] = defaultdict(set)
    for file, own in scans:
        runs[own].add(file.entities.get("run", ""))
    if all(len(labels) == 1 for labels in runs.values()):
        return list(scans)

    def named(file: BidsFile, own: Identity) -> Identity:
        run = f"run{file.entities['run']}" if "run" in file.entities else ""
        return replace(own, visit="-".join(part for part in (own.visit, run) if part))

    return [(file, named(file, own)) for file, own in scans]


def for_scanner(
    scans: Sequence[tuple[BidsFile, Identity]],
    per_scanner: Mapping[str, Mapping[str, str | None]],
) -> tuple[list[tuple[BidsFile, Identity]], list[LeftOut]]:
    """Keep the scans that have the labels wanted for their scanner.

    Args:
        scans: files with their identity.
        per_scanner: scanner to label by entity; `None`: without that entity.

    Raises:
        CohortError: there is no such scanner.
    """
    scanners = {own.scanner for _, own in scans}
    for scanner in per_scanner:
        if scanner not in scanners:
            raise CohortError(f"data.bids.per_scanner: {scanner}: {suggest(scanner, scanners)}")
    kept: list[tuple[BidsFile, Identity]] = []
    out: list[LeftOut] = []
    for file, own in scans:
        wanted = per_scanner.get(own.scanner, {})
        if all(_same_label(e, file.entities.get(e), label) for e, label in wanted.items()):
            kept.append((file, own))
        else:
            asked = ", ".join(f"{e}-{v}" if v else f"no {e}-" for e, v in wanted.items())
            reason = f"not what is wanted of scanner {own.scanner} ({asked})"
            out.append(LeftOut("other-acquisition", reason, file.path.name))
    return kept, out


def _order(label: str) -> tuple[int, str]:
    """Order of runs: without a label first, then by number, then other labels by name."""
    return (int(label), label) if label.isdecimal() else (10**9 if label else -1, label)


def _labels(files: Sequence[BidsFile]) -> dict[str, Counter[str]]:
    """Count the labels of each entity over files."""
    entities = dict.fromkeys(entity for file in files for entity in file.entities)
    return {e: Counter(file.entities.get(e, _ABSENT) for file in files) for e in entities}


def differing(files: Sequence[BidsFile], skipped: Collection[str]) -> list[tuple[str, str]]:
    """Return the entities in which scans of one scanner differ, with counts of their labels.

    Args:
        files: the scans.
        skipped: entities that are not looked at, beside sub- and ses-.
    """
    found = []
    for entity, unordered in _labels(files).items():
        counts = dict(sorted(unordered.items(), key=lambda item: (item[0] == _ABSENT, item[0])))
        if len(counts) > 1 and entity not in {"sub", "ses", *skipped}:
            each = [f"{'absent' if v == _ABSENT else v} in {n}" for v, n in counts.items()]
            found.append((entity, ", ".join(each)))
    return found
