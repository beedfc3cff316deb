"""Which masks of a BIDS folder belong to a scan: of the brain, and of lesions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from harmbench.cohorts.bids_names import BidsFile
from harmbench.errors import CohortError

__all__ = ["lesions_of", "mask_of", "unused_masks"]


def _is_brain_mask(file: BidsFile) -> bool:
    return file.suffix == "mask" and file.entities.get("desc") == "brain"


def _is_lesion_mask(file: BidsFile) -> bool:
    return file.suffix == "mask" and file.entities.get("label", "").casefold() == "lesion"


def _fits(mask: BidsFile, scan: BidsFile, skipped: Collection[str] = ("desc",)) -> bool:
    """Whether a mask has a scan's entities, but for those `skipped`; `mod-` names the suffix."""
    own = {key: value for key, value in mask.entities.items() if key not in skipped}
    theirs = {key: value for key, value in scan.entities.items() if key not in skipped}
    if own.get("mod") == scan.suffix and "mod" not in theirs:
        del own["mod"]
    return own == theirs


def mask_of(scan: BidsFile, beside: Iterable[BidsFile]) -> Path | None:
    """Return the brain mask of a scan; `None` where there is none.

    Args:
        scan: the scan.
        beside: the images of its folder.

    Raises:
        CohortError: several fit.
    """
    found = [file.path for file in beside if _is_brain_mask(file) and _fits(file, scan)]
    return _only(found, "brain masks")


def lesions_of(scan: BidsFile, beside: Iterable[BidsFile]) -> Path | None:
    """Return the mask of a scan's lesions, `label-lesion`; `None` where there is none.

    Args:
        scan: the scan.
        beside: the images of its folder.

    Raises:
        CohortError: several fit.
    """
    skipped = ("desc", "label")
    found = [file.path for file in beside if _is_lesion_mask(file) and _fits(file, scan, skipped)]
    return _only(found, "masks of lesions")


def _only(found: Sequence[Path], what: str) -> Path | None:
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise CohortError(f"{len(found)} {what} fit ({names}): remove all but one")
    return found[0] if found else None


def unused_masks(beside: Sequence[BidsFile]) -> list[Path]:
    """Return brain masks among the images of one folder that fit none of the others."""
    images = [file for file in beside if file.suffix != "mask"]
    return [
        mask.path
        for mask in beside
        if _is_brain_mask(mask) and not any(_fits(mask, image) for image in images)
    ]
