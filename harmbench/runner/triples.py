"""Which volumes made by other tools belong to which reference and source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harmbench.errors import CohortError
from harmbench.files.kinds import why_no_file
from harmbench.files.names import image_name

__all__ = ["Triple", "find_triples"]

_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".img")


@dataclass(frozen=True, slots=True)
class Triple:
    """A volume to score, its reference, and its source if that is known."""

    name: str
    volume: Path
    reference: Path
    source: Path | None

    def __str__(self) -> str:
        return self.name


def find_triples(volume: Path, reference: Path, source: Path | None = None) -> list[Triple]:
    """Pair up files: three files, or folders whose files have the same names.

    Raises:
        CohortError: a path is missing, files and folders are mixed, or lists every volume
            without a counterpart.
    """
    paths = [path for path in (volume, reference, source) if path is not None]
    linked = [f"{path}: {why_no_file(path)}" for path in paths if _dangling(path)]
    if linked:
        raise CohortError("\n".join(linked))
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise CohortError(f"no such file or folder: {', '.join(missing)}")
    folders = {path.is_dir() for path in paths}
    if folders == {False}:
        return [Triple(image_name(volume), volume, reference, source)]
    if len(folders) == 2:
        raise CohortError("--volume, --reference and --source are all files or all folders")
    names = sorted(path.name for path in volume.iterdir() if path.name.endswith(_SUFFIXES))
    if not names:
        raise CohortError(f"{volume}: no image in this folder ({', '.join(_SUFFIXES)})")
    problems = [
        f"{folder / name}: {problem}"
        for name in names
        for folder in paths[1:]
        if (problem := why_no_file(folder / name))
    ]
    if problems:
        raise CohortError(f"every file of {volume} needs a counterpart of the same name:", problems)
    return [
        Triple(image_name(volume / name), volume / name, reference / name, source and source / name)
        for name in names
    ]


def _dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()
