"""Data sets on disk whose subjects are there whole or not at all.

A subject is made in a folder of its own and moved into the data set in one rename; a record beside
its files lists their SHA-256 and the key of what made them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from harmbench.errors import CohortError
from harmbench.storage import (
    TEMPORARY_PREFIX,
    discard,
    file_key,
    read_json,
    remove_stale,
    write_json,
)

__all__ = ["SubjectRecord", "intact", "new_subject", "publish", "read_record", "record", "sweep"]

_STALE_SECONDS = 24 * 3600


class SubjectRecord(BaseModel):
    """What is recorded beside a subject's files.

    Attributes:
        participant: what the maker of the data set says of the subject; it has the schema.
        files: path below the data set's folder to SHA-256.
        key: of what made the files.
    """

    model_config = ConfigDict(frozen=True)

    participant: Annotated[Mapping[str, object], Field(min_length=1)]
    files: Annotated[Mapping[str, str], Field(min_length=1)]
    key: str = ""


def record(root: Path, subject: str) -> Path:
    """Path of the list of a subject's files with their SHA-256."""
    return root / subject / f"{subject}_record.json"


def intact(root: Path, subject: str, key: str) -> bool:
    """Whether all files of a subject are there and unchanged.

    Args:
        root: the dataset's folder.
        subject: label of the subject.
        key: the key that the subject must have been made with.
    """
    found = read_record(root, subject)
    if found is None or found.key != key:
        return False
    return all(
        (root / name).is_file() and file_key(root / name) == own
        for name, own in found.files.items()
    )


def read_record(root: Path, subject: str) -> SubjectRecord | None:
    """Read a subject's record; `None` where it is missing or damaged."""
    try:
        return SubjectRecord.model_validate(read_json(record(root, subject)))
    except ValueError:  # pydantic's error is one, as is that of damaged JSON
        return None


@contextmanager
def new_subject(root: Path, subject: str) -> Iterator[Path]:
    """Give a temporary folder in the data set to make a subject in; it is gone after the block.

    The subject's files go into a folder with the subject's name inside it; see `publish`.
    """
    with tempfile.TemporaryDirectory(
        prefix=f".new-{subject}-", dir=root, ignore_cleanup_errors=True
    ) as temporary:
        yield Path(temporary)


def publish(made: Path, root: Path, subject: str, row: Mapping[str, object], key: str) -> None:
    """Move a finished subject from the folder `made` into the dataset, in one rename.

    If another process has written the same subject meanwhile, that one is kept unless it is damaged.
    """
    source = made / subject
    files = {
        str(path.relative_to(made)): file_key(path)
        for path in sorted(source.rglob("*"))
        if path.is_file()
    }
    done = SubjectRecord(participant=row, files=files, key=key)
    write_json(record(made, subject), done.model_dump())
    target = root / subject
    for _ in range(10):
        try:
            source.rename(target)
        except OSError:
            if intact(root, subject, key):
                return
            discard(target)
        else:
            return
    raise CohortError(f"{target}: cannot be replaced; another process keeps writing there")


def sweep(root: Path) -> None:
    """Delete unfinished folders that killed processes left a day or more ago."""
    for pattern in (".new-*", ".old-*", f"{TEMPORARY_PREFIX}*"):
        for path in root.glob(pattern):
            remove_stale(path, _STALE_SECONDS)
