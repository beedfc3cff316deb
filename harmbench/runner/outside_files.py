"""Files of volumes that outside tools made: which belong together, and what may be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmbench.errors import CohortError, VolumeError
from harmbench.files.kinds import why_no_file
from harmbench.files.names import image_name
from harmbench.files.places import why_no_output, why_not_apart
from harmbench.notes import Note
from harmbench.segmentation import TISSUES
from harmbench.volume import read

__all__ = ["Triple", "check_label_file", "check_table", "find_triples", "odd_triples"]

_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".img")
_LABEL_SUFFIXES = ("dseg", "mask")
_TABLE_BEGINS = b"name,segmenter,"


@dataclass(frozen=True, slots=True)
class Triple:
    """A volume to score, its reference, and what it was made from, if that is known."""

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
    names = _images(volume)
    if not names:
        raise CohortError(f"{volume}: no image in this folder ({', '.join(_SUFFIXES)})")
    plain = [image_name(volume / name) for name in names]
    problems = [
        f"{volume / name}: another file has the name {own} too"
        for name, own in zip(names, plain, strict=True)
        if plain.count(own) > 1
    ]
    if problems:
        raise CohortError("scores would not tell which volume they are of:", problems)
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


def _images(folder: Path) -> list[str]:
    """Names of the images in a folder, without hidden files."""
    listed = (path.name for path in folder.iterdir())
    return sorted(n for n in listed if n.lower().endswith(_SUFFIXES) and not n.startswith("."))


def odd_triples(triples: Sequence[Triple]) -> list[Note]:
    """Note references without a volume of their name, and volumes that are their own reference."""
    used = {path for t in triples for path in (t.volume, t.reference, t.source) if path is not None}
    notes = []
    if len(triples) > 1:
        for folder in dict.fromkeys(t.reference.parent for t in triples):
            text = "a reference without a volume of its name; it is not scored"
            beside = [folder / name for name in _images(folder)]
            notes += [Note("reference-not-used", text, str(p)) for p in beside if p not in used]
    for triple in triples:
        if triple.volume.samefile(triple.reference):
            text = "the volume is the reference itself: scores are those of a perfect copy"
            notes.append(Note("volume-is-reference", text, str(triple.volume)))
    return notes


def _dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def check_table(out: Path, triples: Sequence[Triple]) -> None:
    """Raise `VolumeError` where a table of scores would replace anything but such a table."""
    inputs = [path for t in triples for path in (t.volume, t.reference, t.source)]
    problem = why_no_output(out, inputs)
    if problem is None and out.exists() and out.stat().st_size:
        with out.open("rb") as file:
            if file.read(len(_TABLE_BEGINS)) != _TABLE_BEGINS:
                problem = "is there and holds no scores; choose another file"
    if problem:
        raise VolumeError(f"{out}: {problem}")


def check_label_file(labels: Path, scan: Path) -> None:
    """Raise `VolumeError` where labels would replace anything but labels, or be taken for a scan."""
    problem = why_no_output(labels, [scan])
    if problem is None and labels.exists() and not _holds_tissues(labels):
        problem = "is there and is no map of tissues; choose another file"
    if problem is None and image_name(labels).rpartition("_")[2] not in _LABEL_SUFFIXES:
        problem = why_not_apart(labels, [scan], beside=True)
    if problem:
        raise VolumeError(f"{labels}: {problem}")


def _holds_tissues(path: Path) -> bool:
    try:
        return bool(read(path, kind="label").data.max() <= max(TISSUES.values()))
    except VolumeError:
        return False
