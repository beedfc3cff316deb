"""Modules, classes and functions stay small enough to read at once.

One that has to be longer carries a comment on the line above it, `# Long: REASON`; a module has it
among its first lines.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "harmbench").rglob("*.py"), *(ROOT / "methods").rglob("*.py")])

LONGEST_MODULE = 300
LONGEST_CLASS = 200
LONGEST_FUNCTION = 60
MARK = "# Long: "


@dataclass(frozen=True)
class Piece:
    """A module, class or function: its name, how long it is and may be, and why it is longer."""

    name: str
    lines: int
    allowed: int
    reason: str


def pieces(text: str, name: str) -> Iterator[Piece]:
    lines = text.splitlines()
    yield Piece(name, len(lines), LONGEST_MODULE, _reason(lines[:5]))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            assert node.end_lineno is not None
            allowed = LONGEST_CLASS if isinstance(node, ast.ClassDef) else LONGEST_FUNCTION
            size = node.end_lineno - node.lineno + 1
            yield Piece(f"{name}:{node.name}", size, allowed, _reason(lines[first - 2 : first - 1]))


def _reason(lines: list[str]) -> str:
    found = [line.strip() for line in lines if line.strip().startswith(MARK)]
    return found[0].removeprefix(MARK).strip() if found else ""


def _all() -> list[Piece]:
    found: list[Piece] = []
    for path in SOURCES:
        found += pieces(path.read_text(), path.relative_to(ROOT).as_posix())
    return found


def test_modules_classes_and_functions_are_short() -> None:
    long = [piece for piece in _all() if piece.lines > piece.allowed and not piece.reason]
    bad = {f"{p.name}: {p.lines} lines, allowed {p.allowed}" for p in long}
    assert not bad, f"split them, or say why not in a comment above them: {MARK}REASON"


def test_reasons_are_given_only_where_they_are_needed() -> None:
    needless = {piece.name for piece in _all() if piece.reason and piece.lines <= piece.allowed}
    assert not needless


@pytest.mark.parametrize(("extra", "reason"), [("", ""), ("# Long: one loop\n", "one loop")])
def test_long_functions_and_their_reasons_are_found(extra: str, reason: str) -> None:
    body = "    pass\n" * LONGEST_FUNCTION
    found = list(pieces(f"X = 1\n{extra}def long():\n{body}", "m.py"))
    assert found[1] == Piece("m.py:long", LONGEST_FUNCTION + 1, LONGEST_FUNCTION, reason)
    assert found[1].lines > found[1].allowed
