"""Conditions on the columns of tables: `qc == fail and age < 18`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final

from harmbench.cohorts.bids_tables import MISSING
from harmbench.cohorts.covariates import MISSING_VALUE
from harmbench.cohorts.dates import parse_time
from harmbench.errors import CohortError, ConfigError

__all__ = ["LABELS", "Condition", "NotOrderedError", "parse_condition"]

Lookup = Callable[[str], str | None]
"""Gives the value of a column; `None` where there is none."""

_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>'[^']*'|\"[^\"]*\")|(?P<sign>==|!=|<=|>=|<|>|[()\[\],])"
    r"|(?P<word>[^\s'\"()\[\],=!<>]+))"
)
_COMPARED = ("==", "!=", "<", ">", "<=", ">=")
_WORDS = {"and", "or", "not", "in"}
_DAY = len("2020-01-31")
_ORDERED = "a number, or a date in ISO 8601 such as 2020-01-31"

LABELS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("subject", "sub", "participant_id"), "sub"),
    **dict.fromkeys(("session", "ses", "session_id"), "ses"),
}
"""Columns that are the subject or session of a scan; their values may begin with `sub-` or `ses-`."""


class NotOrderedError(CohortError):
    """A value cannot be compared by `<` or `>`.

    Attributes:
        column: that has the value.
    """

    def __init__(self, column: str, own: str, value: str, text: str) -> None:
        self.column = column
        wanted = (
            "a number" if _number(value) is not None else "a date in ISO 8601 such as 2020-01-31"
        )
        super().__init__(
            f"{column} is '{own}', which cannot be compared with {value}; expected {wanted}, or n/a "
            f'where it is missing (condition "{text}")'
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that is read once and tried on many scans.

    Attributes:
        text: as it was written.
        columns: that it looks at.
        equals: columns, with a text that their values are compared with for equality.
    """

    text: str
    columns: tuple[str, ...]
    equals: tuple[tuple[str, str], ...]
    _test: Callable[[Lookup], bool]

    def holds(self, lookup: Lookup) -> bool:
        """Whether it holds for the values that `lookup` gives.

        Texts are compared as they stand, numbers by value. `<` and `>` compare numbers, and dates;
        with a date that has no time, only the day counts. A missing value is equal to `n/a`, and to
        nothing else, and neither below nor above anything.

        Raises:
            NotOrderedError: `<` or `>` meet a value that is no number where the condition has a
                number, or no date where it has a date.
        """
        return self._test(lookup)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    kind: str


def parse_condition(text: str) -> Condition:
    """Read a condition.

    A column stands at the left of `==`, `!=`, `<`, `>`, `<=`, `>=`, `in` and `not in`, a value or a
    list `(a, b)` at the right; `and`, `or`, `not` and parentheses join conditions. Values and
    columns with spaces or signs are quoted.

    Raises:
        ConfigError: it is not a condition; the message says what was expected where.
    """
    parser = _Parser(text)
    test = parser.either()
    parser.end()
    return Condition(text, tuple(dict.fromkeys(parser.columns)), tuple(parser.equals), test)


class _Parser:
    """Recursive descent: either -> both -> negated -> comparison."""

    def __init__(self, text: str) -> None:
        self.text, self.columns, self.equals = text, list[str](), list[tuple[str, str]]()
        self._tokens, place = list[_Token](), 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._wrong(f"'{text[place:].strip()[0]}' is not understood")
            kind = found.lastgroup or ""
            own = found[kind]
            self._tokens.append(_Token(own[1:-1] if kind == "quoted" else own, kind))
            place = found.end()

    def either(self) -> Callable[[Lookup], bool]:
        tests = [self._both()]
        while self._take("or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda look: any(test(look) for test in tests)

    def end(self) -> None:
        if self._tokens:
            raise self._wrong(f"'{self._tokens[0].text}' is not expected there")

    def _both(self) -> Callable[[Lookup], bool]:
        tests = [self._negated()]
        while self._take("and"):
            tests.append(self._negated())
        return tests[0] if len(tests) == 1 else lambda look: all(test(look) for test in tests)

    def _negated(self) -> Callable[[Lookup], bool]:
        if self._take("not"):
            inner = self._negated()
            return lambda look: not inner(look)
        if self._take("("):
            inner = self.either()
            self._need(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Callable[[Lookup], bool]:
        column = self._value("a column")
        self.columns.append(column)
        for sign in _COMPARED:
            if self._take(sign):
                value = self._value("a value")
                if sign in ("==", "!="):
                    return self._equal(column, [value], negative=sign == "!=")
                return self._ordered(column, sign, value)
        negative = self._take("not")
        if not self._take("in"):
            raise self._wrong(f"expected one of {', '.join(_COMPARED)}, in, after '{column}'")
        return self._equal(column, self._list(), negative=negative)

    def _equal(
        self, column: str, values: Sequence[str], *, negative: bool
    ) -> Callable[[Lookup], bool]:
        values = [_bare(column, value) for value in values]
        self.equals += [(column, value) for value in values]
        return lambda look: any(_same(_own(look, column), v) for v in values) != negative

    def _ordered(self, column: str, sign: str, value: str) -> Callable[[Lookup], bool]:
        if _number(value) is None and parse_time(value) is None:
            raise self._wrong(f"after {sign} expected {_ORDERED}, found '{value}'")

        def test(look: Lookup) -> bool:
            own = _own(look, column)
            if own is None or own.casefold() in MISSING_VALUE:
                return False
            apart = _apart(own, value)
            if apart is None:
                raise NotOrderedError(column, own, value, self.text)
            return {"<": apart < 0, ">": apart > 0, "<=": apart <= 0, ">=": apart >= 0}[sign]

        return test

    def _list(self) -> list[str]:
        close = ")" if self._take("(") else "]" if self._take("[") else ""
        if not close:
            raise self._wrong("expected a list (a, b) after in")
        values = [self._value("a value")]
        while self._take(","):
            values.append(self._value("a value"))
        self._need(close)
        return values

    def _value(self, what: str) -> str:
        token = self._tokens[0] if self._tokens else None
        if token is None or token.kind == "sign" or self._is_word(token):
            found = f"'{token.text}'" if token else "the end"
            raise self._wrong(f"expected {what}, found {found}")
        return self._tokens.pop(0).text

    @staticmethod
    def _is_word(token: _Token) -> bool:
        return token.kind == "word" and token.text in _WORDS

    def _take(self, text: str) -> bool:
        if self._tokens and self._tokens[0].kind != "quoted" and self._tokens[0].text == text:
            self._tokens.pop(0)
            return True
        return False

    def _need(self, text: str) -> None:
        if not self._take(text):
            raise self._wrong(f"'{text}' is missing")

    def _wrong(self, why: str) -> ConfigError:
        return ConfigError(
            f'the condition "{self.text}": {why}; an example: qc == fail and age < 18'
        )


def _bare(column: str, text: str) -> str:
    """Return a label without `sub-` or `ses-`: `subject == 01` and `subject == sub-01` are the same."""
    return text.removeprefix(f"{LABELS[column]}-") if column in LABELS else text


def _own(look: Lookup, column: str) -> str | None:
    found = look(column)
    return None if found is None else _bare(column, found)


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return None if math.isnan(found) else found


def _same(own: str | None, value: str) -> bool:
    if own is None or own in MISSING:
        return value in MISSING
    one = _number(own)
    return own == value or (one is not None and one == _number(value))


def _apart(own: str, value: str) -> float | None:
    """How far a value lies above another, as numbers or as dates; `None` where they are not alike."""
    number, when = _number(value), parse_time(value)
    if number is not None:
        found = _number(own)
        return None if found is None else (found > number) - (found < number)
    time_found = parse_time(own)
    if time_found is None or when is None:
        return None
    if len(value) <= _DAY:
        time_found = datetime.combine(time_found, time.min)
    return (time_found - when).total_seconds()
