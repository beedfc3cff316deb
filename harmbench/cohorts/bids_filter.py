"""Filter files as fMRIPrep and its family take them (`--bids-filter-file`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harmbench.cohorts.bids_names import ENTITIES, BidsFile
from harmbench.errors import CohortError, suggest
from harmbench.files.text import read_object

__all__ = ["BidsFilter", "own_value", "read_filter"]

_OF_NAMES = {"datatype", "suffix", "extension"}
_IGNORED = {"scope", "target", "return_type", "invalid_filters", "absolute_paths", "regex_search"}
_NUMBERED = {"run", "echo", "inv", "flip", "split", "chunk"}


@dataclass(frozen=True, slots=True)
class BidsFilter:
    """What the scans' names must have.

    Attributes:
        suffix: suffixes that the filter gives; empty where it gives none.
        wanted: entity (`acq`), `datatype` or `extension` to the values that are allowed; `None`
            among them: absent, `*`: any that is present.
        regex: whether values are regular expressions.
    """

    suffix: tuple[str, ...]
    wanted: Mapping[str, tuple[str | None, ...]]
    regex: bool = False

    def fits(self, file: BidsFile) -> bool:
        """Whether a file has all that is wanted; its suffix is not looked at."""
        return all(
            any(self._same(name, own_value(file, name), value) for value in values)
            for name, values in self.wanted.items()
        )

    def parts(self) -> list[BidsFilter]:
        """Return a filter for each entity that this one is about."""
        return [replace(self, wanted={name: own}) for name, own in self.wanted.items()]

    def _same(self, name: str, own: str | None, wanted: str | None) -> bool:
        if own is None or wanted is None:
            return own is None and wanted is None
        if wanted in ("*", own):
            return True
        if self.regex and re.search(wanted, own):
            return True
        numbers = name in _NUMBERED and own.isdecimal() and wanted.isdecimal()
        return numbers and int(own) == int(wanted)


def read_filter(path: Path, suffix: str) -> BidsFilter:
    """Read the part of a filter file that is about one kind of scan.

    Args:
        path: a JSON file; its keys are kinds of scans, such as `t1w`, or a suffix.
        suffix: of the scans, such as `T1w`.

    Values are a label, a list of labels, `null` or `Query.NONE` (without that entity), `*` or
    `Query.ANY` (with any), `Query.OPTIONAL` (with or without).

    Raises:
        CohortError: the file is not readable JSON, has no part for the suffix, or names an entity
            that BIDS does not have.
    """
    found, _ = read_object(path)
    key = next((own for own in found if own.casefold() == suffix.casefold()), None)
    if key is None:
        raise CohortError(f"{path}: no part for {suffix}; {suggest(suffix.lower(), found)}")
    part = found[key]
    if not isinstance(part, Mapping):
        raise CohortError(f"{path}: {key} is {part!r}, expected an object of entities")
    wanted: dict[str, tuple[str | None, ...]] = {}
    for name, value in part.items():
        short = ENTITIES.get(str(name), str(name))
        if short not in ENTITIES.values() and name not in _OF_NAMES | _IGNORED:
            raise CohortError(f"{path}: {key}.{name}: {suggest(name, {*ENTITIES, *_OF_NAMES})}")
        values = _values(value, f"{path}: {key}.{name}")
        if values and name not in _IGNORED:
            wanted[short] = tuple(_bare(short, v) for v in values)
    suffixes = tuple(v for v in wanted.pop("suffix", ()) if v is not None)
    regex = bool(part.get("regex_search"))
    if regex:
        _check_expressions(wanted, path)
    return BidsFilter(suffixes, wanted, regex)


def _values(value: object, where: str) -> tuple[str | None, ...]:
    """Allowed values; empty: anything goes."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        found = [_values(own, where) for own in value]
        return () if () in found else tuple(v for own in found for v in own)
    if value is None:
        return (None,)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        if isinstance(value, bool):
            return (str(value).lower(),)
        raise CohortError(f"{where} is {value!r}; expected a label, a list of them, or null")
    text = re.sub(r"^<?\s*(Query\.[A-Z]+).*$", r"\1", str(value))
    if text == "Query.NONE":
        return (None,)
    if text in ("Query.ANY", "Query.REQUIRED", "*"):
        return ("*",)
    return () if text == "Query.OPTIONAL" else (text,)


def _bare(entity: str, value: str | None) -> str | None:
    if value is None:
        return None
    if entity == "extension":
        return f".{value.removeprefix('.')}"
    return value.removeprefix(f"{entity}-")


def own_value(file: BidsFile, name: str) -> str | None:
    """Return what a file has of an entity, `datatype` or `extension`; `None`: nothing."""
    if name == "datatype":
        return file.datatype or None
    if name == "extension":
        return ".nii.gz" if file.path.name.endswith(".nii.gz") else ".nii"
    return file.entities.get(name)


def _check_expressions(wanted: Mapping[str, Sequence[str | None]], path: Path) -> None:
    for name, values in wanted.items():
        for value in values:
            try:
                re.compile(value or "")
            except re.error as error:
                if value != "*":
                    raise CohortError(f"{path}: {name}: '{value}': {error}") from error
