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
from harmbench.notes import Note
from harmbench.segmentation.base import TISSUES

__all__ = [
    "CONTRASTS",
    "RISING",
    "Contrast",
    "by_rising_intensity",
    "contrast_notes",
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


# Names of sequences, and spellings of the weighting, in the names of other tools and of vendors.
_SEQUENCES = {
    **dict.fromkeys(("mprage", "spgr", "fspgr", "bravo", "t1n"), "T1w"),
    **dict.fromkeys(("t2flair", "t2f", "darkfluid"), "FLAIR"),
    **dict.fromkeys(("t2star", "t2starweighted"), "T2starw"),
}
_WEIGHTED = re.compile(
    r"(?:[23]d)?(t[12]|pd)(?:w|wi|weighted|se|tse|fse|tfe|ffe|space|cube|blade|haste)"
    r"|(?:[23]d)?(t1)(?:mprage|spgr|bravo|flash|vibe|gd|ce|c)"
)
# As likely a time point as a contrast: `patient_T2`; PD is Parkinson's disease too.
_LOOSE = {"t1": "T1w", "t2": "T2w", "pd": "PDw"}
_HOW = "where it is another one, set scoring.contrast of a run, --contrast of a command"


def contrast_of_file(path: Path) -> str | None:
    """Return the contrast that a scan's file name says for certain, as a BIDS suffix, such as `T2w`.

    It is the last part of the name, or where that is none (`sub-1_T2w_brain`), the first part, or
    word of a part in camel case (`PatFlair`), that is a weighting or a sequence. `None` where the
    name says none; `T1` and `T2` alone may be time points, and say none.
    """
    parts = _parts(path)
    if parts and parts[-1].lower() in _KNOWN:
        return _KNOWN[parts[-1].lower()]
    return next((found for word in _words(parts) if (found := _contrast_of_word(word))), None)


def _parts(path: Path) -> list[str]:
    # The value of an entity, as in `space-T1w`, says nothing about the scan itself.
    plain = re.sub(r"(?<![^_.\s])[a-z]+-[^_.\s]*", "", image_name(path))
    return re.split(r"[_.\s-]+", plain)


def _words(parts: Iterable[str]) -> Iterable[str]:
    """Return each part in lower case, then its words in camel case, where it has several."""
    for part in parts:
        yield part.lower()
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])(?!W(?![a-z]))", " ", part).lower().split()
        yield from words if len(words) > 1 else ()


def _contrast_of_word(word: str) -> str | None:
    if word in _ANATOMICAL or word in _SEQUENCES:
        return _ANATOMICAL.get(word) or _SEQUENCES[word]
    found = _WEIGHTED.fullmatch(word)
    return None if found is None else f"{(found[1] or found[2]).upper()}w"


def _loose_contrast(path: Path) -> str | None:
    """Return what a bare `T1`, `T2`, or `PD` at the end, of a name probably says."""
    words = list(_words(_parts(path)))
    own = (word for place, word in enumerate(words, 1) if word != "pd" or place == len(words))
    return next((_LOOSE[word] for word in own if word in _LOOSE), None)


def find_contrast(scans: Iterable[Path], asked: str = "auto") -> Contrast:
    """Return the contrast that scans share.

    Args:
        scans: files; their names give the contrast, T1w where none says one. A bare `T1`, `T2` or
            `PD` counts where a name says nothing more certain; see `contrast_notes`.
        asked: `auto`, or a contrast that overrides the names.

    Raises:
        SegmentationError: the tissues of the contrast have no known order, or contrasts differ.
    """
    if asked != "auto":
        return _in_order(asked, "the contrast that was set")
    found = [(path, contrast_of_file(path) or _loose_contrast(path)) for path in scans]
    named = {name: path for path, name in found if name is not None}
    if not named:
        return "T1w"
    orders = {RISING.get(_in_order(name, str(path))) for name, path in named.items()}
    if len(orders) > 1:
        listed = ", ".join(f"{name} ({path})" for name, path in sorted(named.items()))
        raise SegmentationError(
            f"the scans have contrasts in which tissues differ in their order: {listed}; tissues "
            "can be compared within one contrast only; if T1 and T2 are time points, set the "
            "contrast (scoring.contrast of a run, --contrast of a command)"
        )
    return _in_order(next(iter(named)), "")


def contrast_notes(scans: Iterable[Path], asked: str = "auto") -> list[Note]:
    """Return notes on scans whose contrast was assumed, or read from a word with other meanings.

    Raises:
        SegmentationError: as `find_contrast`.
    """
    known = list(scans)
    if asked != "auto" or not known:
        return []
    contrast = find_contrast(known)
    unsure = [path for path in known if contrast_of_file(path) is None]
    unsaid = [path for path in unsure if _loose_contrast(path) is None]
    taken = f"T2 in the name is taken for the contrast, {contrast}; {_HOW}"
    notes = [
        Note("contrast-from-word", taken, str(path))
        for path in unsure
        if _loose_contrast(path) == "T2w"
    ]
    if len(unsaid) == len(known):
        text = f"no file name says a contrast: {contrast} is assumed; {_HOW}"
        return [Note("contrast-assumed", text)]
    text = f"the name says no contrast: {contrast} is assumed, as others say; {_HOW}"
    return [*notes, *(Note("contrast-assumed", text, str(path)) for path in unsaid)]


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
