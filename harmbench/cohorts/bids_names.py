"""Which images lie in a BIDS folder: a file is what its whole name and its folders say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harmbench.cohorts.bids_ignore import read_ignore
from harmbench.errors import CohortError
from harmbench.files.kinds import why_no_file
from harmbench.files.text import label_text

__all__ = ["ENTITIES", "BidsFile", "Listing", "Unknown", "list_images"]

ENTITIES: Final = {
    **{"subject": "sub", "session": "ses", "sample": "sample", "task": "task"},
    **{"acquisition": "acq", "ceagent": "ce", "tracer": "trc", "stain": "stain"},
    **{"reconstruction": "rec", "direction": "dir", "run": "run", "modality": "mod"},
    **{"echo": "echo", "flip": "flip", "inversion": "inv", "mtransfer": "mt", "part": "part"},
    **{"processing": "proc", "hemisphere": "hemi", "space": "space", "split": "split"},
    **{"recording": "recording", "chunk": "chunk", "segmentation": "seg", "scale": "scale"},
    **{"resolution": "res", "density": "den", "label": "label", "description": "desc"},
}
"""Long names of the entities of BIDS, and as they stand in file names."""

_ENDINGS = (".nii", ".nii.gz")
# With what unfinished downloads and compressors add.
_IMAGES = re.compile(
    r"\.(nii|mgz|mgh|img|hdr|mnc|nrrd|nhdr|mha|mhd|mif|mih|par|rec|head|brik|dcm|ima)(\.\w+)*$",
    re.IGNORECASE,
)
_FOLDERS = re.compile(r"(sub|ses)-.+|anat")
_DATATYPES = {"anat", "func", "dwi", "fmap", "perf", "pet", "mrs", "meg", "eeg", "ieeg"}
_DATATYPES |= {"beh", "micr", "nirs", "motion"}
# A word after one of these makes another suffix, such as `T1w_defaced`.
_SCANS = {"T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1"}
# What BIDS keeps beside the subjects; other data sets have their own folders below these.
_NOT_SEARCHED = {"derivatives", "sourcedata", "code", "stimuli", "phenotype", "logs"}


@dataclass(frozen=True, slots=True)
class BidsFile:
    """An image whose name and folders follow BIDS, and agree.

    Attributes:
        path: the file.
        entities: such as `sub`, `ses`, `acq`, with their whole labels.
        suffix: such as `T1w`, or `T1w_defaced`, which BIDS does not have.
        datatype: such as `anat`; empty where it lies in no such folder.
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str
    datatype: str

    @property
    def subject(self) -> str:
        """`sub-` and the label."""
        return f"sub-{self.entities['sub']}"

    @property
    def session(self) -> str:
        """The label of `ses-`; empty where there is none."""
        return self.entities.get("ses", "")


@dataclass(frozen=True, slots=True)
class Unknown:
    """An image that is not understood, with the reason, and whose it seems to be."""

    path: Path
    reason: str
    subject: str
    session: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a BIDS folder, in order of path; `ignored`: how many images .bidsignore leaves out."""

    subjects: tuple[str, ...]
    files: tuple[BidsFile, ...]
    unknown: tuple[Unknown, ...]
    ignored: int = 0


def list_images(root: Path) -> Listing:
    """List the images of a BIDS folder, without those of the data sets inside it.

    Images and subjects that `.bidsignore` leaves out are not among them, but counted.

    A label that BIDS does not allow, such as `NYU-001` or `1.5T`, is taken whole. Folders of BIDS
    that are links which lead nowhere, and folders named like images, are among what is not understood.

    Raises:
        CohortError: a folder or `.bidsignore` cannot be read.
    """
    leaves_out = read_ignore(root)
    ignored = 0
    files: list[BidsFile] = []
    unknown: list[Unknown] = []
    for path, fault in _images(root):
        if leaves_out(path.relative_to(root).as_posix()):
            ignored += 1
            continue
        parts = tuple(map(label_text, path.relative_to(root).parts))
        try:
            if fault:
                raise ValueError(fault)
            files.append(_understood(path, parts))
        except ValueError as error:
            unknown.append(_unknown(path, parts, str(error)))
    folders = [p.name for p in root.glob("sub-*") if p.is_dir() and not leaves_out(f"{p.name}/")]
    subjects = sorted(set(map(label_text, folders)))
    return Listing(tuple(subjects), tuple(files), tuple(unknown), ignored)


def _images(root: Path) -> Iterator[tuple[Path, str]]:
    """Go through all images below a folder, and say what is wrong with them, if anything is.

    Links are followed, but in no circle.
    """

    def fail(error: OSError) -> None:
        raise CohortError(f"{error.filename}: cannot be read ({error.strerror})") from error

    for place, folders, names in os.walk(root, followlinks=True, onerror=fail):
        here = Path(place)
        parts = here.relative_to(root).parts
        skipped = () if parts else _NOT_SEARCHED
        # Changed in place: what is taken out is not walked through.
        folders[:] = sorted(f for f in folders if f not in skipped and not f.startswith("."))
        above = (root, *(root.joinpath(*parts[:n]) for n in range(1, len(parts))))
        if parts and here.resolve() in {folder.resolve() for folder in above}:
            folders.clear()
            continue
        yield from ((here / f, "a folder, expected an image") for f in folders if _IMAGES.search(f))
        folders[:] = [f for f in folders if not _IMAGES.search(f)]
        for name in sorted(names):
            if _IMAGES.search(name) and not name.startswith("."):
                yield here / name, ""
            elif _FOLDERS.fullmatch(name) and (here / name).is_symlink():
                yield here / name, why_no_file(here / name) or "a link to a file, expected a folder"


def _understood(path: Path, parts: tuple[str, ...]) -> BidsFile:
    """Take name and folders of a file apart; `ValueError` says what is not of BIDS in them."""
    *folders, name = parts
    ending = next((e for e in _ENDINGS[::-1] if name.endswith(e)), None)
    if ending is None:
        raise ValueError("its name does not end in .nii or .nii.gz")
    *pairs, suffix = name.removesuffix(ending).split("_")
    if pairs and pairs[-1] in _SCANS:
        variant, suffix = suffix, pairs.pop()
        suffix = f"{suffix}_{variant}" if re.fullmatch(r"[0-9A-Za-z]+", variant) else variant
    if not re.fullmatch(r"[0-9A-Za-z]+(_[0-9A-Za-z]+)?", suffix):
        raise ValueError(f"its name ends in '{suffix}', which is no suffix of BIDS")
    entities: dict[str, str] = {}
    for pair in pairs:
        key, _, label = pair.partition("-")
        if not re.fullmatch(r"[0-9A-Za-z]+", key) or not label:
            raise ValueError(f"'{pair}' in its name is not KEY-LABEL; a label has no underscore")
        if key in entities:
            raise ValueError(f"its name has {key}- twice")
        entities[key] = label
    if not folders or not folders[0].startswith("sub-"):
        raise ValueError("it lies in no sub- folder")
    _agree("sub", folders.pop(0), entities)
    _agree("ses", folders.pop(0) if folders and folders[0].startswith("ses-") else "", entities)
    if len(folders) > 1 or (folders and folders[0] not in _DATATYPES):
        raise ValueError(f"it lies in the folder {'/'.join(folders)}, which is not of BIDS")
    return BidsFile(path, entities, suffix, folders[0] if folders else "")


def _agree(key: str, folder: str, entities: Mapping[str, str]) -> None:
    label = entities.get(key)
    if label != (folder[4:] if folder else None):
        named = f"{key}-{label}" if label else f"no {key}-"
        raise ValueError(f"its name has {named}, its folder is {folder or f'no {key}- folder'}")


def _unknown(path: Path, parts: tuple[str, ...], reason: str) -> Unknown:
    """Say whose a file seems to be: by its folders, else by its name."""
    labels = {}
    for key in ("sub", "ses"):
        in_name = re.search(rf"(?:^|_)({key}-[^_]+)_", parts[-1])
        in_folder = next((f for f in parts[:-1] if f.startswith(f"{key}-")), None)
        labels[key] = in_folder or (in_name[1] if in_name else "")
    return Unknown(path, reason, labels["sub"] or parts[0], labels["ses"].removeprefix("ses-"))
