"""The contrast of scans, and the order of the tissues by brightness."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harmbench.errors import SegmentationError
from harmbench.files.names import image_name
from harmbench.segmentation.base import TISSUES

__all__ = [
    "CONTRASTS",
    "RISING",
    "Contrast",
    "by_rising_intensity",
    "contrast_of_file",
    "find_contrast",
    "to_tissues",
]

Contrast = Literal["T1w", "UNIT1", "T2w"]

CONTRASTS: tuple[Contrast, ...] = get_args(Contrast)
"""Contrasts, by their BIDS suffix, whose order of tissues is known; UNIT1 is MP2RAGE's image."""

RISING: Mapping[Contrast, tuple[str, ...]] = {
    "T1w": ("CSF", "GM", "WM"),
    "UNIT1": ("CSF", "GM", "WM"),
    "T2w": ("WM", "GM", "CSF"),
}
"""The tissues of each contrast by rising intensity."""

# Suffixes of images whose order of tissues depends on the protocol (in PDw on the repetition time), or
# that no segmenter here supports (FLAIR: CSF dark, GM brighter than WM; quantitative maps).
_NO_ORDER = (
    *("FLAIR", "PDw", "PDT2", "T2starw", "FLASH", "inplaneT1", "inplaneT2", "angio", "SWI"),
    *("T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "M0map", "T1rho"),
    *("MTRmap", "MTsat", "MTVmap", "MWFmap", "Chimap", "MP2RAGE", "MPM", "VFA", "MESE", "MEGRE"),
    *(
        "MTw",
        "DIR",
        "S0map",
        "TB1map",
        "RB1map",
        "fieldmap",
        "epi",
        "phasediff",
        "phase1",
        "phase2",
    ),
    *("bold", "cbv", "sbref", "dwi", "asl", "m0scan", "pet", "CT", "mask", "dseg", "probseg"),
)
_KNOWN = {name.lower(): name for name in (*CONTRASTS, *_NO_ORDER)}
# A scan with contrast agent is still T1-weighted.
_KNOWN["cet1w"] = "T1w"
# Not words that have other meanings inside a name, such as mask.
_ANATOMICAL = {
    name.lower(): name
    for name in (*CONTRASTS, "FLAIR", "PDw", "T2starw", "SWI", "T1map", "T2map", "R1map", "R2map")
}


def contrast_of_file(path: Path) -> str | None:
    """Return the BIDS suffix of a scan's file name, such as `T2w`; `None` where it has none.

    It is the last part of the name, or where that is none (`sub-1_T2w_brain`), the first part that
    is the suffix of an anatomical scan.
    """
    # The value of an entity, as in `space-T1w`, says nothing about the scan itself.
    plain = re.sub(r"(?<![^_.\s])[a-z]+-[^_.\s]*", "", image_name(path)).lower()
    parts = re.split(r"[_.\s-]+", plain)
    if parts[-1] in _KNOWN:
        return _KNOWN[parts[-1]]
    return next((_ANATOMICAL[part] for part in parts if part in _ANATOMICAL), None)


def find_contrast(scans: Iterable[Path], asked: str = "auto") -> Contrast:
    """Return the contrast that scans share.

    Args:
        scans: files; the suffix of a name gives the contrast, T1w without one.
        asked: `auto`, or a contrast that overrides the names.

    Raises:
        SegmentationError: the tissues of the contrast have no known order, or contrasts differ.
    """
    if asked != "auto":
        return _in_order(asked, "the contrast that was set")
    named = {name: path for path in scans if (name := contrast_of_file(path)) is not None}
    if not named:
        return "T1w"
    orders = {RISING.get(_in_order(name, str(path))) for name, path in named.items()}
    if len(orders) > 1:
        listed = ", ".join(f"{name} ({path})" for name, path in sorted(named.items()))
        raise SegmentationError(
            f"the scans have contrasts in which tissues differ in their order: {listed}; tissues "
            "can be compared within one contrast only"
        )
    return _in_order(next(iter(named)), "")


def _in_order(name: str, where: str) -> Contrast:
    for contrast in CONTRASTS:
        if name == contrast:
            return contrast
    raise SegmentationError(
        f"{where}: tissues have no known order of brightness in the contrast {name}; allowed: "
        f"{', '.join(CONTRASTS)}; if the file's name is wrong, set the contrast (scoring.contrast "
        "of a run, --contrast of a command)"
    )


def by_rising_intensity(classes: NDArray[np.uint8], data: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Renumber classes (1 to 3, 0 background) by rising mean intensity, keeping the set of numbers.

    Args:
        classes: shape (x, y, z).
        data: the intensities, same shape.
    """
    present = [label for label in range(1, len(TISSUES) + 1) if (classes == label).any()]
    rising = sorted(present, key=lambda label: float(data[classes == label].mean()))
    table = np.zeros(len(TISSUES) + 1, dtype=np.uint8)
    table[rising] = present
    return table[classes]


def to_tissues(classes: NDArray[np.uint8], contrast: Contrast) -> NDArray[np.uint8]:
    """Turn classes into tissue labels.

    Args:
        classes: any shape; 0 background, 1 darkest, 3 brightest.
        contrast: gives the order of the tissues by brightness.

    Returns:
        Labels 0 to 3, same shape.
    """
    table = np.array([0, *(TISSUES[tissue] for tissue in RISING[contrast])], dtype=np.uint8)
    return table[classes]
