"""One file for each invocation of a run folder, and `run.json`, which brings them together.

An invocation writes its own file alone: what it adds to the run, as a `RunRecord`. No start loses what
another one wrote, however many there are at once. `run.json` is made from these files, and is made again
where it is damaged. One that an earlier harmbench wrote, or that was edited by hand, has no sum of its
contents: it counts as it is, and the next start keeps it as the file of all that was before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Final

from harmbench.errors import DamagedRecordError
from harmbench.runner.records import read_record, write_record
from harmbench.runner.run_record import RunRecord
from harmbench.storage import remove
from harmbench.sums import is_sealed

__all__ = [
    "INVOCATIONS",
    "add_invocation",
    "change_invocation",
    "damaged_records",
    "invocation_files",
    "read_run",
]

INVOCATIONS: Final = "invocations"
"""Folder of the files, in the run folder."""

_RUN: Final = "run.json"
_EARLIER: Final = "0000-earlier.json"
"""What `run.json` said before there were files."""

log = logging.getLogger(__name__)


def read_run(root: Path) -> RunRecord | None:
    """Return what all invocations of a run folder recorded; `None` where there was none.

    Damaged files are left out, as long as others hold what they say.

    Raises:
        DamagedRecordError: `run.json` is damaged, and there is no other file.
        ReportError: a later harmbench wrote a file.
    """
    path, found = root / _RUN, _merged(root)
    try:
        whole = read_record(RunRecord, path)
    except DamagedRecordError as error:
        if found is None:
            raise
        log.info("%s; read from %s/ instead", error, INVOCATIONS)
        return found
    if found is None or whole is None or not is_sealed(path):
        return found if whole is None else whole
    known = {one.id for one in found.invocations}
    lost = any(one.id not in known for one in whole.invocations)
    return whole.and_later(found) if lost else found


def add_invocation(root: Path, invocation: str, added: RunRecord) -> None:
    """Record a start: what it adds to the run.

    Args:
        root: the run folder.
        invocation: its id.
        added: with the invocation's own entry; fields that are not set are left as they are.
    """
    folder = root / INVOCATIONS
    if (root / _RUN).exists() and not is_sealed(root / _RUN):
        _keep_earlier(root)
    number = 1 + max(map(_number, invocation_files(root)), default=0)
    write_record(added, folder / f"{number:04d}-{invocation}.json")
    _bring_together(root)


def change_invocation(
    root: Path, invocation: str, change: Callable[[RunRecord], RunRecord]
) -> None:
    """Change what an invocation has recorded; it must have been added.

    Args:
        root: the run folder.
        invocation: its id.
        change: returns the changed record.
    """
    (path,) = (root / INVOCATIONS).glob(f"*-{invocation}.json")
    record = read_record(RunRecord, path)
    assert record is not None
    write_record(change(record), path)
    _bring_together(root)


def damaged_records(root: Path, *, mend: bool = False) -> list[str]:
    """Say which records of a run folder are damaged, and what follows.

    Args:
        root: the run folder.
        mend: whether to remove damaged files of invocations, after `run.json` was kept in their place.
    """
    said = []
    for path in invocation_files(root):
        try:
            read_record(RunRecord, path)
        except DamagedRecordError as error:
            said.append(f"{error}; what `{_RUN}` says of that start counts")
            if mend:
                _keep_earlier(root)
                remove(path)
    try:
        read_record(RunRecord, root / _RUN)
    except DamagedRecordError as error:
        source = f"{INVOCATIONS}/" if any(invocation_files(root)) else "this run and the cells"
        said.append(f"{error}; it is made again from {source}")
    return said


def _keep_earlier(root: Path) -> None:
    """Keep what `run.json` says as the file of all that was before."""
    try:
        before = read_record(RunRecord, root / _RUN)
    except DamagedRecordError:
        return
    if before is not None:
        write_record(before, root / INVOCATIONS / _EARLIER)


def _bring_together(root: Path) -> None:
    whole = _merged(root)
    if whole is not None:
        write_record(whole, root / _RUN)


def _merged(root: Path) -> RunRecord | None:
    """Bring together what the files of invocations say, in the order of their starts."""
    found = list(_intact(root))
    return reduce(RunRecord.and_later, found) if found else None


def _intact(root: Path) -> Iterator[RunRecord]:
    for path in invocation_files(root):
        try:
            record = read_record(RunRecord, path)
        except DamagedRecordError as error:
            log.info("%s", error)
            continue
        if record is not None:
            yield record


def invocation_files(root: Path) -> list[Path]:
    """Return the files of a run folder's invocations, in the order of their starts."""
    found = (root / INVOCATIONS).glob("[0-9][0-9][0-9][0-9]*-*.json")
    return sorted(found, key=lambda path: (_number(path), path.name))


def _number(path: Path) -> int:
    digits = path.name.partition("-")[0]
    return int(digits) if digits.isdecimal() else 0
