"""DeepHarmony as a method: its network, its loss and what surrounds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from harmbench.arrays import foreground
from harmbench.methods._regression import SliceRegression
from harmbench.methods.deepharmony.network import DeepHarmonyNetwork
from harmbench.methods.deepharmony.peak import AlignedPairs, white_matter_peak
from harmbench.methods.deepharmony.settings import DeepHarmonySettings
from harmbench.slices import TrainingSlices
from harmbench.task import Pair, Task
from harmbench.volume import Volume

__all__ = ["DeepHarmony"]

_KERAS_EPSILON = 1e-7
# Statistics are means over batches, and the variance within a small batch misses that between
# batches: with 4 slices at a time, results came out too bright.
_RECALIBRATION_BATCH = 32


class DeepHarmony(SliceRegression[DeepHarmonySettings]):
    """The U-Net of Dewey et al. 2019 in 2D, trained for the mean absolute error.

    Args:
        config: its settings; `None` for those of Durrer et al. 2023.
    """

    Config: ClassVar[type[DeepHarmonySettings]] = DeepHarmonySettings
    name = "deepharmony"
    title = "DeepHarmony"
    reference = (
        "Dewey BE, Zhao C, Reinhold JC, Carass A, Fitzgerald KC, Sotirchos ES, Saidha S, Oh J, "
        "Pham DL, Calabresi PA, van Zijl PCM, Prince JL. DeepHarmony: a deep learning approach to "
        "contrast harmonization across scanner changes. Magn Reson Imaging 64:160-170, 2019."
    )
    default_parameters: ClassVar[Mapping[str, int]] = {"network": 1_831_650}
    quick_settings: ClassVar[Mapping[str, object]] = {
        "channels": (4, 8),
        "crop": "auto",
        "at_least": 8,
        "skip_empty_slices": True,
        "epochs": 2,
        "learning_rate": 1e-3,
        "align_wm_peak": True,
        "recalibrate_batchnorm": True,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    sizes: ClassVar[Sequence[Mapping[str, object]]] = (
        {},
        {
            "batch_size": 4,
            "iterations": 8000,
            "learning_rate": 2e-3,
            "learning_rate_schedule": "cosine",
            "align_wm_peak": True,
            "recalibrate_batchnorm": True,
            "crop": "auto",
            "at_least": 1,
            "skip_empty_slices": True,
        },
        {
            "channels": (8, 16, 32, 64, 128),
            "batch_size": 4,
            "iterations": 830,
            "learning_rate": 4e-3,
            "learning_rate_schedule": "cosine",
            "align_wm_peak": True,
            "recalibrate_batchnorm": True,
            "crop": "auto",
            "at_least": 1,
            "skip_empty_slices": True,
        },
    )

    def make_network(self) -> nn.Module:
        """Return a new network."""
        return DeepHarmonyNetwork(self.config.channels)

    def make_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return Adam, with the epsilon of Keras."""
        return torch.optim.Adam(
            network.parameters(), lr=self.config.learning_rate, eps=_KERAS_EPSILON, fused=True
        )

    def losses(self, prediction: Tensor, goal: Tensor) -> dict[str, Tensor]:
        """Return the mean absolute error over all pixels."""
        return {"loss": functional.l1_loss(prediction, goal)}

    def training_steps(self, slices: int) -> int:
        """Return `iterations`, or the steps in which every slice is seen `epochs` times."""
        config = self.config
        return config.iterations or -(-config.epochs * slices // config.batch_size)

    def sized(self, steps: int) -> Mapping[str, object]:
        """Return `iterations`."""
        return {"iterations": steps}

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Train the network on all slices of the training subjects, aligned if that is wanted.

        Raises:
            TrainingError: there is nothing to learn from, or the loss is not finite.
            MethodError: the device is not there.
            VolumeError: source and target of a pair lie on different grids.
        """
        if not self.config.align_wm_peak:
            super().fit(pairs, task)
            return
        aligned = AlignedPairs(pairs)
        super().fit(aligned, task)
        self.learned = {"target_wm_peak": aligned.target_peak}

    @torch.no_grad()
    def complete(self, network: nn.Module, slices: TrainingSlices) -> None:
        """Recalibrate the batch normalization if that is wanted."""
        if not self.config.recalibrate_batchnorm:
            return
        device = next(network.parameters()).device
        update_bn(_spread_batches(slices), network, device)

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Predict every slice of `source` in the target contrast and stack them.

        The network's output has no upper bound. It is clipped to 1, and the share of brain voxels
        for which that was needed stands in the history as `clipped`. Voxels outside the source's
        brain are 0.

        Raises:
            MethodError: the method was not fitted, or the device is not there.
        """
        if not self.config.align_wm_peak:
            return super().harmonize(source, task)
        brain = foreground(source.data)
        peak = white_matter_peak(source.data)
        data = self.predict(np.asarray(source.data / np.float32(peak)), brain, task)
        target_peak = self.learned["target_wm_peak"]
        data = data * np.float32(target_peak)
        return self.finish(source, brain, data, wm_peak=peak, target_wm_peak=target_peak)


def _spread_batches(slices: TrainingSlices) -> Iterator[Tensor]:
    """All slices once, (batch, 1, rows, columns); each batch has slices from everywhere.

    A batch of neighbouring slices would have a variance of its own, and not that of the brain.
    """
    count = -(-len(slices) // _RECALIBRATION_BATCH)
    for first in range(count):
        yield torch.from_numpy(slices.source[first::count])[:, None]
