"""The diffusion model of Durrer et al. 2023 as a method: fit, harmonize, save, load."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from harmbench.errors import MethodError
from harmbench.method import Method, Pair, Task
from harmbench.methods.dm.diffusion import Chain, diffusion_loss
from harmbench.methods.dm.network import Denoiser
from harmbench.methods.dm.sampling import sample, sampling_timesteps
from harmbench.methods.dm.settings import DiffusionSettings
from harmbench.slices import TrainingSlices, foreground, map_slices, training_slices
from harmbench.storage import key_of, write_json
from harmbench.training import (
    Checkpoints,
    LossLog,
    autocast,
    batch_order,
    fitted,
    frozen,
    load_weights,
    parameter_count,
    place,
    random_generator,
    resolve_device,
    save_weights,
    saved_values,
    seeded,
    update_average,
)
from harmbench.volume import Step, Volume

__all__ = ["DiffusionModel"]

_ADVICE = "try a lower learning_rate, or precision float32"


class DiffusionModel(Method):
    """A denoising diffusion model that is guided by the source slice.

    Args:
        config: its settings; `None` for the paper's.
    """

    Config: ClassVar[type[DiffusionSettings]] = DiffusionSettings
    title = "DM"
    reference = (
        "Durrer A, Wolleb J, Bieder F, Sinnecker T, Weigel M, Sandkühler R, Granziera C, "
        "Yaldizli Ö, Cattin PC. Diffusion models for contrast harmonization of magnetic resonance "
        "images. MIDL 2023."
    )
    quick_settings: ClassVar[Mapping[str, Any]] = {
        "channels": 8,
        "norm_groups": 4,
        "levels": 2,
        "blocks_per_level": 1,
        "timesteps": 20,
        "sampling_steps": 4,
        "iterations": 8,
        "checkpoint_every": 2,
        "log_every": 1,
    }

    config: DiffusionSettings

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
        config = self.config
        device = resolve_device(task.device)
        slices = _slices(pairs, config)
        order = batch_order(len(slices), config.batch_size, task.seed)
        visited = sampling_timesteps(config) if config.train_timesteps == "sampling" else None
        chain = Chain.from_settings(config, device, visited)

        with seeded(task.seed, "weights"):
            network = place(Denoiser(config), device).train()
        average = copy.deepcopy(network).requires_grad_(requires_grad=False)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        state = ({"raw": network, "average": average}, {"adam": optimizer})

        checkpoints = Checkpoints(
            None if task.folder is None else task.folder / "checkpoint.safetensors",
            key_of(config.training_key, slices.key, task.seed),
            config.checkpoint_minutes,
            config.checkpoint_every,
        )
        done = checkpoints.restore(*state)
        log = LossLog(None if task.folder is None else task.folder / "loss.csv", done, _ADVICE)

        for step in range(done + 1, config.iterations + 1):
            chosen = order(step - 1)
            source = _to_network(slices.source[chosen], device)
            image = _to_network(slices.target[chosen], device)
            generator = random_generator(device, task.seed, "noise", step)
            index = torch.randint(len(chain), (len(chosen),), generator=generator, device=device)
            noise = torch.randn(image.shape, generator=generator, device=device)
            noisy = chain.add_noise(image, noise, index)

            with autocast(device, config.precision):
                answer = network(noisy, source, chain.timesteps[index])
            losses = diffusion_loss(chain, config, image, noise, index, answer)

            optimizer.param_groups[0]["lr"] = _learning_rate(config, step)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(losses["loss"])
            optimizer.step()
            update_average(average, network, _decay(config, step))

            log.add(step, **losses)
            keep = step == config.iterations or checkpoints.due(step)
            if keep or step % config.log_every == 0:
                means = log.flush()  # stops here if a loss isn't finite, before it is kept
                if keep:
                    checkpoints.save(step, *state)
                task.progress("train dm", step, config.iterations, **means)

        self._network = frozen(average if config.use_ema else network)
        self._plane = slices.plane

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Sample every slice of `source` in the target contrast and stack them.

        Voxels outside the source's brain are 0. The noise depends on the seed, the volume and the
        slice, not on the batch size.

        Raises:
            MethodError: the method was not fitted, or the device is not there.
        """
        config = self.config
        device = resolve_device(task.device)
        network = place(self._fitted(), device)
        brain = foreground(source.data)
        crop = config.crop == "auto"

        def samples(slices: NDArray[np.float32], numbers: NDArray[np.intp]) -> NDArray[np.float32]:
            condition = _to_network(slices, device)
            return self._mean_sample(network, condition, numbers, source.key, task.seed)

        result = map_slices(
            samples,
            source.data,
            brain,
            axis=config.axis,
            multiple=config.multiple,
            crop=crop,
            skip_empty=config.skip_empty_slices,
            at_least=self._plane if crop else (1, 1),
            batch_size=config.sampling_batch,
            progress=partial(task.progress, "harmonize dm"),
        )
        data = np.where(brain, result, np.float32(0))
        parameters = {
            "sampler": config.sampler,
            "steps": config.sampling_steps,
            "samples": config.samples,
            "seed": task.seed,
            "averaged_weights": config.use_ema,
        }
        return source.with_data(data, Step("dm", parameters))

    def _mean_sample(
        self,
        network: Denoiser,
        condition: Tensor,
        numbers: NDArray[np.intp],
        volume_key: str,
        seed: int,
    ) -> NDArray[np.float32]:
        """Average the samples of slices, in [0, 1]: (batch, 1, rows, columns) to (batch, rows, columns)."""
        total = torch.zeros_like(condition)
        for repeat in range(self.config.samples):
            generators = [
                random_generator(condition.device, seed, volume_key, repeat, int(number))
                for number in numbers
            ]
            total += sample(network, condition, self.config, generators).clamp(-1, 1)
        mean = (total / self.config.samples + 1) / 2
        return np.asarray(mean[:, 0].cpu().numpy(), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the weights that sampling uses (safetensors) and the settings (JSON).

        Raises:
            MethodError: the method was not fitted.
        """
        save_weights(self._fitted(), folder / "model.safetensors")
        values = {"settings": self.config.model_dump(), "plane": self._plane}
        write_json(folder / "model.json", values)

    @classmethod
    def load(cls, folder: Path, config: DiffusionSettings | None = None) -> Self:  # type: ignore[override]
        """Read what `save` wrote. `config` may sample in another way, but not change the network.

        Raises:
            MethodError: files are missing or damaged, or `config` describes another network.
        """
        with saved_values(folder / "model.json", "dm") as values:
            saved = DiffusionSettings.model_validate(values["settings"])
            rows, columns = values["plane"]
        if config is not None and config.network_key != saved.network_key:
            raise MethodError(f"{folder}: saved with other settings of network or noising process")
        method = cls(config or saved)
        network = Denoiser(method.config)
        load_weights(network, folder / "model.safetensors")
        method._network = frozen(network)
        method._plane = (int(rows), int(columns))
        return method

    def parameter_counts(self) -> Mapping[str, int]:
        """Number of trainable parameters of the network that the settings describe."""
        with torch.device("meta"):
            return {"network": parameter_count(Denoiser(self.config))}

    def _fitted(self) -> Denoiser:
        return fitted(self._network, "dm")


def _slices(pairs: Sequence[Pair], config: DiffusionSettings) -> TrainingSlices:
    return training_slices(
        pairs,
        axis=config.axis,
        multiple=config.multiple,
        crop=config.crop == "auto",
        margin=config.margin,
        skip_empty=config.skip_empty_slices,
    )


def _to_network(slices: NDArray[np.float32], device: torch.device) -> Tensor:
    """(batch, rows, columns) in [0, 1] to (batch, 1, rows, columns) in [-1, 1] on `device`."""
    return torch.from_numpy(slices)[:, None].to(device) * 2 - 1


def _learning_rate(config: DiffusionSettings, step: int) -> float:
    """Learning rate of `step`, from 1."""
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    return 0.5 * config.learning_rate * (1 + math.cos(math.pi * (step - 1) / config.iterations))


def _decay(config: DiffusionSettings, step: int) -> float:
    """Decay of the weights' average at `step`, from 1."""
    return (
        min(config.ema_decay, (1 + step) / (10 + step)) if config.ema_warmup else config.ema_decay
    )
