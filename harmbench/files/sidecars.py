"""Fields of a scan's JSON sidecars, by the inheritance principle of BIDS."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harmbench.errors import HarmbenchError
from harmbench.files.names import image_name
from harmbench.files.text import read_object
from harmbench.notes import Note

__all__ = [
    "field_text",
    "noted",
    "odd_sidecars",
    "own_fields",
    "says_simulated",
    "sidecar_fields",
    "sidecar_files",
    "simulated_among",
]

ROOT_FILE = "dataset_description.json"
"""The file that marks the root of a BIDS data set."""

_MISSING = {"", "n/a", "na", "nan", "none", "null"}
_MOST_LEVELS = 6
_MOST_LINKS = 16


def sidecar_fields(
    scan: Path, read: Callable[[Path], Mapping[str, object]] | None = None
) -> dict[str, object]:
    """Read the fields of all sidecars that apply to a scan.

    A field in a file nearer to the scan replaces that in one farther up (BIDS, "The Inheritance
    Principle"). For a symbolic link, the sidecars beside the link are used; where there are none,
    those of the file that it points to.

    Args:
        scan: an image file; it need not exist.
        read: reads one sidecar; `own_fields` where `None`.

    Returns:
        Fields by name; empty where there is no sidecar. `own_fields` ignores damaged ones.
    """
    for path in _link_chain(scan):
        found: dict[str, object] = {}
        for file in sidecar_files(path):
            found |= (read or own_fields)(file)
        if found:
            return found
    return {}


def sidecar_files(scan: Path) -> list[Path]:
    """List the sidecars that apply to a scan, not following links, the farthest first.

    Those are the `NAME.json` beside it, and in a BIDS data set each file between the scan and the
    root with the scan's suffix and some of its entities.
    """
    name = image_name(scan)
    *entities, suffix = name.split("_")
    place = Path(os.path.abspath(scan)).parent  # noqa: PTH100 - a link must not be followed
    # Only BIDS names inherit: `3T.json` does not apply to `01_3T.nii.gz`.
    if not entities or not all("-" in entity for entity in entities):
        beside = place / f"{name}.json"
        return [beside] if os.path.lexists(beside) else []
    found: list[tuple[int, int, Path]] = []
    for level, folder in enumerate(_up_to_root(place)):
        for path in _json_files(folder, suffix):
            theirs = path.stem.split("_")[:-1]
            if set(theirs) <= set(entities):
                found.append((-level, len(theirs), path))
    return [path for *_, path in sorted(found)]


def own_fields(sidecar: Path) -> dict[str, object]:
    """Read one JSON file; empty where it is absent, or holds no readable mapping."""
    try:
        return read_object(sidecar)[0]
    except HarmbenchError:
        return {}


def odd_sidecars(scans: Sequence[Path]) -> tuple[Note, ...]:
    """Return a note on each sidecar of these scans that is damaged or not in UTF-8."""
    notes: list[Note] = []
    for file in dict.fromkeys(file for scan in scans for file in sidecar_files(scan)):
        try:
            notes += read_object(file)[1]
        except HarmbenchError as error:
            reason = str(error).removeprefix(f"{file}: ")
            notes.append(Note("sidecar-unreadable", f"{reason}; it is not used", str(file)))
    return tuple(notes)


def field_text(value: object) -> str | None:
    """Return a field's value as text; `None` where it is missing, or neither text nor number."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = " ".join(str(value).split())
    return None if text.casefold() in _MISSING else text


def noted(scan: Path) -> tuple[Note, ...]:
    """Return the notes that harmbench wrote into a scan's sidecar (`Notes`, each `KIND: TEXT`)."""
    lines = sidecar_fields(scan).get("Notes")
    found = (
        re.fullmatch(r"([a-z0-9-]+): (.+)", str(line))
        for line in (lines if isinstance(lines, list) else ())
    )
    return tuple(Note(match[1], match[2], str(scan)) for match in found if match)


def says_simulated(scan: Path) -> bool:
    """Whether a scan's sidecars have a field `Simulated` with a value other than a form of no."""
    value = sidecar_fields(scan).get("Simulated")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return value.strip().casefold() not in {*_MISSING, "false", "no", "0"}
    return bool(value)


def simulated_among(scans: Sequence[Path]) -> tuple[bool, tuple[Note, ...]]:
    """Whether any of these scans is simulated, and a note where only some of them are."""
    marked = [scan for scan in scans if says_simulated(scan)]
    if not marked or len(marked) == len(scans):
        return bool(marked), ()
    text = f"{len(marked)} of {len(scans)} scans are simulated; results are called simulated"
    return True, (Note("partly-simulated", text, str(marked[0])),)


def _link_chain(scan: Path) -> list[Path]:
    """The path as given, and each path that its links lead to."""
    chain = [scan]
    while chain[-1].is_symlink() and len(chain) <= _MOST_LINKS:
        chain.append(chain[-1].parent / chain[-1].readlink())
    return chain


def _up_to_root(folder: Path) -> list[Path]:
    """The folder alone, or all up to the data set's root where it lies in a BIDS data set."""
    above: list[Path] = []
    for place in (folder, *folder.parents)[:_MOST_LEVELS]:
        above.append(place)
        if (place / ROOT_FILE).is_file():
            return above
    return [folder]


def _json_files(folder: Path, suffix: str) -> list[Path]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - twice as fast, and called for every scan
    except OSError:
        return []
    ending = f"{suffix}.json"
    return [
        folder / name
        for name in names
        if name == ending or (name.endswith(f"_{ending}") and not name.startswith("."))
    ]
