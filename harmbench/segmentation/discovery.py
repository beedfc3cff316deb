"""How segmenters are found and made: installed under a name, or as a class in a file."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Protocol, cast

from harmbench.errors import HarmbenchError, SegmentationError, UnavailableError
from harmbench.files.names import file_label
from harmbench.plugins import SEGMENTERS, Reference
from harmbench.segmentation.base import Segmenter
from harmbench.segmentation.contrast import Contrast

__all__ = [
    "AUTO",
    "SegmenterClass",
    "available_segmenters",
    "choose_segmenter",
    "load_segmenter",
    "make_segmenter",
]

AUTO = ("fast", "hmrf")
"""What the choice `auto` tries, in this order."""


class SegmenterClass(Protocol):
    """The class of a segmenter: what an entry point of `harmbench.segmenters` names.

    Its objects are `Segmenter`s. A class that computes on the processor ignores `device`; one that
    is made for a single contrast ignores `contrast`.

    Attributes:
        name: of the segmenter, in results; for an installed one the name of its entry point.
        contrasts: those that it is made for. It is never made for another.
    """

    name: str
    contrasts: tuple[Contrast, ...]

    def __call__(self, *, device: str, contrast: Contrast) -> Segmenter:
        """Make a segmenter of volumes of one contrast, which computes on a torch device."""
        ...


def available_segmenters() -> dict[str, EntryPoint]:
    """Return the installed segmenters by name, without importing them."""
    return SEGMENTERS.installed()


def load_segmenter(segmenter: str | Reference) -> SegmenterClass:
    """Import the class of a segmenter.

    Args:
        segmenter: an installed name, or `path/to/file.py:Class`.

    Raises:
        SegmentationError: the name is unknown, the file or class is missing, the import fails, or its own
            name is not one for files.
    """
    reference = _reference(segmenter)
    found = cast(SegmenterClass, SEGMENTERS.load(reference, _is_segmenter))
    if not isinstance(found.name, str) or file_label(found.name) != found.name:
        raise SegmentationError(
            f"segmenter '{reference}' has the name {found.name!r}; a name is a part of file names: "
            "letters, digits and -_.+"
        )
    if reference.file is None and found.name != reference.name:
        raise SegmentationError(
            f"segmenter '{reference}' calls itself '{found.name}'; the two names have to be one"
        )
    return found


def choose_segmenter(segmenter: str | Reference) -> Reference:
    """Return a segmenter that can run here; `auto` stands for the first of `AUTO` that can.

    Args:
        segmenter: `auto`, an installed name, or `path/to/file.py:Class`.

    Raises:
        SegmentationError: the name is unknown, or its class cannot be used.
        UnavailableError: the software is not installed; for `auto`, that of none of `AUTO`.
    """
    automatic = str(segmenter) == "auto"
    reasons = []
    for candidate in map(Reference, AUTO) if automatic else (_reference(segmenter).absolute(),):
        kind = load_segmenter(candidate)
        try:
            _ = _made(kind, "cpu", kind.contrasts[0]).version
        except UnavailableError as error:
            reasons.append(str(error))
        else:
            return candidate
    raise UnavailableError("; ".join(reasons))


def make_segmenter(
    segmenter: str | Reference, device: str = "cpu", contrast: Contrast = "T1w"
) -> Segmenter:
    """Make a segmenter that can run here.

    Args:
        segmenter: `auto`, an installed name, or `path/to/file.py:Class`.
        device: torch device name; a segmenter that cannot use it computes on the processor.
        contrast: of the volumes.

    Raises:
        SegmentationError: as `choose_segmenter`, or the segmenter is not made for the contrast.
        UnavailableError: its software is not installed.
    """
    chosen = choose_segmenter(segmenter)
    kind = load_segmenter(chosen)
    if contrast not in kind.contrasts:
        raise SegmentationError(
            f"segmenter {kind.name} is made for {', '.join(kind.contrasts)}; the scans' contrast is "
            f"{contrast}"
        )
    return _made(kind, device, contrast)


def _made(kind: SegmenterClass, device: str, contrast: Contrast) -> Segmenter:
    try:
        return kind(device=device, contrast=contrast)
    except HarmbenchError:
        raise
    except Exception as error:
        text = f"segmenter {kind.name} cannot be made: {type(error).__name__}: {error}"
        raise SegmentationError(text) from error


def _reference(segmenter: str | Reference) -> Reference:
    return Reference.parse(segmenter) if isinstance(segmenter, str) else segmenter


def _is_segmenter(kind: type) -> bool:
    return all(hasattr(kind, name) for name in ("name", "version", "contrasts", "segment"))
