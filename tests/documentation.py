"""The code blocks and commands of the pages that users read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "blocks", "commands", "spans"]

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)

_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>\w+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        language: `sh`, `python`, ...
        mark: `run` where commands are run and not only parsed; empty elsewhere.
        text: what stands between the fences.
        line: number of its first line in the page, from 1.
    """

    language: str
    mark: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["mark"] or "",
            found["text"],
            text.count("\n", 0, found.start("text")) + 1,
        )
        for found in _FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block, without comments and assignments."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if words:
            yield words


def spans(page: Path) -> list[str]:
    """Return the inline code of a page."""
    outside = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return _SPAN.findall(outside)
