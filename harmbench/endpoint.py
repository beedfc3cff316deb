"""What a run declares beforehand: its primary endpoint, and which differences do not matter."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from harmbench.metrics.declarations import METRICS, VOLUME_DIFFERENCE
from harmbench.segmentation.base import TISSUES
from harmbench.settings import Settings

__all__ = ["EndpointSettings"]


class EndpointSettings(Settings):
    """The one measure that the verdict rests on, and the region of equivalence."""

    metric: str = Field(VOLUME_DIFFERENCE.name, description="metric of the primary endpoint")
    tissue: str | None = Field(None, description="its tissue, for a metric of tissues; unset: GM")
    equivalence: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="differences within this share of the original's error count as none",
    )

    @field_validator("metric")
    @classmethod
    def _has_direction(cls, value: str) -> str:
        known = [name for name, metric in METRICS.items() if metric.better != "none"]
        if value not in known:
            raise ValueError(f"not a metric with a better direction; these are: {', '.join(known)}")
        return value

    @model_validator(mode="after")
    def _has_tissue(self) -> Self:
        tissues = [*TISSUES] if METRICS[self.metric].scope == "tissue" else []
        if self.tissue is not None and self.tissue not in tissues:
            allowed = f"its tissues are {', '.join(tissues)}" if tissues else "it has no tissues"
            raise ValueError(f"tissue {self.tissue!r} is none of {self.metric}'s: {allowed}")
        return self

    @property
    def measure(self) -> tuple[str, str]:
        """Metric and tissue; the tissue is empty for a metric of the whole image."""
        whole = METRICS[self.metric].scope == "image"
        return self.metric, "" if whole else self.tissue or "GM"
