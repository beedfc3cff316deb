"""Which session a scan belongs to: by its name, or by a field of its sidecars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harmbench.cohorts.bids_names import ENTITIES, BidsFile
from harmbench.errors import CohortError, suggest
from harmbench.files.field_strength import FIELD, nominal_label, parse_tesla
from harmbench.files.sidecars import field_text, sidecar_fields
from harmbench.files.text import read_object
from harmbench.notes import Note

__all__ = ["PREPARED", "session_of"]

PREPARED: Final = "prepared"
"""The desc- entity of what `harmbench prepare` makes."""


def session_of(file: BidsFile, by: str) -> tuple[str, tuple[Note, ...]]:
    """Return the session's label, and what was assumed.

    Args:
        file: the scan.
        by: `label`, an entity, or a field of the sidecars.

    Raises:
        CohortError: there is no such label or field, or it has no usable value.
    """
    if by == "label":
        if file.entities.get("desc") == PREPARED:
            own = sidecar_fields(file.path).get("SessionLabel")
            if isinstance(own, str) and own.strip():
                return own, ()
        if not file.session:
            raise CohortError("it has no ses- label; choose data.bids.session_by")
        return file.session, ()
    if by in ENTITIES.values():
        if by not in file.entities:
            raise CohortError(f"it has no {by}- label; choose another data.bids.session_by")
        return file.entities[by], ()
    fields = sidecar_fields(file.path, read=_strictly)
    if by not in fields:
        raise CohortError(f"its sidecar has no {by}; {suggest(by, fields)}")
    return _label(fields[by], by)


def _strictly(sidecar: Path) -> Mapping[str, Any]:
    return read_object(sidecar)[0]


def _label(value: object, field: str) -> tuple[str, tuple[Note, ...]]:
    text = field_text(value)
    if text is None:
        raise CohortError(f"{field} has no usable value (it is {value!r})")
    if field != FIELD:
        return text.replace(" ", ""), ()
    try:
        tesla = parse_tesla(value)
    except ValueError as error:
        raise CohortError(str(error)) from error
    label = nominal_label(tesla)
    if text.isdecimal() and int(text) > tesla + 1:
        said = f"{FIELD} {text} is taken as gauss, {label}"
        return label, (Note("field-strength-in-gauss", said, f"session {label}"),)
    return label, ()
