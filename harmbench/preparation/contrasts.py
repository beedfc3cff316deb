"""Which steps of preparation are made for which contrast: the suffix of a BIDS name says it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harmbench.errors import PreparationError
from harmbench.notes import Note
from harmbench.preparation.settings import PrepareSettings
from harmbench.volume import image_name

__all__ = ["MAPS", "NO_ANATOMY", "WEIGHTED", "check_steps", "suffix_of"]

T1_WEIGHTED = frozenset({"T1w", "ceT1w", "UNIT1", "FLASH", "inplaneT1", "MPRAGE"})
"""White matter is the brightest tissue: what deepbet was trained on, and bias.white_matter needs."""

WEIGHTED = T1_WEIGHTED | {
    *("T2w", "FLAIR", "PDw", "PDT2", "T2starw", "inplaneT2", "SWI", "DIR", "MP2RAGE", "MTw"),
}
"""Images in arbitrary units that a receive field multiplies."""

MAPS = frozenset(
    {
        *("T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "T1rho", "PDmap", "M0map"),
        *("MTRmap", "MTsat", "MTVmap", "MWFmap", "Chimap", "S0map", "FAmap", "FA", "MD", "ADC"),
    }
)
"""Quantities: a value has a unit, and no field multiplies it."""

NO_ANATOMY = frozenset(
    {
        *("bold", "cbv", "sbref", "dwi", "asl", "m0scan", "phase", "phasediff", "phase1", "phase2"),
        *("fieldmap", "epi", "TB1map", "RB1map", "angio", "pet", "CT", "mask", "dseg", "probseg"),
    }
)
"""What is not an anatomical image."""

_BY_NAME = {name.lower(): name for name in (*WEIGHTED, *MAPS, *NO_ANATOMY)}


def suffix_of(scan: Path) -> str | None:
    """Return the suffix of a scan's file name, such as `T2w`; `None` where it is not a known one."""
    return _BY_NAME.get(image_name(scan).rpartition("_")[2].lower())


def check_steps(scan: Path, settings: PrepareSettings) -> list[Note]:
    """Check that every step is made for the contrast of a scan.

    Returns:
        Notes on steps that were not made for it.

    Raises:
        PreparationError: a step would give a wrong result.
    """
    suffix = suffix_of(scan)
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
            f"bias.white_matter takes the brightest tissue for white matter, which in {suffix} it is "
            "not; switch it off"
        )


def _doubtful(suffix: str, settings: PrepareSettings) -> Iterator[str]:
    if settings.strip.method == "deepbet" and suffix not in T1_WEIGHTED:
        yield f"deepbet was trained on T1w, not on {suffix}: look at the masks"
    if settings.bias.method == "n4" and suffix == "UNIT1":
        yield "UNIT1 is a ratio without a receive field: N4 has nothing to correct"
    if settings.normalize.method == "percentile" and suffix in MAPS:
        yield f"{suffix} is a map of a quantity: scaling to [0, 1] takes its unit away"
