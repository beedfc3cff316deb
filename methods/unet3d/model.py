"""The 3D U-Net as a method: fit, harmonize, save, load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from torch import nn
from typing_extensions import Self

from harmbench.arrays import foreground, outside_unit_range
from harmbench.method import Method
from harmbench.methods.unet3d.network import Regressor3D
from harmbench.methods.unet3d.patches import map_patches
from harmbench.methods.unet3d.settings import UNet3DSettings
from harmbench.methods.unet3d.train import outputs, train
from harmbench.task import Pair, Task
from harmbench.training import (
    fitted,
    load_network,
    parameter_count,
    resolve_device,
    save_network,
    together,
)
from harmbench.volume import Step, Volume

__all__ = ["UNet3D"]


class UNet3D(Method[UNet3DSettings]):
    """A 3D U-Net that is trained to give target patches from source patches.

    Args:
        config: its settings; `None` for their defaults.
    """

    Config: ClassVar[type[UNet3DSettings]] = UNet3DSettings
    title = "3D U-Net"
    reference = (
        "Çiçek Ö, Abdulkadir A, Lienkamp SS, Brox T, Ronneberger O. 3D U-Net: learning dense "
        "volumetric segmentation from sparse annotation. MICCAI 2016. Here a residual one, trained "
        "for regression."
    )
    several_sources = True
    default_parameters: ClassVar[Mapping[str, int]] = {"network": 1_614_561}
    quick_settings: ClassVar[Mapping[str, object]] = {
        "channels": (4, 8),
        "patch": 8,
        "batch_size": 4,
        "iterations": 8,
        "warmup": 1,
        "prediction_batch": 8,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    sizes: ClassVar[Sequence[Mapping[str, object]]] = (
        {},
        {
            "channels": (16, 32, 64),
            "patch": 48,
            "iterations": 5000,
            "warmup": 100,
            "learning_rate": 2e-3,
            "ema_decay": 0.995,
            "loss": "mse",
        },
        {
            "channels": (8, 16, 32),
            "patch": 32,
            "iterations": 300,
            "warmup": 15,
            "learning_rate": 3e-3,
            "ema_decay": 0.99,
            "loss": "mse",
        },
    )

    def __init__(self, config: UNet3DSettings | None = None) -> None:
        super().__init__(config)
        self._network: Regressor3D | None = None

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Train the network on random patches of the training subjects.

        Raises:
            TrainingError: there is nothing to learn from, or the loss is not finite.
            MethodError: the device is not there.
            VolumeError: source and target of a pair lie on different grids.
        """
        self._network = together(partial(train, self.config, pairs), task, self.config)

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Predict overlapping patches of `source` in the target contrast and blend them.

        Values are clipped to [0, 1]; the share of brain voxels for which that was needed stands in
        the history as `clipped`. Voxels outside the source's brain are 0.

        Raises:
            MethodError: the method was not fitted, or the device is not there.
        """
        config, device = self.config, resolve_device(task.device)
        network = fitted(self._network, "unet3d").to(device)
        forward = cast(nn.Module, torch.compile(network)) if config.compile else network
        brain = foreground(source.data)
        data = map_patches(
            lambda patches: outputs(forward, patches, device, config.precision),
            source.data,
            brain,
            side=config.patch,
            overlap=config.overlap,
            batch_size=config.prediction_batch,
            progress=lambda done, total: task.progress("harmonize unet3d", done, total),
        )
        outside = outside_unit_range(data)
        clipped = np.count_nonzero(outside & brain) / max(1, np.count_nonzero(brain))
        step = Step("unet3d", {"overlap": config.overlap, "clipped": clipped})
        return source.with_data(np.where(brain, np.clip(data, 0, 1), np.float32(0)), step)

    def save(self, folder: Path) -> None:
        """Write the weights (safetensors) and the settings (JSON).

        Raises:
            MethodError: the method was not fitted.
        """
        side = self.config.patch
        save_network(folder, fitted(self._network, "unet3d"), self.config, (side, side))

    @classmethod
    def load(cls, folder: Path, config: UNet3DSettings | None = None) -> Self:
        """Read what `save` wrote. `config` may differ in what the weights do not depend on.

        Raises:
            MethodError: files are missing or damaged, or `config` describes another network.
        """
        saved = load_network(
            folder, config, name="unet3d", settings=UNet3DSettings, make=Regressor3D
        )
        method = cls(saved.settings)
        method._network = saved.network
        return method

    def training_steps(self, slices: int) -> int:
        """Return `iterations`."""
        return self.config.iterations

    def sized(self, steps: int) -> Mapping[str, object]:
        """Return `iterations`, with a warm-up that takes at most a twentieth of them."""
        return self.config.sized(steps)

    def parameter_counts(self) -> Mapping[str, int]:
        """Number of trainable parameters of the network that the settings describe."""
        with torch.device("meta"):
            return {"network": parameter_count(Regressor3D(self.config))}
