"""The diffusion model of Durrer et al. 2023 as a method: fit, harmonize, save, load."""

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

from harmbench.arrays import foreground, mean_and_sd
from harmbench.method import Method
from harmbench.methods.dm.network import Denoiser
from harmbench.methods.dm.sampling import sample
from harmbench.methods.dm.settings import DiffusionSettings
from harmbench.methods.dm.train import train
from harmbench.slices import map_slices
from harmbench.task import Pair, Task
from harmbench.training import (
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

__all__ = ["DiffusionModel"]

# The image itself is predicted at the timesteps that sampling visits (Fast-DDPM, Jiang et al. 2024).
_FEW_STEPS: Mapping[str, object] = {
    "learned_variance": False,
    "prediction": "sample",
    "train_timesteps": "sampling",
    "sampler": "ddim",
    "learning_rate_schedule": "cosine",
    "ema_warmup": True,
}


class DiffusionModel(Method[DiffusionSettings]):
    """A denoising diffusion model that is guided by the source slice.

    Args:
        config: its settings; `None` for their defaults.
    """

    Config: ClassVar[type[DiffusionSettings]] = DiffusionSettings
    title = "DM"
    reference = (
        "Durrer A, Wolleb J, Bieder F, Sinnecker T, Weigel M, Sandkühler R, Granziera C, "
        "Yaldizli Ö, Cattin PC. Diffusion models for contrast harmonization of magnetic resonance "
        "images. MIDL 2023."
    )
    default_parameters: ClassVar[Mapping[str, int]] = {"network": 11_402_370}
    quick_settings: ClassVar[Mapping[str, object]] = {
        "channels": 8,
        "norm_groups": 4,
        "levels": 2,
        "blocks_per_level": 1,
        "timesteps": 40,
        "sampling_steps": 4,
        "iterations": 8,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    earlier_settings: ClassVar[Mapping[str, object]] = {"scale_betas": False}
    sizes: ClassVar[Sequence[Mapping[str, object]]] = (
        {},
        {**_FEW_STEPS, "sampling_steps": 10, "iterations": 50_000, "ema_decay": 0.999},
        {
            **_FEW_STEPS,
            "channels": 32,
            "norm_groups": 8,
            "levels": 3,
            "sampling_steps": 10,
            "learning_rate": 1e-3,
            "iterations": 5000,
            "ema_decay": 0.995,
        },
        {
            **_FEW_STEPS,
            "channels": 16,
            "norm_groups": 8,
            "levels": 3,
            "blocks_per_level": 1,
            "sampling_steps": 5,
            "learning_rate": 3e-3,
            "iterations": 450,
            "ema_decay": 0.99,
        },
    )

    def __init__(self, config: DiffusionSettings | None = None) -> None:
        super().__init__(config)
        self._network: Denoiser | None = None
        self._plane = (1, 1)  # rows and columns of the training slices

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Train the network on all slices of the training subjects.

        Raises:
            TrainingError: there is nothing to learn from, or the loss is not finite.
            MethodError: the device is not there.
            VolumeError: source and target of a pair lie on different grids.
        """
        work = partial(train, self.config, pairs)
        self._network, self._plane = together(work, task, self.config)

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Sample every slice of `source` in the target contrast and stack them.

        Voxels outside the source's brain are 0. The noise depends on the seed, the volume, the
        slice and the number of the sample, not on the batch size. With `n_samples` above 1 the
        result is the mean of the samples, and their standard deviation is given to `task.keep` as
        `standard-deviation`.

        Raises:
            MethodError: the method was not fitted, or the device is not there.
        """
        config = self.config
        device = resolve_device(task.device)
        network = place(fitted(self._network, "dm"), device)
        forward = cast(nn.Module, torch.compile(network)) if config.compile else network
        brain, key = foreground(source.data), source.key

        def draw(repeat: int) -> NDArray[np.float32]:
            def function(
                slices: NDArray[np.float32], numbers: NDArray[np.intp]
            ) -> NDArray[np.float32]:
                generators = [
                    random_generator(device, task.seed, key, repeat, int(n)) for n in numbers
                ]
                condition = torch.from_numpy(slices)[:, None].to(device) * 2 - 1
                made = sample(forward, condition, config, generators).clamp(-1, 1)
                return np.asarray(((made[:, 0] + 1) / 2).cpu().numpy())

            crop = config.crop == "auto"
            return map_slices(
                function,
                source.data,
                brain,
                axis=config.axis,
                multiple=config.multiple,
                crop=crop,
                skip_empty=config.skip_empty_slices,
                at_least=self._plane if crop else (1, 1),
                batch_size=config.sampling_batch,
                progress=lambda done, total: task.progress(
                    "harmonize dm", repeat * total + done, config.n_samples * total
                ),
            )

        parameters = {
            "sampler": config.sampler,
            "steps": config.sampling_steps,
            "samples": config.n_samples,
            "seed": task.seed,
            "averaged_weights": config.use_ema,
        }
        mean, deviation = mean_and_sd(map(draw, range(config.n_samples)))
        if deviation is not None:
            spread = Step("dm standard deviation", parameters)
            task.keep("standard-deviation", source.with_data(np.where(brain, deviation, 0), spread))
        return source.with_data(np.where(brain, mean, np.float32(0)), Step("dm", parameters))

    def save(self, folder: Path) -> None:
        """Write the weights that sampling uses (safetensors) and the settings (JSON).

        Raises:
            MethodError: the method was not fitted.
        """
        save_network(folder, fitted(self._network, "dm"), self.config, self._plane)

    @classmethod
    def load(cls, folder: Path, config: DiffusionSettings | None = None) -> Self:
        """Read what `save` wrote. `config` may sample in another way, but not change the network.

        Raises:
            MethodError: files are missing or damaged, or `config` describes another network.
        """
        saved = load_network(
            folder,
            config,
            name="dm",
            settings=DiffusionSettings,
            make=Denoiser,
            meaning="network or noising process",
            earlier=cls.earlier_settings,
        )
        method = cls(saved.settings)
        method._network, method._plane = saved.network, saved.plane
        return method

    def training_steps(self, slices: int) -> int:
        """Return `iterations`."""
        return self.config.iterations

    def sized(self, steps: int) -> Mapping[str, object]:
        """Return `iterations`."""
        return {"iterations": steps}

    def forward_passes(self) -> int:
        """Return the denoising steps of all samples of a slice."""
        return self.config.sampling_steps * self.config.n_samples

    def parameter_counts(self) -> Mapping[str, int]:
        """Number of trainable parameters of the network that the settings describe."""
        with torch.device("meta"):
            return {"network": parameter_count(Denoiser(self.config))}
