"""The column `exclude` of a manifest: yes, no, or the reason why a scan takes no part.

| text | meaning |
|---|---|
| empty, `0`, `0.0`, `no`, `n`, `false`, `f`, `n/a` | the scan stays |
| `-`, `nan`, `none`, `keep`, `ok`, `pass` and the like | the scan stays, with a note |
| `1`, `1.0`, `yes`, `y`, `true`, `t`, `x`, `exclude` | the scan is left out |
| another text with a word of two letters or more | the scan is left out for this reason |
| anything else, such as `2` or `?` | refused |

Case does not count.
"""

from __future__ import annotations

import re
from typing import Final

from harmbench.errors import CohortError
from harmbench.notes import Note

__all__ = ["read_exclude"]

_NO: Final = frozenset({"", "no", "n", "false", "f", "n/a", "na"})
_KEEP: Final = frozenset(
    {"-", "--", "nan", "none", "null", "nil", "<na>", "nat", "not excluded"}
    | {"keep", "kept", "pass", "passed", "ok", "okay", "good", "fine", "usable"}
    | {"include", "included", "use", "used", "accept", "accepted"}
)
_YES: Final = frozenset({"yes", "y", "true", "t", "x", "exclude", "excluded"})
_REASON: Final = "excluded in the manifest"


def read_exclude(text: str) -> tuple[str, Note | None]:
    """Read one value of the column.

    Returns:
        Why the scan is left out, empty where it stays; and a note where the value is not a plain
        no, but is read as one.

    Raises:
        CohortError: it is neither yes, no, nor a reason.
    """
    plain = text.strip().casefold()
    if plain in _NO or _is_number(plain, 0):
        return "", None
    if plain in _KEEP:
        return "", Note("exclude-read", f"exclude is '{text}', read as no: the scan stays")
    if plain in _YES or _is_number(plain, 1):
        return _REASON, None
    if not re.search(r"[^\W\d_]{2}", text):
        raise CohortError(
            f"exclude is '{text}'; allowed: no or 0, yes or 1, or the reason in a word or more"
        )
    return f"{_REASON}: {text}", None


def _is_number(text: str, number: int) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False
