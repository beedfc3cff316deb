"""Numbers in place of names, and the search for names that must not leave a laboratory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
from pydantic import JsonValue

from harmbench.errors import ReportError
from harmbench.runner.inputs import InputScans
from harmbench.storage import key_of

__all__ = ["LEFT_OUT", "PrivateNames", "Pseudonyms", "pseudonyms_of"]

LEFT_OUT = "(left out)"
"""Stands where a text could name a file, a subject or a machine."""

_SHORTEST = 3
_LONGEST_NUMBER = 5
_ROOTED_PATH = re.compile(r"(?<![\w:/.])(?:/|~|\.{1,2}/|[A-Za-z]:\\)\S")


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """What stands for a cohort, its subjects and their visits.

    Attributes:
        cohort: key of the cohort.
        inputs: key of the cohort, its masks and its scaling.
        subjects: subject to number, from 1.
        visits: (subject, visit) to number, from 1.
    """

    cohort: str
    inputs: str
    subjects: Mapping[str, int]
    visits: Mapping[tuple[str, str], int]

    def rename(self, results: pd.DataFrame) -> pd.DataFrame:
        """Return a results table with numbers for subjects and visits, as text.

        Raises:
            ReportError: the table has a subject or a visit that the cohort has not.
        """
        unknown = sorted(set(results["subject"]) - set(self.subjects))
        if unknown:
            raise ReportError(
                f"results of subjects that the table of scans has not: {', '.join(unknown[:3])}"
            )
        visits = [
            str(self.visits[subject, visit]) if visit else ""
            for subject, visit in zip(results["subject"], results["visit"], strict=True)
        ]
        subjects = [str(self.subjects[subject]) for subject in results["subject"]]
        return results.assign(subject=subjects, visit=visits)


def pseudonyms_of(inputs: InputScans, results: pd.DataFrame) -> Pseudonyms:
    """Number a cohort's subjects by the contents of their scans, whatever their names and places.

    The number of a subject is its place in the order of the SHA-256 of its scans, so two runs on one
    cohort give the same numbers, also on two machines and under other names. A cohort with one
    subject or scan more is another cohort.

    Args:
        inputs: the scans of a run.
        results: its results table, whose visits are numbered too.
    """
    files: dict[str, set[str]] = {}
    visits = {(str(s), str(v)) for s, v in zip(results["subject"], results["visit"], strict=True)}
    for scan in inputs.scans.values():
        files.setdefault(scan.subject, set()).add(scan.sha256)
        visits.add((scan.subject, scan.visit))
    keys = {subject: key_of("subject", sorted(found)) for subject, found in files.items()}
    ordered = sorted(keys, key=lambda subject: (keys[subject], subject))
    states = sorted(scan.state for scan in inputs.scans.values())
    return Pseudonyms(
        cohort=key_of("cohort", sorted(keys.values())),
        inputs=key_of("inputs", states),
        subjects={subject: number for number, subject in enumerate(ordered, start=1)},
        visits=_number_visits(visits),
    )


def _number_visits(visits: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    numbers: dict[tuple[str, str], int] = {}
    count: dict[str, int] = {}
    for subject, visit in sorted(visits):
        if visit:
            count[subject] = count.get(subject, 0) + 1
            numbers[subject, visit] = count[subject]
    return numbers


class PrivateNames:
    """Names of subjects, sessions and machines, which no text may hold."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the names; very short ones and small numbers, which any text holds, say nothing."""
        telling = sorted({name for name in names if _is_telling(name)}, key=len, reverse=True)
        text = "|".join(map(re.escape, telling))
        self._pattern = re.compile(f"(?<![A-Za-z0-9])(?:{text})(?![A-Za-z0-9])") if text else None

    def found_in(self, text: str) -> bool:
        """Whether a text holds one of the names as a word, or the path of a file."""
        named = self._pattern is not None and self._pattern.search(text) is not None
        return named or _ROOTED_PATH.search(text) is not None

    def without(self, value: JsonValue) -> JsonValue:
        """Return settings with `LEFT_OUT` for every text that holds a name or could be a path."""
        if isinstance(value, str):
            return LEFT_OUT if self.found_in(value) or re.search(r"[/\\]", value) else value
        if isinstance(value, list):
            return [self.without(one) for one in value]
        if isinstance(value, dict):
            return {str(self.without(key)): self.without(own) for key, own in value.items()}
        return value

    def require_none(self, value: JsonValue, where: str = "") -> None:
        """Raise an error where a text anywhere in a value holds a name or a path.

        Raises:
            ReportError: says where the text stands.
        """
        for place, text in _texts(value, where):
            if self.found_in(text):
                raise ReportError(
                    f"{place}: {text!r} holds the name of a subject, a session or a machine, or a path; "
                    "give it another name before results are exported"
                )


def _texts(value: JsonValue, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, where)
    elif isinstance(value, dict):
        for key, own in value.items():
            place = f"{where}.{key}" if where else key
            yield place, key
            yield from _texts(own, place)


def _is_telling(name: str) -> bool:
    return len(name) >= _SHORTEST and not (name.isdigit() and len(name) <= _LONGEST_NUMBER)
