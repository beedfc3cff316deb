"""Which files of a BIDS folder are a cohort's scans."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator
from typing_extensions import Self

from harmbench.cohorts.bids_names import ENTITIES
from harmbench.cohorts.participants import DEFAULT_COLUMN
from harmbench.errors import ConfigError
from harmbench.settings import Settings

__all__ = ["AUTO", "BidsSettings", "refuse_bids_only", "short_name"]

AUTO: Final = "auto"
"""The ses- label is the scanner where that is clear; else an error proposes what to type."""

_OPTIONS = {
    **{"session_by": "--session-by", "session_pattern": "--session-pattern"},
    **{"subject_by": "--subject-by", "group_column": "--group-by", "run": "--runs"},
    **{"filter_file": "--bids-filter-file", "acquisition": "--acquisition"},
    **{"per_scanner": "--acquisition", "suffix": "--suffix"},
    **{"exclude": "--exclude", "exclude_list": "--exclude-list"},
}
_COLUMNS = {
    **{"session_by": "scanner", "session_pattern": "scanner", "subject_by": "subject"},
    **{"group_column": "group"},
}
_SHORTHANDS = {"desc": "desc", "space": "space", "acquisition": "acq"}


class BidsSettings(Settings):
    """Which files of a BIDS folder are the scans, and what their sessions are named after."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    session_by: str = Field(
        AUTO,
        description="what says which scanner a scan is from: `auto` (the ses- label where that is "
        "clear), `label` (the ses- label), another entity such as `acq`, a sidecar field such as "
        "ManufacturersModelName, a column such as `sessions.tsv:scanner`, or several of these, "
        "separated by commas",
    )
    session_pattern: str | None = Field(
        None,
        description="regular expression with the named groups `scanner`, and if need be `visit` and "
        "`subject`; it fits the whole ses- label, or, where it has `sub-` or another `KEY-` in it, "
        "a part of the file's name",
    )
    subject_by: str | None = Field(
        None,
        description="who is who where one person has several sub- labels: a column of "
        "participants.tsv, or a regular expression for the sub- label with a group `subject`",
    )
    filter_file: Path | None = Field(
        None, description="a BIDS filter file as fMRIPrep takes it, with a part for the suffix"
    )
    exclude: tuple[str, ...] = Field(
        (), description="conditions on columns or entities, such as `qc == fail`; scans that fit go"
    )
    exclude_list: Path | None = Field(
        None, description="a text file with a scan, `sub-01`, or `sub-01 ses-A` in each line"
    )
    per_scanner: dict[str, dict[str, str | None]] = Field(
        default_factory=dict,
        description="labels that the scans of one scanner have, such as `{GE: {acq: bravo}}`",
    )
    suffix: str = Field("T1w", description="suffix of the scans' file names")
    entities: dict[str, str | None] = Field(
        default_factory=dict,
        description="label that the scans have for an entity of their names, such as `acq: high` "
        "or `rec: norm`; `null`: scans without that entity",
    )
    desc: str | None = Field(
        None,
        description="short for entities.desc; where unset, `prepared` if there are such scans, "
        "else any",
    )
    space: str | None = Field(None, description="short for entities.space; any where unset")
    acquisition: str | None = Field(None, description="short for entities.acq; any where unset")
    run: str = Field(
        "first",
        description="which run- of a visit counts where there are several: `first`, `last`, a label "
        "such as `2`, or `all`: each run is a scan of its own",
    )
    group_column: str = Field(
        DEFAULT_COLUMN, description="column of participants.tsv with the group"
    )

    @field_validator("entities", mode="after")
    @classmethod
    def _short_names(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        return {short_name(name): own for name, own in value.items()}

    @field_validator("exclude", mode="before")
    @classmethod
    def _one_condition(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("per_scanner", mode="after")
    @classmethod
    def _short_names_each(
        cls, value: dict[str, dict[str, str | None]]
    ) -> dict[str, dict[str, str | None]]:
        return {s: {short_name(n): own for n, own in wanted.items()} for s, wanted in value.items()}

    @field_validator("session_pattern", "subject_by", mode="after")
    @classmethod
    def _is_a_pattern(cls, value: str | None, info: ValidationInfo) -> str | None:
        group = "scanner" if info.field_name == "session_pattern" else "subject"
        if value is None or (group == "subject" and "(?P<" not in value):
            return value
        try:
            groups = set(re.compile(value).groupindex)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if group not in groups:
            raise ValueError(f"it has no group (?P<{group}>...)")
        if odd := sorted(groups - {"scanner", "visit", "subject"}):
            raise ValueError(f"unknown group '{odd[0]}'; allowed: scanner, subject, visit")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.session_pattern is not None and self.session_by not in (AUTO, "label"):
            raise ValueError(
                "session_pattern and session_by both say the scanner: give one of them"
            )
        return self

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for name, entity in _SHORTHANDS.items():
            if getattr(self, name) is not None and entity in self.entities:
                raise ValueError(f"{name} and entities.{entity} are the same: give one of them")
        return self

    def wanted(self) -> dict[str, str | None]:
        """Return the label that is asked for, by entity; `None`: the entity must be absent."""
        short = {entity: getattr(self, name) for name, entity in _SHORTHANDS.items()}
        return {k: v for k, v in short.items() if v is not None} | self.entities


def refuse_bids_only(settings: BidsSettings, what: str, applied: Collection[str]) -> None:
    """Refuse settings that say something, where the data are not a BIDS folder.

    Args:
        settings: only those that differ from their defaults count. `session_by` may be `label` too:
            a manifest's session is its scanner.
        what: the data, for the message.
        applied: names of settings that mean the same there.

    Raises:
        ConfigError: lists every setting that has no meaning for the data.
    """
    default = BidsSettings()
    given = [name for name in BidsSettings.model_fields if name not in applied]
    given = [name for name in given if getattr(settings, name) != getattr(default, name)]
    odd = [name for name in given if (name, getattr(settings, name)) != ("session_by", "label")]
    if not odd:
        return
    named = [
        f"data.bids.{name}" + (f" ({_OPTIONS[name]})" if name in _OPTIONS else "") for name in odd
    ]
    columns = sorted({_COLUMNS.get(name, "exclude") for name in odd})
    use = f"; use the manifest's columns: {', '.join(columns)}" if applied else ""
    raise ConfigError(f"{what}: only for BIDS folders: {', '.join(named)}{use}")


def short_name(name: str) -> str:
    """Return an entity as it is written in file names: `acq` for `acquisition` and `acq-`."""
    bare = name.removesuffix("-")
    return ENTITIES.get(bare, bare)
