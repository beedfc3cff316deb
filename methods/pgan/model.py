"""pGAN (Dar et al. 2019) as a method: fit, harmonize, save, load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self

from harmbench.errors import MethodError
from harmbench.method import Method, Pair, Task
from harmbench.methods.pgan.losses import discriminator_loss, generator_loss
from harmbench.methods.pgan.networks import Discriminator, Generator
from harmbench.methods.pgan.perceptual import Features, load_features
from harmbench.methods.pgan.settings import PGANSettings
from harmbench.slices import TrainingSlices, foreground, map_slices, round_up, training_slices
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
)
from harmbench.volume import Step, Volume

__all__ = ["PGAN", "learning_rate"]

_SHOWN = ("generator", "discriminator", "l1")  # losses told as progress; the curve has them all
_ADVICE = "try a lower learning_rate, or precision float32"


class PGAN(Method):
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
    quick_settings: ClassVar[Mapping[str, Any]] = {
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

    config: PGANSettings

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
        device = resolve_device(task.device)
        features = load_features(self.config)
        if features is not None:
            place(features, device)
        slices = _slices(pairs, self.config)
        self._network = frozen(self._train(slices, features, task, device))
        self._plane = slices.plane
        self._features = _key(features)

    def _train(
        self, slices: TrainingSlices, features: Features | None, task: Task, device: torch.device
    ) -> Generator:
        config = self.config
        order = batch_order(len(slices), config.batch_size, task.seed)
        epochs = config.epochs + config.decay_epochs
        steps = round_up(epochs * len(slices), config.batch_size) // config.batch_size

        with seeded(task.seed, "weights"):
            generator = place(Generator(config), device)
            discriminator = place(Discriminator(config), device)
        to_make, to_judge = _adam(generator, config), _adam(discriminator, config)
        state = (
            {"generator": generator, "discriminator": discriminator},
            {"generator": to_make, "discriminator": to_judge},
        )
        checkpoints = Checkpoints(
            None if task.folder is None else task.folder / "checkpoint.safetensors",
            key_of(config.training_key, _key(features), slices.key, task.seed),
            config.checkpoint_minutes,
            config.checkpoint_every,
        )
        done = checkpoints.restore(*state)
        log = LossLog(None if task.folder is None else task.folder / "loss.csv", done, _ADVICE)

        for step in range(done + 1, steps + 1):
            chosen = order(step - 1)
            source = _to_network(slices.source[chosen], device)
            target = _to_network(slices.target[chosen], device)
            dropout = random_generator(device, task.seed, "dropout", step)
            rate = learning_rate(config, (step - 1) * config.batch_size // len(slices))

            # As in the released code: slices are made once; the discriminator learns from them, and
            # then judges the same slices for the generator.
            with autocast(device, config.precision):
                made = generator(source, [dropout])
                on_real = discriminator(source, target)
                on_made = discriminator(source, made.detach())
            judged = discriminator_loss(config, on_real, on_made)
            _learn(to_judge, judged["discriminator"], rate)

            with autocast(device, config.precision):
                on_made = discriminator(source, made)
                losses = generator_loss(config, on_made, made, target, features)
            _learn(to_make, losses["generator"], rate)

            log.add(step, **losses, **judged)
            keep = step == steps or checkpoints.due(step)
            if keep or step % config.log_every == 0:
                means = log.flush()  # stops here if a loss isn't finite, before it is kept
                if keep:
                    checkpoints.save(step, *state)
                task.progress("train pgan", step, steps, **{name: means[name] for name in _SHOWN})

        return generator

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Map every slice of `source` to the target contrast and stack them.

        Voxels outside the source's brain are 0. The result is the same every time; with `faithful`
        dropout stays on, and depends on the seed, the volume and the slice.

        Raises:
            MethodError: the method was not fitted, or the device is not there.
        """
        config = self.config
        device = resolve_device(task.device)
        network = place(self._fitted(), device)
        brain = foreground(source.data)
        crop = config.crop == "auto"

        def make(slices: NDArray[np.float32], numbers: NDArray[np.intp]) -> NDArray[np.float32]:
            dropout = [
                random_generator(device, task.seed, source.key, int(number))
                for number in (numbers if config.faithful else ())
            ]
            with autocast(device, config.precision):
                made = network(_to_network(slices, device), dropout)
            return np.asarray(((made[:, 0] + 1) / 2).cpu().numpy())

        result = map_slices(
            make,
            source.data,
            brain,
            axis=config.axis,
            multiple=config.multiple,
            crop=crop,
            skip_empty=config.skip_empty_slices,
            at_least=self._plane if crop else config.at_least,
            batch_size=config.sampling_batch,
            progress=partial(task.progress, "harmonize pgan"),
        )
        data = np.where(brain, result, np.float32(0))
        parameters: dict[str, Any] = {
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
        save_weights(self._fitted(), folder / "model.safetensors")
        values = {
            "settings": self.config.model_dump(),
            "plane": self._plane,
            "features": self._features,
        }
        write_json(folder / "model.json", values)

    @classmethod
    def load(cls, folder: Path, config: PGANSettings | None = None) -> Self:  # type: ignore[override]
        """Read what `save` wrote. `config` may cut slices in another way, but not change the network.

        Raises:
            MethodError: files are missing or damaged, or `config` describes another network.
        """
        with saved_values(folder / "model.json", "pgan") as values:
            saved = PGANSettings.model_validate(values["settings"])
            rows, columns = values["plane"]
            features = str(values["features"])
        if config is not None and config.network_key != saved.network_key:
            raise MethodError(f"{folder}: saved with other settings of the generator")
        method = cls(config or saved)
        network = Generator(method.config)
        load_weights(network, folder / "model.safetensors")
        method._network = frozen(network)
        method._plane = (int(rows), int(columns))
        method._features = features
        return method

    def parameter_counts(self) -> Mapping[str, int]:
        """Number of trainable parameters of both networks that the settings describe."""
        with torch.device("meta"):
            return {
                "generator": parameter_count(Generator(self.config)),
                "discriminator": parameter_count(Discriminator(self.config)),
            }

    def _fitted(self) -> Generator:
        return fitted(self._network, "pgan")


def learning_rate(config: PGANSettings, epoch: int) -> float:
    """Return the learning rate of `epoch`, from 0.

    After `epochs` at the first rate it falls by equal amounts, so that it would be 0 in the epoch
    after the last. The released code begins to fall one epoch early, and its last epoch learns
    nothing: so with `faithful`.
    """
    begun = epoch + 1 - config.epochs + (1 if config.faithful else 0)
    return config.learning_rate * (1 - max(0, begun) / (config.decay_epochs + 1))


def _key(features: Features | None) -> str:
    return "" if features is None else features.key


def _adam(network: nn.Module, config: PGANSettings) -> torch.optim.Adam:
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), config.learning_rate, betas, fused=True)


def _learn(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """Take one step; gradients are computed for the optimizer's own network alone."""
    (group,) = optimizer.param_groups
    group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss, inputs=group["params"])
    optimizer.step()


def _slices(pairs: Sequence[Pair], config: PGANSettings) -> TrainingSlices:
    return training_slices(
        pairs,
        axis=config.axis,
        multiple=config.multiple,
        crop=config.crop == "auto",
        margin=config.margin,
        skip_empty=config.skip_empty_slices,
        at_least=config.at_least,
    )


def _to_network(slices: NDArray[np.float32], device: torch.device) -> Tensor:
    """(batch, rows, columns) in [0, 1] to (batch, 1, rows, columns) in [-1, 1] on `device`."""
    return torch.from_numpy(slices)[:, None].to(device) * 2 - 1
