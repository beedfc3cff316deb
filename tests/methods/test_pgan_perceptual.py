"""Where VGG16's weights come from; small stand-ins of the right shapes stand for the real file."""

import hashlib
import re
import shutil
import urllib.error
from collections.abc import Sequence

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from harmbench.discovery import make_settings
from harmbench.errors import ConfigError, MethodError
from harmbench.methods.pgan import PGAN, PGANSettings
from harmbench.methods.pgan.perceptual import Features, load_features
from harmbench.task import Direction, Task
from harmbench.training import parameter_count, random_generator

CPU = torch.device("cpu")


def stand_in(**changes):
    """A state dict with the names and shapes of VGG16's first four convolutions, and a fifth."""
    generator = random_generator(CPU, "vgg")
    tensors = {}
    for layer, before, after in (
        (0, 3, 64),
        (2, 64, 64),
        (5, 64, 128),
        (7, 128, 128),
        (10, 128, 8),
    ):
        shape = (after, before, 3, 3)
        tensors[f"features.{layer}.weight"] = torch.randn(shape, generator=generator) / 20
        tensors[f"features.{layer}.bias"] = torch.randn(after, generator=generator) / 10
    return {name: t for name, t in (tensors | changes).items() if t is not None}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def named(path):
    """Rename a file as torch.hub does: the first digits of its hash at the end of the name."""
    new = path.with_name(f"vgg16-{sha256(path)[:8]}{path.suffix}")
    return path.rename(new)


def written(folder, suffix=".pth", **changes):
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(stand_in(**changes), path)
    else:
        torch.save(stand_in(**changes), path)
    return named(path)


def settings(path, **changes):
    return PGANSettings(vgg_weights=str(path), **changes)


def test_it_has_the_parameters_of_vgg16_up_to_its_fourth_convolution():
    features = Features()
    expected = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 64 + 64 + 128 + 128
    assert expected == 260_160
    assert sum(p.numel() for p in features.parameters()) == expected
    assert parameter_count(features) == 0


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_read_from_a_file_of_either_kind(tmp_path, suffix):
    features = load_features(settings(written(tmp_path, suffix)))
    assert features is not None
    tensors = stand_in()
    for name, tensor in features.state_dict().items():
        assert torch.equal(tensor, tensors[name])
    # relu2_2, written out, of the slice as three equal channels and without other scaling
    image = torch.rand(2, 1, 9, 10, generator=random_generator(CPU, "image")) * 2 - 1
    x = torch.cat([image] * 3, dim=1)
    for layer in (0, 2, 5, 7):
        if layer == 5:
            x = functional.max_pool2d(x, 2)
        weight, bias = tensors[f"features.{layer}.weight"], tensors[f"features.{layer}.bias"]
        x = functional.conv2d(x, weight, bias, padding=1).clamp(min=0)
    assert x.shape == (2, 128, 4, 5)
    torch.testing.assert_close(features(image), x, rtol=1e-4, atol=1e-5)


def test_torch_s_older_file_format_is_read(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(stand_in(), path, _use_new_zipfile_serialization=False)
    assert load_features(settings(named(path))) is not None


def test_the_key_is_that_of_the_weights_whatever_the_file(tmp_path):
    one = load_features(settings(written(tmp_path, ".pth")))
    two = load_features(settings(written(tmp_path, ".safetensors")))
    changed = {"features.7.bias": torch.zeros(128)}
    three = load_features(settings(written(tmp_path, **changed)))
    assert one.key == two.key != three.key


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_not_read(tmp_path, suffix):
    path = written(tmp_path, suffix)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(MethodError, match=r"expected \w+; it is damaged or another file"):
        load_features(settings(path))
    with pytest.raises(MethodError, match="not a readable file of weights"):
        load_features(settings(path, vgg_sha256=sha256(path)))


def test_a_file_must_have_the_hash_of_its_name(tmp_path):
    path = written(tmp_path)
    posing = path.with_name("vgg16-397923af.pth")
    shutil.copy(path, posing)
    with pytest.raises(MethodError, match="expected 397923af"):
        load_features(settings(posing))


def test_a_hash_in_the_settings_counts_more_than_the_name(tmp_path):
    path = written(tmp_path)
    good = path.rename(tmp_path / "mine.pth")
    assert load_features(settings(good, vgg_sha256=sha256(good))) is not None
    assert load_features(settings(good, vgg_sha256=sha256(good)[:8])) is not None
    with pytest.raises(MethodError, match="expected 00000000"):
        load_features(settings(good, vgg_sha256="0" * 8))


def test_a_file_without_a_hash_is_not_trusted(tmp_path):
    path = written(tmp_path).rename(tmp_path / "mine.pth")
    with pytest.raises(MethodError, match=f"SHA-256, which is {sha256(path)}; set vgg_sha256"):
        load_features(settings(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features.5.weight": None}, "features.5.weight is missing"),
        (
            {"features.2.bias": torch.zeros(32)},
            r"features.2.bias has shape (32,), not (64,)",
        ),
        ({"features.7.bias": torch.full((128,), torch.nan)}, "features.7.bias has values that are"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, changes, message):
    path = written(tmp_path, **changes)
    with pytest.raises(MethodError, match=re.escape(message)):
        load_features(settings(path))


@pytest.mark.parametrize("content", [[1, 2], {"features.0.weight": "text"}])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(MethodError, match=r"features\.0\.weight is missing"):
        load_features(settings(named(path)))


class Harm:
    """What a file could do if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_file_is_not_executed(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(stand_in() | {"extra": Harm(tmp_path / "harm")}, path)
    with pytest.raises(MethodError, match="not a readable file of weights"):
        load_features(settings(named(path)))
    assert not (tmp_path / "harm").exists()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of torch.hub, and a list of what was asked for; there is no network."""
    asked = []

    def no_network(url, *args, **kwargs):
        asked.append(url)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    return asked


class Never(Sequence):
    """Pairs that must not be looked at."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise AssertionError("training began")


@pytest.mark.parametrize("where", ["torch-hub", "nowhere/vgg16-397923af.pth"])
def test_missing_weights_are_an_error_before_training_that_says_how_to_get_them(hub, where):
    method = PGAN(PGANSettings(vgg_weights=where))
    with pytest.raises(MethodError) as caught:
        method.fit(Never(), Task(Direction("3T", "1.5T")))
    text = str(caught.value)
    assert "https://download.pytorch.org/models/vgg16-397923af.pth" in text
    for setting in ("vgg_weights", "vgg_sha256", "`perceptual: random`", "`perceptual: off`"):
        assert setting in text
    assert len(hub) == (1 if where == "torch-hub" else 0)


def test_weights_are_downloaded_once_and_checked_every_time(hub, tmp_path, monkeypatch):
    def download(url, target, **kwargs):
        hub.append(url)
        torch.save(stand_in(), target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):  # a stand-in has another hash, as a damaged download would
        with pytest.raises(MethodError, match="expected 397923af"):
            load_features(PGANSettings())
    assert hub == ["https://download.pytorch.org/models/vgg16-397923af.pth"]
    digest = sha256(tmp_path / "checkpoints" / "vgg16-397923af.pth")
    assert load_features(PGANSettings(vgg_sha256=digest)) is not None


def test_random_features_are_the_same_everywhere_and_keep_their_scale():
    config = PGANSettings(perceptual="random", vgg_weights="nowhere")
    torch.manual_seed(5)
    features, again = load_features(config), load_features(config)
    assert features is not None
    assert again is not None
    assert features.key == again.key
    image = torch.randn(1, 1, 64, 64, generator=random_generator(CPU, "image"))
    # Each layer keeps the second moment (He et al. 2015); pooling takes the largest of four values.
    assert 0.5 < float((features(image) ** 2).mean()) < 5


def test_no_features_are_loaded_when_they_are_off(hub):
    assert load_features(PGANSettings(perceptual="off")) is None
    assert hub == []


@pytest.mark.parametrize("digest", ["397923AF", "397", "x" * 8])
def test_a_hash_is_at_least_eight_hexadecimal_digits(digest):
    with pytest.raises(ConfigError, match="vgg_sha256"):
        make_settings(PGAN, {"vgg_sha256": digest}, "pgan")
