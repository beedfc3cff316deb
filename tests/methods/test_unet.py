"""The U-Net as a method, and the regression of slices that it shares with DeepHarmony."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from harmbench.contract import check_method
from harmbench.discovery import make_settings
from harmbench.errors import ConfigError, MethodError
from harmbench.methods.unet import UNet, UNetSettings
from harmbench.methods.unet.network import Regressor
from harmbench.volume import Volume

SMALL = {
    "channels": (8, 16),
    "norm_groups": 4,
    "learning_rate": 5e-3,
    "iterations": 150,
    "warmup": 10,
    "batch_size": 4,
    "ema_decay": 0.95,
}
TINY = SMALL | {
    "channels": (4, 4),
    "norm_groups": 2,
    "iterations": 6,
    "warmup": 1,
    "batch_size": 2,
    "log_every": 2,
}
METHOD = UNet


def block(before, width, time):
    """Parameters of a residual block: two norms, two 3x3 convolutions, time, shortcut."""
    norms = 2 * before + 2 * width
    convolutions = 9 * before * width + width + 9 * width * width + width
    shortcut = before * width + width if before != width else 0
    return norms + convolutions + time * width + width + shortcut


def test_the_parameters_are_those_of_the_layers():
    a, b, c, d = 32, 64, 128, 128
    time = 4 * a
    count = a * time + time + time * time + time  # time embedding: two dense layers
    count += 9 * a + a  # first convolution
    # Down: one block per level and, but for the last, a 3x3 convolution of stride 2.
    count += sum(block(*widths, time) for widths in ((a, a), (a, b), (b, c), (c, d)))
    count += sum(9 * width * width + width for width in (a, b, c))
    count += 2 * block(d, d, time)  # middle, without attention
    # Up: two blocks per level over [what comes from below, skip], and a 3x3 convolution.
    count += block(d + d, d, time) + block(d + c, d, time) + 9 * d * d + d
    count += block(d + c, c, time) + block(c + b, c, time) + 9 * c * c + c
    count += block(c + b, b, time) + block(b + a, b, time) + 9 * b * b + b
    count += block(b + a, a, time) + block(a + a, a, time)
    count += 2 * a + 9 * a + 1  # norm and last convolution
    assert UNet().parameter_counts() == {"network": count} == {"network": 4_062_689}


def test_an_untrained_residual_network_leaves_the_source_as_it_is():
    source = torch.rand(2, 1, 16, 24)
    config = UNetSettings(**TINY)
    assert torch.equal(Regressor(config)(source), source)
    direct = Regressor(config.model_copy(update={"output": "image"}))
    assert not torch.allclose(direct(source), source, atol=0.05)


def test_it_holds_the_contract():
    assert [check for check in check_method(UNet) if not check.passed] == []


@pytest.mark.parametrize("changes", [{}, {"output": "image", "pixel_loss": "mse"}])
def test_it_learns_to_invert_a_contrast(tmp_path, changes, make_pair, task, mse):
    pair = make_pair()
    method = UNet(UNetSettings(**(SMALL | changes)))
    method.fit([pair], task(tmp_path))
    result = method.harmonize(pair.source, task())
    assert mse(result, pair.target) < 0.05 * mse(pair.source, pair.target)


def test_the_learning_rate_rises_linearly_and_falls_along_a_cosine():
    config = UNetSettings(learning_rate=0.01, warmup=10, iterations=110)
    method = UNet(config)
    steps = method.training_steps(1234)
    assert steps == 110
    expected = {1: 0.001, 5: 0.005, 10: 0.01, 11: 0.01, 61: 0.005}
    expected[36] = 0.005 * (1 + math.sqrt(0.5))  # a quarter of the way down: cos(pi / 4)
    assert {step: method.learning_rate(step, steps) for step in expected} == pytest.approx(expected)
    assert 0 < method.learning_rate(110, steps) < 1e-5
    constant = UNet(config.model_copy(update={"learning_rate_schedule": "constant"}))
    assert constant.learning_rate(5, steps) == pytest.approx(0.005)
    assert constant.learning_rate(110, steps) == 0.01
    without = UNet(config.model_copy(update={"warmup": 0}))
    assert without.learning_rate(1, steps) == 0.01


def test_the_average_of_the_weights_forgets_its_start():
    method = UNet(UNetSettings(ema_decay=0.5))
    # (1 + n) / (10 + n): 2 / 11, 5 / 14, 9 / 18, then never more than the decay.
    assert [method.decay(step) for step in (1, 4, 8, 100)] == [2 / 11, 5 / 14, 0.5, 0.5]
    assert UNet(UNetSettings(ema_decay=None)).decay(1) is None


def test_the_loss_has_the_parts_that_were_asked_for():
    prediction, target = torch.full((2, 1, 16, 16), 0.75), torch.full((2, 1, 16, 16), 0.25)
    prediction[:, :, :8] = 0.25  # half of the pixels are right
    assert UNet().losses(prediction, target) == {"loss": 0.25, "l1": 0.25}
    squared = UNet(UNetSettings(pixel_loss="mse")).losses(prediction, target)
    assert squared == {"loss": 0.125, "mse": 0.125}
    both = UNet(UNetSettings(ssim_weight=0.5)).losses(prediction, target)
    assert 0 < both["ssim_loss"] < 1
    assert both["loss"].item() == pytest.approx(0.25 + 0.5 * both["ssim_loss"].item())
    same = UNet(UNetSettings(ssim_weight=0.5)).losses(target, target)
    assert same["loss"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{}, {"precision": "bf16"}, {"crop": "none"}, {"skip_empty_slices": False}, {"at_least": 40}],
)
def test_the_output_keeps_the_contract(changes, make_pair, fitted, task):
    pair = make_pair(shape=(9, 13, 22), shift=(3, -7, 11))
    method = fitted(ema_decay=None, **changes)
    before = pair.source.key
    result = method.harmonize(pair.source, task())
    assert result.same_grid(pair.source)
    assert result.data.dtype == np.float32
    assert 0 <= result.data.min() <= result.data.max() <= 1
    assert pair.source.key == before
    assert (result.data[pair.source.data == 0] == 0).all()
    assert len(np.unique(result.data)) > 100
    assert result.history[-1].name == "unet"
    assert result.history[-1].parameters == {"orientations": (0,), "clipped": 0.0}


def test_bf16_does_not_round_the_image(make_pair, fitted, task):
    values = fitted(precision="bf16", output="image").harmonize(make_pair().source, task()).data
    values = values[(values > 0) & (values < 1)]
    # bf16 has 8 bits: it would leave a few hundred values and a comb in the histogram.
    assert len(np.unique(values)) > 0.9 * len(values) > 500


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value), requires_grad=False)

    def forward(self, source):
        return self.value.expand_as(source)


def test_the_result_is_the_median_over_orientations(make_pair, fitted, task):
    pair = make_pair()
    method = fitted(orientations=(2, 0, 1), iterations=2)
    assert set(method.parameter_counts()) == {
        "sagittal network",
        "coronal network",
        "axial network",
    }
    method._networks = {0: Constant(0.1), 1: Constant(0.9), 2: Constant(0.4)}
    result = method.harmonize(pair.source, task())
    brain = pair.source.data > 0
    assert (result.data[brain] == np.float32(0.4)).all()
    assert (result.data[~brain] == 0).all()


def test_values_out_of_range_are_clipped_and_counted(caplog, make_pair, fitted, task):
    pair = make_pair()
    method = fitted()
    method._networks = {0: Constant(1.5)}
    with caplog.at_level("INFO"):
        result = method.harmonize(pair.source, task())
    assert result.data.max() == 1
    assert result.history[-1].parameters["clipped"] == 1.0
    assert "100 % of brain voxels were outside [0, 1]" in caplog.text


def test_the_batch_size_of_prediction_has_no_influence(make_pair, fitted, task):
    source = make_pair().source
    method = fitted()
    sixteen = method.harmonize(source, task())
    method.config = method.config.model_copy(update={"prediction_batch": 1})
    np.testing.assert_allclose(method.harmonize(source, task()).data, sixteen.data, atol=1e-6)


def test_brains_larger_than_those_of_training_are_predicted_whole(make_pair, fitted, task):
    method = fitted()
    source = make_pair(shape=(10, 40, 50)).source
    result = method.harmonize(source, task())
    brain = source.data > 0
    assert (result.data[brain] > 0).mean() > 0.9
    assert (result.data[~brain] == 0).all()


def test_where_the_brain_lies_in_the_volume_does_not_matter(make_pair, fitted, task):
    source = make_pair().source
    moved = Volume(np.pad(source.data, ((0, 0), (5, 0), (0, 9))), source.affine)
    method = fitted()
    here, there = (method.harmonize(volume, task()).data for volume in (source, moved))
    np.testing.assert_allclose(there[:, 5:, :-9], here, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"ema_decay": None, "precision": "bf16"}])
def test_an_interrupted_training_ends_in_the_same_place(tmp_path, changes, fitted, weights, kill):
    changes = changes | {"orientations": (0, 2), "checkpoint_every": 2}
    whole = fitted(tmp_path / "whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "parts", progress=kill("train unet axial", 4), **changes)
    seen = []
    again = fitted(tmp_path / "parts", progress=lambda *a, **_: seen.append(a), **changes)

    assert seen == [("train unet axial", 6, 6)]  # the sagittal network was finished
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")
    for orientation in ("sagittal", "axial"):
        curves = [
            (tmp_path / part / orientation / "loss.csv").read_text() for part in ("parts", "whole")
        ]
        assert curves[0] == curves[1]
        lines = curves[0].splitlines()
        assert lines[0] == "step,loss,l1"
        assert [line.split(",")[0] for line in lines[1:]] == ["2", "4", "6"]


def test_a_seed_gives_one_training(tmp_path, fitted, weights):
    torch.manual_seed(5)
    one = fitted(seed=1)
    torch.manual_seed(6)
    assert weights(one, tmp_path / "a") == weights(fitted(seed=1), tmp_path / "b")
    assert weights(one, tmp_path / "a") != weights(fitted(seed=2), tmp_path / "c")


def test_averaged_weights_are_used_unless_they_are_not_wanted(tmp_path, fitted, weights):
    last = weights(fitted(ema_decay=None), tmp_path / "last")
    assert weights(fitted(), tmp_path / "average") != last
    assert weights(fitted(ema_decay=0.0), tmp_path / "forgetful") == last


def test_several_networks_survive_saving(tmp_path, make_pair, fitted, task):
    method = fitted(orientations=(0, 1))
    method.save(tmp_path)
    source = make_pair().source
    expected = method.harmonize(source, task()).data
    np.testing.assert_array_equal(UNet.load(tmp_path).harmonize(source, task()).data, expected)


def test_a_saved_method_is_one_network(tmp_path, fitted):
    fitted().save(tmp_path)
    other = UNet.load(tmp_path, UNetSettings(**(TINY | {"prediction_batch": 3})))
    assert other.config.prediction_batch == 3
    for changes in ({"channels": (8, 8)}, {"output": "image"}, {"orientations": (1,)}):
        with pytest.raises(MethodError, match=r"other settings of the network \(orientations, ch"):
            UNet.load(tmp_path, UNetSettings(**(TINY | changes)))
    with pytest.raises(MethodError, match=r"model\.json: no such file"):
        UNet.load(tmp_path / "nowhere")
    for text in ("", "[]", "{}", '{"settings": {}, "planes": {}, "learned": {}}'):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(MethodError, match="not the settings of a saved unet"):
            UNet.load(tmp_path)


def test_pairs_are_loaded_once_for_each_orientation(make_pair, task):
    class Lazy(Sequence):
        loaded = 0

        def __len__(self):
            return 2

        def __getitem__(self, index):
            if index >= 2:
                raise IndexError(index)
            self.loaded += 1
            return make_pair(subject=str(index))

    pairs = Lazy()
    UNet(UNetSettings(**(TINY | {"orientations": (0, 1)}))).fit(pairs, task())
    assert pairs.loaded == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": [32, 100]}, r"channels \[100\] must be multiples of norm_groups \(8\)"),
        ({"iterations": 100}, r"warmup \(500\) must be below iterations"),
        ({"orientations": []}, "one to three different axes"),
        ({"orientations": [0, 0]}, "one to three different axes"),
        ({"orientations": [3]}, "less than or equal to 2"),
        ({"ema_decay": 1.0}, "less than 1"),
        ({"pixel_loss": "huber"}, "'l1' or 'mse'"),
        ({"channel": [8, 8]}, "did you mean 'channels'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        make_settings(UNet, values, "unet")


def test_settings_without_influence_need_no_new_training():
    config = UNetSettings()
    free = {"prediction_batch": 3, "checkpoint_minutes": 1.0, "checkpoint_every": 7, "log_every": 9}
    assert config.model_copy(update=free).training_key == config.training_key
    assert config.model_copy(update={"ssim_weight": 0.1}).training_key != config.training_key
