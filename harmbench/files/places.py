"""Outputs must not lie among inputs: they could be read as scans, or replace them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["is_input", "why_not_apart"]

_ROOT_FILE = "dataset_description.json"
_DERIVATIVES = "derivatives"


def is_input(out: Path, inputs: Iterable[Path | None]) -> bool:
    """Whether an output would replace one of the inputs."""
    return out.resolve() in {own.resolve() for own in inputs if own is not None}


def why_not_apart(out: Path, inputs: Iterable[Path], *, beside: bool = False) -> str | None:
    """Say why an output lies among the inputs; `None` if it does not.

    A folder below `derivatives/` of a BIDS data set is allowed: it is not read with the data set's own
    scans.

    Args:
        out: file or folder to write.
        inputs: files to read.
        beside: whether `out` may be a folder that holds inputs, outside BIDS data sets.
    """
    place = out.resolve()
    for folder, file in {own.absolute().parent: own for own in inputs}.items():
        for real in {folder.resolve(), file.resolve().parent}:
            if real.is_relative_to(place) and not beside:
                return f"it holds the input {file}; choose a folder apart from the scans"
            root = next((f for f in (real, *real.parents) if (f / _ROOT_FILE).is_file()), None)
            if root is None or not place.is_relative_to(root):
                continue
            inside = place.relative_to(root).parts
            if inside[:1] != (_DERIVATIVES,) or len(inside) < 2:
                return (
                    f"it lies inside the data set {root}, where outputs would be taken for scans; "
                    f"choose a folder outside, or {root / _DERIVATIVES / 'NAME'}"
                )
    return None
