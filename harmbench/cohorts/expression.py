"""Conditions on the columns of tables: `qc == fail and age < 18`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harmbench.cohorts.bids_tables import MISSING
from harmbench.errors import ConfigError

__all__ = ["Condition", "parse_condition"]

Lookup = Callable[[str], str | None]
"""Gives the value of a column; `None` where there is none."""

_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>'[^']*'|\"[^\"]*\")|(?P<sign>==|!=|<=|>=|<|>|[()\[\],])"
    r"|(?P<word>[^\s'\"()\[\],=!<>]+))"
)
_COMPARED = ("==", "!=", "<", ">", "<=", ">=")
_WORDS = {"and", "or", "not", "in"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that is read once and tried on many scans.

    Attributes:
        text: as it was written.
        columns: that it looks at.
    """

    text: str
    columns: tuple[str, ...]
    _test: Callable[[Lookup], bool]

    def holds(self, lookup: Lookup) -> bool:
        """Whether it holds for the values that `lookup` gives.

        Texts are compared as they stand, numbers by value. `<` and `>` hold for numbers only; a
        missing value is equal to `n/a`, and to nothing else.
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
    return Condition(text, tuple(dict.fromkeys(parser.columns)), test)


class _Parser:
    """Recursive descent: either -> both -> negated -> comparison."""

    def __init__(self, text: str) -> None:
        self.text, self.columns = text, list[str]()
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
                return lambda look: _compare(look(column), sign, value)
        negative = self._take("not")
        if not self._take("in"):
            raise self._wrong(f"expected one of {', '.join(_COMPARED)}, in, after '{column}'")
        values = self._list()
        return lambda look: any(_compare(look(column), "==", v) for v in values) != negative

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


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _compare(own: str | None, sign: str, value: str) -> bool:
    if own is None or own in MISSING:
        equal = value in MISSING
        return equal if sign == "==" else not equal if sign == "!=" else False
    one, two = _number(own), _number(value)
    if sign in ("==", "!="):
        equal = own == value or (one is not None and one == two)
        return equal == (sign == "==")
    if one is None or two is None:
        return False
    tests: Mapping[str, bool] = {
        "<": one < two,
        ">": one > two,
        "<=": one <= two,
        ">=": one >= two,
    }
    return tests[sign]
