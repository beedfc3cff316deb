"""What the records of a run have in common, and the one place where they are read and written.

A record is a frozen model with a format number. One without a number was written by an earlier
harmbench: fields that it lacks get their defaults. Only fields that were set are written, so that an
earlier record gains nothing but the number, and a sum of its contents, when it is written again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from harmbench.errors import DamagedRecordError, ReportError
from harmbench.sums import read_sealed, write_sealed

__all__ = ["FORMAT", "Maps", "Part", "Record", "parse_record", "read_record", "write_record"]

FORMAT: Final = 1
"""Number of the format in which records are written."""


Maps = Literal["images", "volumes"]
"""What a method maps; one that maps tissue volumes is a volume correction."""


class Part(BaseModel):
    """A part of a record: frozen, unknown fields are errors, and only fields that were set are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _fields_that_were_set(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if name in self.model_fields_set}


class Record(Part):
    """A whole file; `format` is `FORMAT`."""

    format: Literal[1] = FORMAT


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(kind: type[AnyRecord], path: Path) -> AnyRecord | None:
    """Read a record; `None` where there is no such file.

    Raises:
        DamagedRecordError: the file is not readable, not JSON, not as it was written, or not a record
            of this kind.
        ReportError: a later harmbench wrote it.
    """
    try:
        values: Any = read_sealed(path)
    except (ValueError, OSError) as error:
        raise DamagedRecordError(f"{path}: damaged ({error})") from error
    if values is None and not path.exists():
        return None
    return parse_record(kind, values, str(path))


def parse_record(kind: type[AnyRecord], values: object, where: str) -> AnyRecord:
    """Check plain values, as JSON gives them, and make a record of them.

    Args:
        kind: the record to make.
        values: what was read.
        where: names the file in errors.

    Raises:
        DamagedRecordError: the values are not a record of this kind.
        ReportError: a later harmbench wrote them.
    """
    if not isinstance(values, dict):
        raise DamagedRecordError(f"{where}: damaged, not a record")
    number = values.get("format", FORMAT)
    if isinstance(number, int) and number > FORMAT:
        raise _later(where, f"its format is {number}, this one reads up to {FORMAT}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = {".".join(map(str, one["loc"])): one for one in error.errors()}
        unknown = [name for name, one in found.items() if one["type"] == "extra_forbidden"]
        if unknown:
            raise _later(where, f"this one does not know {', '.join(unknown)}") from error
        problems = "; ".join(f"{name}: {one['msg']}" for name, one in found.items())
        raise DamagedRecordError(f"{where}: damaged ({problems})") from error


def _later(where: str, why: str) -> ReportError:
    return ReportError(f"{where}: written by a later harmbench ({why}); update harmbench to use it")


def write_record(record: Record, path: Path) -> None:
    """Write a record, atomically: the fields that were set, the format number, and a sum of all."""
    write_sealed(path, {**record.model_dump(mode="json"), "format": FORMAT})
