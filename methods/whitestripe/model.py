"""White stripe normalization as a method: fit, harmonize, save, load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Self

from harmbench.arrays import Single
from harmbench.errors import MethodError
from harmbench.method import Method
from harmbench.methods._normalization import (
    ARRAY,
    Modality,
    WhiteStripeNormalizer,
    finished,
    normalizing,
    target_brains,
)
from harmbench.settings import Settings
from harmbench.storage import read_json, write_json
from harmbench.task import Pair, Task
from harmbench.volume import Volume

__all__ = ["WhiteStripe", "WhiteStripeSettings"]

_FILE = "stripe.json"


class WhiteStripeSettings(Settings):
    """Settings of the white stripe."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    width: float = Field(0.05, gt=0, lt=0.5)
    """Share of the brain's voxels on each side of the white matter peak that belong to the stripe."""
    modality: Literal["t1", "t2", "flair", "pd"] = "t1"
    """Which peak of the histogram is that of white matter: the last (t1), the largest (t2, flair) or
    the first (pd)."""


class _Stripe(BaseModel):
    """Mean and standard deviation of the intensities in a white stripe."""

    model_config = ConfigDict(frozen=True)

    mean: float
    sd: float


class WhiteStripe(Method[WhiteStripeSettings]):
    """Give each source's white stripe the mean and standard deviation of the training targets' stripes.

    The white stripe is a band of quantiles around the white matter peak of the histogram of the voxels
    above 0. The map of a scan is one line.

    Args:
        config: its settings; `None` for their defaults.
    """

    Config: ClassVar[type[WhiteStripeSettings]] = WhiteStripeSettings
    title = "WhiteStripe"
    reference = (
        "Shinohara RT, Sweeney EM, Goldsmith J, Shiee N, Mateen FJ, Calabresi PA, Jarso S, Pham DL, "
        "Reich DS, Crainiceanu CM. Statistical normalization techniques for magnetic resonance "
        "imaging. NeuroImage Clin 6:9-19, 2014. Code: intensity-normalization (Reinhold et al. 2019)."
    )
    several_sources = True

    def __init__(self, config: WhiteStripeSettings | None = None) -> None:
        super().__init__(config)
        self._target: _Stripe | None = None

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Average mean and standard deviation of the training targets' stripes.

        Raises:
            TrainingError: there are no pairs, or a target has no voxel above 0.
            MethodError: a target has no white stripe.
        """
        stripes = []
        for brain in target_brains(pairs, task):
            stripes.append(self._stripe(brain))
            task.progress("white stripes", len(stripes), len(pairs))
        mean, sd = np.mean([(stripe.mean, stripe.sd) for stripe in stripes], axis=0)
        self._target = _Stripe(mean=float(mean), sd=float(sd))

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Map the voxels of `source` above 0; the others stay 0. Values are clipped to [0, 1].

        Raises:
            MethodError: the method was not fitted, or the source has no white stripe.
        """
        target = self._fitted("harmonize")
        brain = source.data[source.data > 0]
        own = self._stripe(brain) if brain.size else target
        mapped = (brain.astype(np.float64) - own.mean) / own.sd * target.sd + target.mean
        return finished(
            source,
            mapped,
            "whitestripe",
            width=self.config.width,
            own=own.model_dump(),
            wanted=target.model_dump(),
        )

    def _stripe(self, brain: Single) -> _Stripe:
        """Find the white stripe of intensities above 0, shape (voxels,)."""
        modality = Modality(self.config.modality)
        with normalizing("whitestripe"):
            found = WhiteStripeNormalizer(self.config.width, modality=modality).fit(ARRAY(brain))
        return _Stripe(mean=float(found.mean), sd=float(found.std))

    def save(self, folder: Path) -> None:
        """Write mean and standard deviation of the targets' stripes (JSON).

        Raises:
            MethodError: the method was not fitted.
        """
        write_json(folder / _FILE, self._fitted("save").model_dump())

    @classmethod
    def load(cls, folder: Path, config: WhiteStripeSettings | None = None) -> Self:
        """Read what `save` wrote.

        Raises:
            MethodError: the file is missing or damaged.
        """
        method = cls(config)
        try:
            method._target = _Stripe.model_validate(read_json(folder / _FILE))
        except (OSError, ValueError) as error:
            raise MethodError(f"{folder / _FILE}: not a saved white stripe ({error})") from error
        return method

    def _fitted(self, call: str) -> _Stripe:
        if self._target is None:
            raise MethodError(f"whitestripe: {call} was called before fit or load")
        return self._target
