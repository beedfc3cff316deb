"""Which files of a BIDS folder are a cohort's scans."""

from __future__ import annotations

from pydantic import ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from harmbench.cohorts.bids_names import ENTITIES
from harmbench.cohorts.participants import DEFAULT_COLUMN
from harmbench.settings import Settings

__all__ = ["BidsSettings", "short_name"]

_SHORTHANDS = {"desc": "desc", "space": "space", "acquisition": "acq"}


class BidsSettings(Settings):
    """Which files of a BIDS folder are the scans, and what their sessions are named after."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    session_by: str = Field(
        "label",
        description="`label` (the ses- entity), another entity such as `acq`, or a sidecar field "
        "such as MagneticFieldStrength or ManufacturersModelName",
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
        description="which run- of a session counts where there are several: `first`, `last`, or "
        "a label such as `2`",
    )
    group_column: str = Field(
        DEFAULT_COLUMN, description="column of participants.tsv with the group"
    )

    @field_validator("entities", mode="after")
    @classmethod
    def _short_names(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        return {short_name(name): own for name, own in value.items()}

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


def short_name(name: str) -> str:
    """Return an entity as it is written in file names: `acq` for `acquisition` and `acq-`."""
    bare = name.removesuffix("-")
    return ENTITIES.get(bare, bare)
