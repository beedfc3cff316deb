"""The first screen of a page with many directions: one sentence, and one row for each direction."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harmbench.report.first_screen import ROLE_NOTES, Answer, HarmLine
from harmbench.report.sentences import inside_sentence
from harmbench.report.verdict import Role, State, Verdict, VerdictRow

__all__ = ["DirectionRow", "Directions", "sum_up"]

_NAMED = 4
_KINDS: Mapping[Role, str] = MappingProxyType(
    {
        "method": "an image method",
        "control": "a control",
        "volume correction": "a volume correction",
    }
)


@dataclass(frozen=True, slots=True)
class DirectionRow:
    """A row of the table of directions, in texts.

    Attributes:
        title: of the direction.
        anchor: place of its grid in the page.
        design: `24 subjects, 12 folds`.
        better, worse: methods that are shown to be better or worse than the original on the primary
            endpoint.
        best: the method with the highest chance of being best, and that chance.
        harms: what methods make worse.
    """

    title: str
    anchor: str
    design: str
    better: str
    worse: str
    best: str
    harms: tuple[HarmLine, ...]


@dataclass(frozen=True, slots=True)
class Directions:
    """What is said of all directions together.

    Attributes:
        sentence: the sum of all verdicts, in a few sentences.
        endpoint: title of the primary endpoint.
        rows: one for each direction.
        failures: methods and subjects that failed, in sentences that begin with the direction.
        enough: what would be enough to judge, for the directions that cannot be judged.
    """

    sentence: str
    endpoint: str
    rows: tuple[DirectionRow, ...]
    failures: tuple[str, ...]
    enough: tuple[str, ...]


def sum_up(answers: Sequence[Answer]) -> Directions | None:
    """Sum up the answers of all directions; `None` where there are none."""
    if not answers:
        return None
    return Directions(
        sentence=_sentence(answers),
        endpoint=answers[0].verdict.endpoint.title,
        rows=tuple(_row(one) for one in answers),
        failures=tuple(
            f"{one.title}: {failure}" for one in answers for failure in one.verdict.failures
        ),
        enough=_enough(answers),
    )


def _sentence(answers: Sequence[Answer]) -> str:
    endpoint = inside_sentence(answers[0].verdict.endpoint)
    judged = [one.verdict for one in answers if one.verdict.judgeable]
    if not judged:
        return f"This design cannot judge which method is best on {endpoint} in any direction."
    among = f" of {len(judged)} directions"
    if len(judged) < len(answers):
        among = f" of the {len(judged)} of {len(answers)} directions that can be judged"
    better, worse = _stand(judged, "better", among), _stand(judged, "worse")
    if not better:
        return f"There is no method to compare with the original on {endpoint}."
    harm = f"{worse[0].upper()}{worse[1:]}"
    return f"On {endpoint}, {better}. {harm}. {_leads(judged)} Each direction is tested on its own."


def _stand(verdicts: Sequence[Verdict], state: State, among: str = "") -> str:
    """Say in how many directions a method of each kind has a state; empty without methods."""
    counts = _counts(verdicts, state)
    if not counts:
        return ""
    (first, count), *others = counts
    text = f"{first} is shown to be {state} than the original in {count}{among}"
    return ", ".join([text, *(f"{kind} in {count}" for kind, count in others)])


def _counts(verdicts: Sequence[Verdict], state: State) -> list[tuple[str, int]]:
    """Count the directions in which a method of each kind has a state; kinds that are there."""
    kinds = [(kind, [_of(one, role) for one in verdicts]) for role, kind in _KINDS.items()]
    return [
        (kind, sum(any(row.cells[0].state == state for row in rows) for rows in found))
        for kind, found in kinds
        if any(found)
    ]


def _of(verdict: Verdict, role: Role) -> list[VerdictRow]:
    return [row for row in verdict.rows if row.role == role]


def _leads(verdicts: Sequence[Verdict]) -> str:
    """Say who is better than every other, and in how many directions."""
    originals = [row.title for one in verdicts for row in _of(one, "original")]
    counts = Counter(one.leader for one in verdicts if one.leader)
    methods = [(name, count) for name, count in counts.most_common() if name not in originals]
    text = "No method is shown to be better than every other in any direction."
    if methods:
        led = ", ".join(f"{name} in {count}" for name, count in methods[:_NAMED])
        more = f" and {len(methods) - _NAMED} more" if len(methods) > _NAMED else ""
        text = f"Shown to be better than every other: {led}{more}."
    beaten = sum(count for name, count in counts.items() if name in originals)
    if beaten:
        text += f" The original is shown to be better than every method in {beaten}."
    return text


def _row(answer: Answer) -> DirectionRow:
    verdict = answer.verdict
    return DirectionRow(
        title=answer.title,
        anchor=answer.anchor,
        design=f"{_count(verdict.subjects, 'subject')}, {_count(verdict.folds, 'fold')}",
        better=_better(verdict),
        worse=_titles(verdict, "worse"),
        best=_best(verdict),
        harms=answer.harms,
    )


def _better(verdict: Verdict) -> str:
    """Name all methods that are better than the original; where it was not scored, the leader."""
    if not verdict.judgeable:
        return "not judged"
    if all(row.role != "original" for row in verdict.rows):
        leads = f"; {verdict.leader} leads" if verdict.leader else ""
        return f"the original was not scored{leads}"
    return _titles(verdict, "better") or "none"


def _titles(verdict: Verdict, state: State) -> str:
    """Name all methods of a state, the leader first, and say which are no image methods."""
    found = [row for row in verdict.rows if row.cells[0].state == state]
    found.sort(key=lambda row: row.title != verdict.leader)
    return ", ".join(_named(row, verdict.leader) for row in found)


def _named(row: VerdictRow, leader: str) -> str:
    notes = [ROLE_NOTES[row.role], "leads" if row.title == leader else ""]
    shown = ", ".join(note for note in notes if note)
    return f"{row.title} ({shown})" if shown else row.title


def _best(verdict: Verdict) -> str:
    ranked = [row for row in verdict.rows if math.isfinite(row.chance_best)]
    best = max(ranked, key=lambda row: row.chance_best, default=None)
    return f"{best.title}, {100 * best.chance_best:.0f}\N{NO-BREAK SPACE}%" if best else ""


def _enough(answers: Sequence[Answer]) -> tuple[str, ...]:
    """Say once what would be enough, and for which directions where it is not for all."""
    places: dict[str, list[str]] = {}
    for answer in answers:
        if answer.verdict.enough:
            places.setdefault(answer.verdict.enough, []).append(answer.title)
    return tuple(
        text if len(titles) == len(answers) else f"{text} ({', '.join(titles)})"
        for text, titles in places.items()
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
