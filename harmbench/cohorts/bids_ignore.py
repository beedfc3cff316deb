"""What the `.bidsignore` of a BIDS folder leaves out, by the rules of `.gitignore`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from harmbench.errors import CohortError
from harmbench.files.text import read_text

__all__ = ["IGNORE_FILE", "read_ignore"]

IGNORE_FILE: Final = ".bidsignore"


def read_ignore(root: Path) -> Callable[[str], bool]:
    """Return what says whether a path is left out; nothing is where there is no `.bidsignore`.

    The path is below the root, with `/`; a folder's ends in `/`.

    Raises:
        CohortError: the file cannot be read, or a line is no pattern.
    """
    path = root / IGNORE_FILE
    if not path.is_file():
        return lambda _: False
    text, _ = read_text(path)
    try:
        return GitIgnoreSpec.from_lines(text.split("\n")).match_file
    except ValueError as error:
        raise CohortError(f"{path}: {error}") from error
