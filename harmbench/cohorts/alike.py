"""Names of people, groups and scanners that may be two spellings of one."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

from harmbench.notes import Note

__all__ = ["NameKind", "alike_notes", "folded", "several_spellings", "spelling_notes"]

NameKind = Literal["subjects", "groups", "scanners"]

_ONE: Final[dict[NameKind, str]] = {
    "subjects": "taken as different people; a person with two labels may be in training and in test",
    "groups": "taken as different groups; give one group one name",
    "scanners": "taken as different scanners; give one scanner one name",
}
_LIKE_MISSING: Final = frozenset(
    ("na", "nan", "null", "none", "nil", "unknown", "unspecified", "missing", "-", "--", ".", "?")
)
_GREEK = dict(zip("αβεζηικμνορτυχ", "abezhikmnoptyx", strict=True))
_CYRILLIC = dict(zip("авекмнорстухіјѕ", "abekmhopctyxijs", strict=True))
_LOOK_ALIKE: Final = str.maketrans(_GREEK | _CYRILLIC)
"""Small Greek and Cyrillic letters of which one case looks like a Latin letter."""


def folded(name: str) -> str:
    """Return a name without what spellings of one name often differ in.

    These are the form of Unicode signs, case, look-alike letters of other scripts, zeros before a
    number, `.0` after it, and spaces, underscores and hyphens, but for those between two digits:
    `3 T`, `3t` and `3.0T` are equal, `1-1` and `11` are not.
    """
    text = unicodedata.normalize("NFKC", name).casefold().translate(_LOOK_ALIKE)
    text = re.sub(r"(?<![0-9.])0+(?=[0-9])", "", text)
    text = re.sub(r"(?<![0-9.])([0-9]+)\.0+(?![0-9.])", r"\1", text)
    text = re.sub(r"(?<=[0-9])[\s_-]+(?=[0-9])", " ", text)
    return re.sub(r"(?<![0-9])[\s_-]+|[\s_-]+(?![0-9])", "", text) or name


def several_spellings(
    names: Iterable[str], form: Callable[[str], str] = folded
) -> list[tuple[str, ...]]:
    """Return the sets of two and more names that have one form."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        spellings[form(name)].append(name)
    return [tuple(own) for own in spellings.values() if len(own) > 1]


def alike_notes(kind: NameKind, names: Iterable[str]) -> list[Note]:
    """Note names that are equal but for their spelling: they may be meant to be one."""
    return [
        Note(f"{kind}-alike", _ONE[kind], " and ".join(map(_shown, own)))
        for own in several_spellings(names)
    ]


def spelling_notes(groups: Mapping[str, str], scanners: Iterable[str]) -> list[Note]:
    """Note the people, groups and scanners of a cohort whose names are equal but for their spelling.

    Groups whose name may say that there is none, such as `NaN`, are noted too: a group is any text
    but an empty one and `n/a`.

    Args:
        groups: each subject's group.
        scanners: of its scans.
    """
    text = "taken as a group; where it says that the group is missing, write n/a"
    names = sorted(set(groups.values()))
    return [
        *(
            Note("group-like-missing", text, repr(n))
            for n in names
            if n.casefold() in _LIKE_MISSING
        ),
        *alike_notes("subjects", groups),
        *alike_notes("groups", groups.values()),
        *alike_notes("scanners", scanners),
    ]


def _shown(name: str) -> str:
    """A name in quotes, with the names of letters that look like Latin ones."""
    odd = [
        letter for letter in name if letter.casefold().translate(_LOOK_ALIKE) != letter.casefold()
    ]
    each = ", ".join(unicodedata.name(letter).lower() for letter in dict.fromkeys(odd))
    return f"'{name}' ({each})" if odd else f"'{name}'"
