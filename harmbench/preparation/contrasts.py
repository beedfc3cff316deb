"""Which steps of preparation are suitable for which contrast, by the suffix of the BIDS name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harmbench.errors import PreparationError
from harmbench.notes import Note
from harmbench.preparation.settings import PrepareSettings
from harmbench.segmentation.contrast import contrast_of_file

__all__ = ["MAPS", "NO_ANATOMY", "T1_WEIGHTED", "check_steps"]

T1_WEIGHTED = frozenset({"T1w", "UNIT1", "FLASH", "inplaneT1"})
"""White matter is the brightest tissue. deepbet was trained on these; bias.white_matter needs them."""

MAPS = frozenset(
    {
        *("T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "T1rho", "PDmap", "M0map"),
        *("MTRmap", "MTsat", "MTVmap", "MWFmap", "Chimap", "S0map"),
    }
)
"""Quantitative maps: values have a unit, and no bias field multiplies them."""

NO_ANATOMY = frozenset(
    {
        *("bold", "cbv", "sbref", "dwi", "asl", "m0scan", "fieldmap", "epi", "TB1map", "RB1map"),
        *("phasediff", "phase1", "phase2", "pet", "CT", "mask", "dseg", "probseg"),
    }
)
"""Images that are not anatomical magnetic resonance images."""


def check_steps(scan: Path, settings: PrepareSettings) -> list[Note]:
    """Check that every step is suitable for the contrast of a scan.

    Returns:
        Notes on steps that were not designed for it.

    Raises:
        PreparationError: a step would give a wrong result.
    """
    part = re.search(r"_part-(phase|real|imag)_", scan.name)
    if part is not None:
        raise PreparationError(
            f"part-{part[1]} is no magnitude image: it shows no brain and has no bias field"
        )
    suffix = contrast_of_file(scan)
    if suffix is None:
        return []
    refused = next(_refused(suffix, settings), None)
    if refused is not None:
        raise PreparationError(refused)
    return [Note("step-not-for-contrast", text) for text in _doubtful(suffix, settings)]


def _refused(suffix: str, settings: PrepareSettings) -> Iterator[str]:
    if suffix in NO_ANATOMY:
        yield f"{suffix} is no anatomical image"
    if settings.bias.method == "none":
        return
    if suffix in MAPS:
        yield (
            f"{suffix} is a map of a quantity, which no bias field multiplies: N4 would change it; "
            "set bias.method=none"
        )
    if settings.bias.white_matter and suffix not in T1_WEIGHTED:
        yield (
            f"bias.white_matter takes the brightest tissue for white matter, which it is not in "
            f"{suffix}; switch it off"
        )


def _doubtful(suffix: str, settings: PrepareSettings) -> Iterator[str]:
    if settings.strip.method == "deepbet" and suffix not in T1_WEIGHTED:
        yield f"deepbet was trained on T1w, not on {suffix}: look at the masks"
    if settings.bias.method == "n4" and suffix == "UNIT1":
        yield "UNIT1 is a ratio without a receive field: N4 has nothing to correct"
    if settings.normalize.method == "percentile" and suffix in MAPS:
        yield f"{suffix} is a map of a quantity: scaling to [0, 1] removes its unit"
