"""pGAN (Dar et al. 2019) as a method: fit, harmonize, save, load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from typing_extensions import Self

from harmbench.arrays import foreground
from harmbench.method import Method
from harmbench.methods.pgan.networks import Discriminator, Generator
from harmbench.methods.pgan.settings import PGANSettings
from harmbench.methods.pgan.train import total_steps, train
from harmbench.slices import map_slices
from harmbench.task import Pair, Task
from harmbench.training import (
    autocast,
    fitted,
    load_network,
    parameter_count,
    place,
    random_generator,
    resolve_device,
    save_network,
    together,
)
from harmbench.volume import Step, Volume

__all__ = ["PGAN"]


class PGAN(Method[PGANSettings]):
    """A conditional adversarial network with pixel-wise and perceptual losses.

    Args:
        config: its settings; `None` for those of the paper's comparison.
    """

    Config: ClassVar[type[PGANSettings]] = PGANSettings
    title = "pGAN"
    reference = (
        "Dar SUH, Yurt M, Karacan L, Erdem A, Erdem E, Çukur T. Image synthesis in multi-contrast "
        "MRI with conditional generative adversarial networks. IEEE Transactions on Medical "
        "Imaging 38(10):2375-2388, 2019."
    )
    default_parameters: ClassVar[Mapping[str, int]] = {
        "generator": 11_365_633,
        "discriminator": 2_763_713,
    }
    quick_settings: ClassVar[Mapping[str, object]] = {
        "channels": 4,
        "blocks": 1,
        "discriminator_channels": 4,
        "perceptual": "random",
        "epochs": 1,
        "decay_epochs": 1,
        "batch_size": 16,
        "crop": "auto",
        "checkpoint_every": 2,
        "log_every": 1,
    }
    # All but the first are without the weights of VGG16: not the published pGAN.
    sizes: ClassVar[Sequence[Mapping[str, object]]] = (
        {},
        {
            "channels": 32,
            "blocks": 4,
            "discriminator_channels": 32,
            "perceptual": "off",
            "crop": "auto",
            "iterations": 10_000,
            "epochs": 2,
            "decay_epochs": 7,
            "learning_rate": 5e-4,
        },
        {
            "channels": 16,
            "blocks": 1,
            "dropout": 0.0,
            "discriminator_channels": 8,
            "discriminator_layers": 1,
            "perceptual": "off",
            "crop": "auto",
            "iterations": 1250,
            "epochs": 2,
            "decay_epochs": 7,
            "batch_size": 2,
            "learning_rate": 1e-3,
        },
    )

    def __init__(self, config: PGANSettings | None = None) -> None:
        super().__init__(config)
        self._network: Generator | None = None
        self._plane = (1, 1)  # rows and columns of the training slices
        self._features = ""  # key of the features of the perceptual loss

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Train generator and discriminator in turn on all slices of the training subjects.

        Raises:
            TrainingError: there is nothing to learn from, or a loss is not finite.
            MethodError: the device is not there, or VGG16's weights are missing or wrong.
            VolumeError: source and target of a pair lie on different grids.
        """
        work = partial(train, self.config, pairs)
        self._network, self._plane, self._features = together(work, task, self.config)

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Map every slice of `source` to the target contrast and stack them.

        Voxels outside the source's brain are 0. The result is the same every time; with `faithful`
        dropout stays on, and depends on the seed, the volume and the slice.

        Raises:
            MethodError: the method was not fitted, or the device is not there.
        """
        config = self.config
        device = resolve_device(task.device)
        network = place(fitted(self._network, "pgan"), device)
        forward = cast(nn.Module, torch.compile(network)) if config.compile else network
        brain, key = foreground(source.data), source.key

        def function(slices: NDArray[np.float32], numbers: NDArray[np.intp]) -> NDArray[np.float32]:
            dropout = [
                random_generator(device, task.seed, key, int(number))
                for number in (numbers if config.faithful else ())
            ]
            with torch.no_grad(), autocast(device, config.precision):
                made = forward(torch.from_numpy(slices)[:, None].to(device) * 2 - 1, dropout)
            return np.asarray(((made[:, 0] + 1) / 2).cpu().numpy())

        crop = config.crop == "auto"
        made = map_slices(
            function,
            source.data,
            brain,
            axis=config.axis,
            multiple=config.multiple,
            crop=crop,
            skip_empty=config.skip_empty_slices,
            at_least=self._plane if crop else config.at_least,
            batch_size=config.sampling_batch,
            progress=lambda done, total: task.progress("harmonize pgan", done, total),
        )
        data = np.where(brain, made, np.float32(0))
        parameters: dict[str, object] = {
            "perceptual": config.perceptual,
            "features": self._features,
            "dropout": config.faithful,
        }
        if config.faithful:
            parameters["seed"] = task.seed
        return source.with_data(data, Step("pgan", parameters))

    def save(self, folder: Path) -> None:
        """Write the generator's weights (safetensors) and the settings (JSON).

        Raises:
            MethodError: the method was not fitted.
        """
        network = fitted(self._network, "pgan")
        save_network(folder, network, self.config, self._plane, features=self._features)

    @classmethod
    def load(cls, folder: Path, config: PGANSettings | None = None) -> Self:
        """Read what `save` wrote. `config` may cut slices in another way, but not change the network.

        Raises:
            MethodError: files are missing or damaged, or `config` describes another network.
        """
        saved = load_network(
            folder,
            config,
            name="pgan",
            settings=PGANSettings,
            make=Generator,
            meaning="the generator",
            texts=("features",),
        )
        method = cls(saved.settings)
        method._network, method._plane = saved.network, saved.plane
        method._features = saved.texts["features"]
        return method

    def training_steps(self, slices: int) -> int:
        """Return `iterations`, or the steps of all epochs."""
        return total_steps(self.config, slices)

    def sized(self, steps: int) -> Mapping[str, object]:
        """Return `iterations`."""
        return {"iterations": steps}

    def trial_settings(self) -> Mapping[str, object]:
        """Return random features in place of VGG16's, so that a trial downloads nothing."""
        return {"perceptual": "random"} if self.config.perceptual == "vgg16" else {}

    def parameter_counts(self) -> Mapping[str, int]:
        """Number of trainable parameters of both networks that the settings describe."""
        with torch.device("meta"):
            return {
                "generator": parameter_count(Generator(self.config)),
                "discriminator": parameter_count(Discriminator(self.config)),
            }
