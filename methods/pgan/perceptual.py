"""Features for the perceptual loss: the first four convolutions of VGG16, and where they come from.

Only 260,160 of VGG16's parameters are needed, up to the second ReLU after the first pooling
(relu2_2). They are read from torchvision's file or from a smaller one that holds them alone, after
the file's SHA-256 was checked; nothing in a file is executed.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from harmbench.errors import MethodError
from harmbench.methods.pgan.settings import TORCH_HUB, PGANSettings
from harmbench.storage import file_key
from harmbench.training import seeded

__all__ = ["Features", "load_features"]

_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
_FILE = "vgg16-397923af.pth"
_LAYERS = (0, 2, 5, 7)  # of torchvision's `features`; what lies between are ReLUs and a pooling
_NAMED_HASH = re.compile(r"-([0-9a-f]{8,64})\.")  # torch.hub's convention for file names
_SEED = 16  # of the random filters: one network for all runs
_WAYS_OUT = (
    f"Fetch {_URL} (528 MB) and set vgg_weights to its path, or to that of a .safetensors or .pth "
    "file with the weights and biases of features.0, .2, .5 and .7 alone (1 MB) and vgg_sha256 to "
    "its SHA-256; `perceptual: random` and `perceptual: off` need no file, but are not pGAN"
)

# What safetensors and torch raise for damaged files.
_UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
)

_log = logging.getLogger(__name__)


class Features(nn.Module):
    """VGG16 up to relu2_2 (Simonyan & Zisserman 2015): conv-ReLU twice, pooling, conv-ReLU twice.

    Weights don't learn. The layers have torchvision's names, `features.N.weight` and `.bias`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(64, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.ReLU(),
        )
        self.requires_grad_(requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return features of grey slices, which VGG16 gets as three equal channels.

        Args:
            image: in [-1, 1], as the released code gives it (without ImageNet's normalization),
                shape (batch, 1, rows, columns).

        Returns:
            float32, shape (batch, 128, rows // 2, columns // 2).
        """
        return cast(Tensor, self.features(image.expand(-1, 3, -1, -1))).float()

    @property
    def key(self) -> str:
        """SHA-256 of the weights, whichever file they came from."""
        digest = hashlib.sha256()
        for tensor in self.state_dict().values():
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def load_features(config: PGANSettings) -> Features | None:
    """Return the features that `config` asks for; `None` with `perceptual: off`.

    Raises:
        MethodError: the weights are missing, are not those that were asked for, or are damaged;
            says how to get them.
    """
    if config.perceptual == "off":
        return None
    if config.perceptual == "random":
        return _random_features()
    path = _downloaded() if config.vgg_weights == TORCH_HUB else Path(config.vgg_weights)
    path = path.expanduser()
    if not path.is_file():
        raise MethodError(f"vgg_weights: {path}: no such file. {_WAYS_OUT}")
    _check_hash(path, config.vgg_sha256)
    features = Features()
    features.load_state_dict(_checked(_read(path, list(features.state_dict())), features, path))
    return features


def _random_features() -> Features:
    """Filters drawn as in He et al. 2015, so that features neither fade nor grow."""
    with seeded(_SEED, "vgg16"):
        features = Features()
        for layer in _LAYERS:
            convolution = cast(nn.Conv2d, features.features[layer])
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]  # it was made with a bias
    return features


def _downloaded() -> Path:
    """Path of torchvision's file in the cache of torch.hub, fetched where it isn't there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / _FILE
    if path.is_file():
        return path
    _log.info("downloading %s to %s (528 MB)", _URL, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(_URL, str(path), progress=False)
    except (OSError, RuntimeError) as error:
        raise MethodError(
            f"the weights of VGG16 are not in {path.parent}, and cannot be downloaded ({error}). "
            f"{_WAYS_OUT}"
        ) from error
    return path


def _check_hash(path: Path, wanted: str | None) -> None:
    named = _NAMED_HASH.search(path.name)
    if wanted is None and named is not None:
        wanted = named.group(1)
    found = file_key(path)
    if wanted is None:
        raise MethodError(
            f"vgg_weights: the name of {path} says nothing of its SHA-256, which is {found}; set "
            "vgg_sha256 to the one that it should have"
        )
    if not found.startswith(wanted):
        raise MethodError(
            f"vgg_weights: {path} has SHA-256 {found[: max(8, len(wanted))]}..., expected {wanted}; "
            "it is damaged or another file"
        )


def _read(path: Path, names: list[str]) -> Mapping[str, object]:
    """Return those of the file's tensors that are called `names`."""
    try:
        if path.suffix == ".safetensors":
            return _from_safetensors(path, names)
        return _from_torch(path, names)
    except _UNREADABLE as error:
        raise MethodError(f"vgg_weights: {path}: not a readable file of weights") from error


def _from_safetensors(path: Path, names: list[str]) -> Mapping[str, object]:
    with safe_open(path, framework="pt") as file:
        there = set(file.keys())
        return {name: file.get_tensor(name) for name in names if name in there}


def _from_torch(path: Path, names: list[str]) -> Mapping[str, object]:
    values = torch.load(path, map_location="cpu", weights_only=True)
    there = values if isinstance(values, Mapping) else {}
    return {name: there[name] for name in names if name in there}


def _checked(tensors: Mapping[str, object], features: Features, path: Path) -> Mapping[str, Tensor]:
    """Return `tensors` if they have the names and shapes of `features`, and finite values."""
    problems = []
    found: dict[str, Tensor] = {}
    for name, wanted in features.state_dict().items():
        tensor = tensors.get(name)
        if not isinstance(tensor, Tensor):
            problems.append(f"{name} is missing")
        elif tensor.shape != wanted.shape:
            problems.append(f"{name} has shape {tuple(tensor.shape)}, not {tuple(wanted.shape)}")
        elif not torch.isfinite(tensor).all():
            problems.append(f"{name} has values that are not finite")
        else:
            found[name] = tensor
    if problems:
        raise MethodError(f"vgg_weights: {path} is not VGG16: {'; '.join(problems)}")
    return found
