"""Scans whose contents are not on this disk: links and pointers of an annexed clone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from harmbench.errors import VolumeError
from harmbench.files.kinds import HEAD_BYTES, pointer

__all__ = ["missing_contents"]


def missing_contents(paths: Iterable[Path], root: Path | None) -> list[str]:
    """Say in one sentence how many scans have no contents here, and how to fetch them.

    Args:
        paths: of the scans and masks.
        root: folder of the data set, or its manifest; `None`: the folder of the first scan.

    Returns:
        One sentence; none where at most one file lacks its contents, which its own check describes.
    """
    every = list(paths)
    absent = [path for path in every if _not_fetched(path)]
    if len(absent) < 2:
        return []
    if root is None or not root.is_dir():
        root = Path(os.path.commonpath([path.parent for path in absent]))
    ending = "_" + absent[0].name.rpartition("_")[2] if "_" in absent[0].name else ""
    alike = ending and all(path.name.endswith(ending) for path in absent)
    below = absent[0].relative_to(root).parts if absent[0].is_relative_to(root) else ()
    places = "/".join(["*"] * (len(below) - 1) + [f"*{ending}"]) if alike else "."
    include = f"--include='*{ending}' ." if alike else "."
    return [
        f"{len(absent)} of {len(every)} files are links of git-annex or DataLad whose contents are "
        f"not here (the first: {absent[0]}); fetch them in {root} with `datalad get {places}` or "
        f"`git annex get {include}`"
    ]


def _not_fetched(path: Path) -> bool:
    """Whether a path is a link into an annex that leads nowhere, or an annex's pointer file."""
    try:
        if path.is_symlink() and not path.exists():
            target = os.readlink(path)  # noqa: PTH115 - as text, whatever it is
            return "annex/objects" in target.replace("\\", "/")
        # Nothing but a file is opened: reading from a pipe would wait for ever.
        if not path.is_file() or path.stat().st_size >= HEAD_BYTES:
            return False
        return "git-annex" in pointer(path.read_bytes(), path)
    except (OSError, ValueError, VolumeError):
        return False
