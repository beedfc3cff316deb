"""Outputs must not lie among inputs: they could be read as scans, or replace them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harmbench.storage import why_not_writable

__all__ = ["is_input", "why_no_output", "why_not_apart"]

_ROOT_FILE = "dataset_description.json"
_DERIVATIVES = "derivatives"


def is_input(out: Path, inputs: Iterable[Path | None]) -> bool:
    """Whether an output would replace one of the inputs."""
    given = [own for own in inputs if own is not None]
    linked = out.exists() and any(own.exists() and out.samefile(own) for own in given)
    return linked or out.resolve() in {own.resolve() for own in given}


def why_no_output(out: Path, inputs: Iterable[Path | None]) -> str | None:
    """Say why a file cannot be written, or would replace an input; `None`: it can be.

    Args:
        out: file to write; its folder need not be there.
        inputs: files to read.
    """
    if is_input(out, inputs):
        return "is an input and would be overwritten; choose another file"
    return "a folder, expected a file to write" if out.is_dir() else why_not_writable(out.parent)


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
