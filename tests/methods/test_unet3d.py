"""The 3D U-Net: its patches, its network, and that it learns."""

import numpy as np
import pytest
import torch

from harmbench.discovery import make_settings
from harmbench.errors import ConfigError, TrainingError
from harmbench.methods.unet3d import UNet3D, UNet3DSettings
from harmbench.methods.unet3d.network import Regressor3D
from harmbench.methods.unet3d.patches import TrainingPatches, corners, map_patches
from harmbench.task import Pair
from harmbench.volume import Volume

SMALL = {
    "channels": (8, 16),
    "patch": 12,
    "learning_rate": 5e-3,
    "iterations": 120,
    "warmup": 10,
    "batch_size": 4,
    "ema_decay": 0.95,
}
TINY = SMALL | {"channels": (4, 4), "patch": 8, "iterations": 6, "warmup": 1, "log_every": 2}
METHOD = UNet3D


def test_the_parameters_are_those_of_the_layers():
    a, b, c = 32, 64, 128

    def block(width):
        return 2 * (27 * width * width + width)

    count = 27 * a + a + block(a) + block(b) + block(c) + block(b) + block(a) + 27 * a + 1
    count += (8 * a * b + b) + (8 * b * c + c)  # on the way down
    count += (8 * c * b + b) + (8 * b * a + a)  # on the way up
    count += (2 * b * b + b) + (2 * a * a + a)  # where both meet
    assert UNet3D().parameter_counts() == {"network": count} == {"network": 1_614_561}


def test_an_untrained_network_leaves_the_source_as_it_is():
    source = torch.rand(2, 1, 8, 16, 12)
    assert torch.equal(Regressor3D(UNet3DSettings(**TINY))(source), source)


@pytest.mark.parametrize(
    ("extent", "overlap"), [(8, 0.5), (9, 0.5), (12, 0.0), (31, 0.25), (40, 0.75)]
)
def test_patches_cover_a_volume_and_overlap(extent, overlap):
    found = sorted({x for x, _, _ in corners((extent, 8, 8), 8, overlap)})
    assert found[0] == 0
    assert found[-1] == extent - 8
    steps = np.diff(found)
    assert (steps <= 8 * (1 - overlap)).all()
    assert len(found) == 1 or steps.max() - steps.min() <= 1


def _blend(data, function=lambda patches: patches, overlap=0.5):
    return map_patches(
        function,
        data,
        data > 0,
        side=8,
        overlap=overlap,
        batch_size=3,
        progress=lambda *_: None,
    )


def test_patches_that_are_not_changed_blend_to_the_volume():
    random = np.random.default_rng(0)
    for shape in ((20, 17, 11), (3, 8, 30)):
        data = random.random(shape, dtype=np.float32)
        data[: shape[0] // 3] = 0
        for overlap in (0.0, 0.3, 0.75):
            np.testing.assert_allclose(_blend(data, overlap=overlap), data, atol=1e-6)


def test_neighbours_are_blended_smoothly():
    data = np.ones((24, 8, 8), dtype=np.float32)
    numbers = iter(range(100))

    def numbered(patches):
        return np.stack([np.full_like(patch, next(numbers)) for patch in patches])

    line = _blend(data, numbered)[:, 4, 4]
    assert (np.diff(line) >= 0).all()  # patches at 0, 4, 8, ... give 0, 1, 2, ...
    assert line[0] == 0
    assert line[-1] == pytest.approx(4)
    assert np.diff(line).max() < 0.5
    # Halfway between the middles of two patches both count alike.
    assert line[5:7].mean() == pytest.approx(0.5, abs=1e-5)


def test_patches_without_brain_are_left_out():
    data = np.zeros((40, 8, 8), dtype=np.float32)
    data[0], data[39] = 0.5, 0.5
    seen = []

    def watched(patches):
        seen.extend(patches)
        return patches

    _blend(data, watched)
    assert len(seen) == 2


def test_training_patches_come_from_everywhere_in_the_brain(make_pair):
    pair = make_pair(shape=(30, 24, 20))
    patches = TrainingPatches([pair], 8)
    generator = torch.Generator().manual_seed(0)
    source, target = patches.draw(200, generator)
    assert source.shape == target.shape == (200, 1, 8, 8, 8)
    inside = source > 0
    torch.testing.assert_close(target[inside], 1 - source[inside])  # each with its own target
    assert inside.any(dim=(1, 2, 3, 4)).float().mean() > 0.9
    again, _ = patches.draw(200, torch.Generator().manual_seed(0))
    assert torch.equal(again, source)
    examples, targets = patches.examples(3)
    assert examples.shape == targets.shape == (3, 8, 8, 8)


def test_there_has_to_be_something_to_learn_from(make_pair):
    with pytest.raises(TrainingError, match="no training subject"):
        TrainingPatches([], 8)
    empty = Volume(np.zeros((9, 9, 9), dtype=np.float32), np.eye(4))
    with pytest.raises(TrainingError, match="a: no voxel is above 0"):
        TrainingPatches([Pair("a", "HC", empty, empty)], 8)


@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_it_learns_to_invert_a_contrast(make_pair, task, mse, loss):
    pair = make_pair()
    method = UNet3D(UNet3DSettings(**SMALL, loss=loss))
    method.fit([pair], task())
    result = method.harmonize(pair.source, task())
    assert mse(result, pair.target) < 0.1 * mse(pair.source, pair.target)
    assert result.history[-1].name == "unet3d"
    assert set(result.history[-1].parameters) == {"overlap", "clipped"}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_output_keeps_the_contract(make_pair, fitted, task, precision):
    pair = make_pair(shape=(9, 13, 22), shift=(3, -7, 11))
    result = fitted(precision=precision).harmonize(pair.source, task())
    assert result.same_grid(pair.source)
    assert 0 <= result.data.min() <= result.data.max() <= 1
    assert (result.data[pair.source.data == 0] == 0).all()
    values = result.data[(result.data > 0) & (result.data < 1)]
    assert len(np.unique(values)) > 0.9 * len(values) > 300


def test_how_many_patches_are_predicted_at_once_has_no_influence(make_pair, fitted, task):
    source, method = make_pair().source, fitted()
    two = method.harmonize(source, task()).data
    method.config = method.config.model_copy(update={"prediction_batch": 7})
    np.testing.assert_allclose(method.harmonize(source, task()).data, two, atol=1e-6)


def test_an_interrupted_training_ends_in_the_same_place(tmp_path, fitted, weights, kill):
    changes = {"checkpoint_every": 2, "preview_minutes": 1e-9}
    whole = fitted(tmp_path / "whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "parts", progress=kill("train unet3d", 4), **changes)
    again = fitted(tmp_path / "parts", **changes)
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")
    curves = [(tmp_path / part / "loss.csv").read_text() for part in ("parts", "whole")]
    assert curves[0] == curves[1]
    assert (tmp_path / "whole" / "preview-0000006.png").is_file()


def test_a_patch_can_be_halved_on_every_level():
    with pytest.raises(ConfigError, match=r"patch \(30\) must be a multiple of 4"):
        make_settings(UNet3D, {"patch": 30}, "unet3d")
