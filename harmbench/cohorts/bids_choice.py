"""Which file of several is a session's scan, and which mask is a scan's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harmbench.cohorts.bids_names import BidsFile
from harmbench.errors import CohortError
from harmbench.notes import Note

__all__ = ["choose", "differing", "mask_of", "matching", "unused_masks"]

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
    raise CohortError(f"{len(files if others else alike)} files fit ({names}): {advice}")


def _order(label: str) -> tuple[int, str]:
    """Order of runs: without a label first, then by number, then other labels by name."""
    return (int(label), label) if label.isdecimal() else (10**9 if label else -1, label)


def _labels(files: Sequence[BidsFile]) -> dict[str, Counter[str]]:
    """Count the labels of each entity over files."""
    entities = dict.fromkeys(entity for file in files for entity in file.entities)
    return {e: Counter(file.entities.get(e, _ABSENT) for file in files) for e in entities}


def differing(files: Sequence[BidsFile], session_by: str) -> list[tuple[str, str]]:
    """Return the entities in which scans of one session differ, with counts of their labels."""
    found = []
    for entity, unordered in _labels(files).items():
        counts = dict(sorted(unordered.items(), key=lambda item: (item[0] == _ABSENT, item[0])))
        if len(counts) > 1 and entity not in {"sub", "ses", session_by}:
            each = [f"{'absent' if v == _ABSENT else v} in {n}" for v, n in counts.items()]
            found.append((entity, ", ".join(each)))
    return found


def _is_brain_mask(file: BidsFile) -> bool:
    return file.suffix == "mask" and file.entities.get("desc") == "brain"


def _fits(mask: BidsFile, scan: BidsFile) -> bool:
    """Whether a mask has a scan's entities, but for desc; `mod-` names the suffix."""
    own = {key: value for key, value in mask.entities.items() if key != "desc"}
    theirs = {key: value for key, value in scan.entities.items() if key != "desc"}
    if own.get("mod") == scan.suffix and "mod" not in theirs:
        del own["mod"]
    return own == theirs


def mask_of(scan: BidsFile, beside: Iterable[BidsFile]) -> Path | None:
    """Return the brain mask of a scan; `None` where there is none.

    Args:
        scan: the scan.
        beside: the images of its folder.

    Raises:
        CohortError: several fit.
    """
    found = [file.path for file in beside if _is_brain_mask(file) and _fits(file, scan)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise CohortError(f"{len(found)} brain masks fit ({names}): remove all but one")
    return found[0] if found else None


def unused_masks(beside: Sequence[BidsFile]) -> list[Path]:
    """Return brain masks among the images of one folder that fit none of the others."""
    images = [file for file in beside if file.suffix != "mask"]
    return [
        mask.path
        for mask in beside
        if _is_brain_mask(mask) and not any(_fits(mask, image) for image in images)
    ]
