"""What a data set's table says of its subjects beside their group: age, sex, and the like.

Volume corrections may take these as covariates. Which columns count is a choice of the user
(`data.covariates`); no other column is read.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from harmbench.cohorts.alike import folded, several_spellings
from harmbench.errors import CohortError, suggest
from harmbench.files.text import label_text, read_object, read_table
from harmbench.notes import Note

__all__ = ["GROUP", "MISSING_VALUE", "PEOPLE", "Covariate", "CovariateKind", "read_covariates"]

CovariateKind = Literal["number", "category"]

GROUP: Final = "group"
"""Name of the covariate that every cohort has: the subjects' group."""

PEOPLE: Final = "participants.tsv"
"""The table of a BIDS folder's subjects."""

MISSING_VALUE: Final = frozenset({"", "n/a", "na", "nan", "none", "unknown"})
"""Texts, in lower case, that say that there is no value."""

_SEX = ("sex", "gender")
_SEX_WORDS = {"male": "m", "man": "m", "female": "f", "woman": "f"}
_KEYS = ("participant_id", "subject")
_IMPUTED = (
    "volume corrections that use it take the training subjects' mean, or most frequent category"
)


@dataclass(frozen=True, slots=True)
class Covariate:
    """A covariate of a cohort's subjects.

    Attributes:
        kind: whether its values are numbers, or labels of categories.
        by_subject: subject to value, as text; a subject whose value is missing is not in it.
    """

    kind: CovariateKind
    by_subject: Mapping[str, str]


def read_covariates(
    names: Sequence[str],
    table: Path,
    labels: Mapping[str, Iterable[str]],
    groups: Mapping[str, str],
) -> tuple[dict[str, Covariate], tuple[Note, ...]]:
    """Read covariates of subjects from a table.

    A column is of numbers where all its values are, unless `participants.json` beside the table declares
    `Levels` for it. A subject with several rows, such as one for each visit, has the mean of its numbers.

    Args:
        names: columns; `group` stands for the subjects' groups.
        table: a manifest, or participants.tsv.
        labels: subject to what the table calls it; one person may have several labels.
        groups: subject to group.

    Returns:
        The covariates by name, and notes on what is missing, averaged, or spelled in several ways.

    Raises:
        CohortError: the table is not usable, or lists every problem: a column is missing, has both
            numbers and words, has no value, or a subject has two categories.
    """
    found: dict[str, Covariate] = {}
    if GROUP in names:
        found[GROUP] = Covariate("category", dict(groups))
    others = [name for name in dict.fromkeys(names) if name != GROUP]
    problems: list[str] = []
    texts: dict[str, dict[str, list[str]]] = {}
    if others:
        texts = _texts(others, table, labels)
        levels = _with_levels(table)
        for name in others:
            try:
                found[name] = _covariate(name, texts[name], declared=name in levels)
            except CohortError as error:
                problems.append(str(error))
    if problems:
        raise CohortError(f"{table}: covariates cannot be used:", problems)
    notes = [
        Note("covariate-missing", f"its {name} is missing; {_IMPUTED}", f"subject {subject}")
        for name, own in found.items()
        for subject in labels
        if subject not in own.by_subject
    ]
    for name in others:
        notes += _averaged(name, texts[name]) if found[name].kind == "number" else []
        notes += _spellings(name, found[name]) if found[name].kind == "category" else []
    return {name: found[name] for name in dict.fromkeys(names)}, tuple(notes)


def _texts(
    names: Sequence[str], path: Path, labels: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, list[str]]]:
    """Read columns: name to subject to its values that are not missing, each once."""
    if not path.is_file():
        raise CohortError(f"data.covariates is {', '.join(names)}, but there is no {path}")
    table = read_table(path, "," if path.suffix == ".csv" else "\t")
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise CohortError(
            f"{path}: data.covariates names '{absent[0]}'; {suggest(absent[0], (*table.columns, GROUP))}"
        )
    key = next((name for name in _KEYS if name in table.columns), "")
    owners: dict[str, list[str]] = defaultdict(list)
    for subject, own in labels.items():
        for label in own:
            owners[_bare(label)].append(subject)
    found: dict[str, dict[str, list[str]]] = {name: {} for name in names}
    for row in table.rows:
        for subject in owners.get(_bare(row.values[key]), ()):
            for name in names:
                text = label_text(row.values[name])
                known = found[name].setdefault(subject, [])
                if text.casefold() not in MISSING_VALUE and text not in known:
                    known.append(text)
    return found


def _bare(label: str) -> str:
    return label_text(label).removeprefix("sub-")


def _with_levels(table: Path) -> set[str]:
    """Columns that `participants.json` declares as categories."""
    path = table.with_name("participants.json")
    if table.name != PEOPLE or not path.is_file():
        return set()
    described, _ = read_object(path)
    return {n for n, own in described.items() if isinstance(own, Mapping) and own.get("Levels")}


def _covariate(name: str, texts: Mapping[str, Sequence[str]], *, declared: bool) -> Covariate:
    """Turn the texts of one column into a covariate."""
    known = {subject: own for subject, own in texts.items() if own}
    words = sorted({text for own in known.values() for text in own if _number(text) is None})
    numbers = sum(_number(text) is not None for own in known.values() for text in own)
    if not known:
        raise CohortError(f"column '{name}' has no value for any subject")
    if not words and not declared:
        means = {s: sum(map(float, own)) / len(own) for s, own in known.items()}
        return Covariate("number", {s: f"{mean:.9g}" for s, mean in means.items()})
    if numbers and not declared:
        raise CohortError(
            f"column '{name}' has numbers and also {', '.join(repr(word) for word in words[:3])}; write "
            "n/a for a missing value, or declare Levels in participants.json"
        )
    twice = [f"{s} ({' and '.join(own)})" for s, own in known.items() if len(own) > 1]
    if twice:
        raise CohortError(f"column '{name}' has two values for {', '.join(twice[:3])}")
    return Covariate("category", {s: own[0] for s, own in known.items()})


def _averaged(name: str, texts: Mapping[str, Sequence[str]]) -> list[Note]:
    """Note subjects whose rows have several numbers, with the smallest and the largest one."""
    text = f"its rows differ in {name}; the mean of different values is used"
    found = {subject: sorted(map(float, own)) for subject, own in texts.items()}
    return [
        Note("covariate-averaged", text, f"subject {subject} ({own[0]:g} to {own[-1]:g})")
        for subject, own in found.items()
        if own and own[0] != own[-1]
    ]


def _spellings(name: str, own: Covariate) -> list[Note]:
    """Note categories of a column that may be one: spellings, and words for a sex."""
    sexes = name.casefold() in _SEX

    def form(text: str) -> str:
        plain = folded(text)
        return _SEX_WORDS.get(plain, plain) if sexes else plain

    return [
        Note(
            "categories-alike",
            f"{name}: taken as different categories; give one category one name",
            " and ".join(f"'{spelling}'" for spelling in same),
        )
        for same in several_spellings(own.by_subject.values(), form)
    ]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
