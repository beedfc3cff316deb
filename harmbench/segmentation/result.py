"""What segmenting a volume gives: labels, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass

from harmbench.errors import ImplausibleLabelsError, SegmentationError, UnsegmentableError
from harmbench.volume import Volume

__all__ = ["Segmented", "Unsegmented"]


@dataclass(frozen=True, slots=True)
class Unsegmented:
    """Why a volume has no labels.

    Attributes:
        reason: the segmenter and what it said.
        status: of the rows that have no value for it; one of `STATUSES`.
        lasting: whether it follows from the volume; otherwise the next run tries again.
    """

    reason: str
    status: str
    lasting: bool


@dataclass(frozen=True, slots=True)
class Segmented:
    """The result of a segmentation: exactly one of the two is there.

    Attributes:
        labels: shape (x, y, z), 0 background, 1 CSF, 2 GM, 3 WM; `None` after a failure.
        failure: why there are no labels; `None` where there are.
    """

    labels: Volume | None = None
    failure: Unsegmented | None = None

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.failure is None):
            raise ValueError("a segmentation has either labels or a reason for having none")

    @classmethod
    def failed(cls, error: SegmentationError, segmenter: str) -> Segmented:
        """Return what stands for the labels that an error of the named segmenter cost."""
        implausible = isinstance(error, ImplausibleLabelsError)
        status = "segmentation_implausible" if implausible else "segmentation_failed"
        lasting = isinstance(error, UnsegmentableError)
        return cls(failure=Unsegmented(f"{segmenter}: {error}", status, lasting))
