"""DeepHarmony: the published network, its training and what surrounds them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from harmbench.contract import check_method, tiny_pairs
from harmbench.discovery import make_settings
from harmbench.errors import ConfigError, MethodError
from harmbench.methods.deepharmony import DeepHarmony, DeepHarmonySettings
from harmbench.methods.deepharmony.model import _spread_batches
from harmbench.methods.deepharmony.network import DeepHarmonyNetwork
from harmbench.slices import TrainingSlices, training_slices

SMALL = {
    "channels": (8, 16, 16),
    "crop": "auto",
    "at_least": 1,
    "skip_empty_slices": True,
    "batch_size": 4,
    "epochs": 40,
    "learning_rate": 5e-3,
    "recalibrate_batchnorm": True,
}
TINY = SMALL | {"channels": (4, 4), "epochs": 2, "log_every": 2}
METHOD = DeepHarmony


def convolution(before, after, side):
    """Weights and biases of a convolution, transposed or not."""
    return side * side * before * after + after


def test_the_published_network_has_1_831_650_parameters():
    levels = (16, 32, 64, 128)
    count = sum(convolution(*widths, 3) for widths in zip((1, *levels), levels, strict=False))
    count += convolution(128, 256, 3)  # bottleneck
    count += sum(convolution(width, width, 4) for width in levels)  # down, keeping the channels
    count += sum(convolution(2 * width, width, 4) for width in levels)  # up, halving them
    count += sum(convolution(2 * width, width, 3) for width in levels)  # after concatenation
    # Scale and shift of the norm behind each of these: encoder, down, up, decoder; bottleneck.
    count += 2 * (4 * sum(levels) + 256)
    count += convolution(16 + 1, 1, 1)  # features and input image
    assert DeepHarmony().parameter_counts() == {"network": count} == {"network": 1_831_650}


def test_every_level_halves_the_slice_and_the_way_up_doubles_it():
    network = DeepHarmonyNetwork((16, 32, 64, 128, 256)).eval()
    shapes = {}
    for name, module in network.named_modules():
        module.register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])})
        )
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 64, 32)).shape == (1, 1, 64, 32)
    assert [shapes[f"encoders.{i}"] for i in range(4)] == [
        (16, 64, 32),
        (32, 32, 16),
        (64, 16, 8),
        (128, 8, 4),
    ]
    assert [shapes[f"downs.{i}"] for i in range(4)] == [
        (16, 32, 16),
        (32, 16, 8),
        (64, 8, 4),
        (128, 4, 2),
    ]
    assert shapes["bottleneck"] == (256, 4, 2)
    for part in ("ups", "decoders"):
        assert [shapes[f"{part}.{i}"] for i in range(4)] == [
            shapes[f"encoders.{i}"] for i in range(4)
        ]


def test_layers_are_ordered_and_begin_as_in_keras():
    network = DeepHarmonyNetwork((4, 8, 16))
    blocks = [module for module in network.modules() if isinstance(module, nn.Sequential)]
    assert len(blocks) == 4 * 2 + 1
    for convolution_, activation, norm in blocks:
        assert isinstance(convolution_, nn.Conv2d | nn.ConvTranspose2d)
        assert isinstance(activation, nn.ReLU)
        assert isinstance(norm, nn.BatchNorm2d)
        assert (norm.momentum, norm.eps) == (0.01, 1e-3)
        assert not convolution_.bias.any()
        before, after, rows, columns = convolution_.weight.shape
        bound = math.sqrt(6 / ((before + after) * rows * columns))
        largest = convolution_.weight.abs().max().item()
        assert 0.8 * bound < largest <= bound
    optimizer = DeepHarmony().make_optimizer(network)
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["eps"] == 1e-7
    assert optimizer.defaults["lr"] == 1e-4
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_the_last_layer_sees_the_input_and_ends_in_relu():
    network = DeepHarmonyNetwork((4, 8)).eval()
    source = torch.rand(2, 1, 6, 8)
    with torch.no_grad():
        network.output.weight.zero_()
        network.output.weight[0, -1] = 2.5  # the input comes after the features
        assert torch.equal(network(source), 2.5 * source)  # unbounded above
        network.output.weight[0, -1] = -1
        assert not network(source).any()


def test_bf16_does_not_round_the_image():
    network = DeepHarmonyNetwork((4, 8)).eval()
    nn.init.ones_(network.output.weight)
    source = torch.rand(2, 1, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = network(source)
    assert made.dtype == torch.float32
    # bf16 has 8 bits: it would leave a few hundred values and a comb in the histogram.
    assert len(made.unique()) > 1500


def test_the_loss_is_the_mean_absolute_error():
    prediction, target = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 0.5)
    prediction[0] = 0.75  # |0.75 - 0.5| for one slice, |0 - 0.5| for the other
    assert DeepHarmony().losses(prediction, target) == {"loss": 0.375}


@pytest.mark.parametrize(
    ("epochs", "slices", "steps"), [(300, 4800, 180_000), (1, 9, 2), (2, 9, 3), (8, 1, 1)]
)
def test_every_slice_is_seen_in_every_epoch(epochs, slices, steps):
    method = DeepHarmony(DeepHarmonySettings(epochs=epochs))
    assert method.training_steps(slices) == steps
    assert method.learning_rate(1, steps) == method.learning_rate(steps, steps) == 1e-4


def test_the_learning_rate_may_fall_along_a_cosine():
    config = DeepHarmonySettings(learning_rate=0.01, learning_rate_schedule="cosine")
    method = DeepHarmony(config)
    # (1 + cos) / 2 at 0, a third, a half and two thirds of the way: 1, 3 / 4, 1 / 2, 1 / 4.
    rates = [method.learning_rate(step, 60) for step in (1, 21, 31, 41)]
    assert rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025])


@pytest.mark.parametrize("changes", [{}, {"align_wm_peak": False, "orientations": (0, 1, 2)}])
def test_it_holds_the_contract(changes):
    assert [check for check in check_method(DeepHarmony, changes) if not check.passed] == []


def test_it_learns_to_invert_a_contrast(tmp_path, make_pair, fitted, task, mse):
    pair = make_pair()
    result = fitted(tmp_path, **SMALL).harmonize(pair.source, task())
    assert mse(result, pair.target) < 0.1 * mse(pair.source, pair.target)


def test_slices_are_padded_to_256_and_cropped_again(monkeypatch, make_pair, task):
    shapes = set()

    def watched(network, source, original=DeepHarmonyNetwork.forward):
        shapes.add((network.training, *source.shape))
        return original(network, source)

    monkeypatch.setattr(DeepHarmonyNetwork, "forward", watched)
    pair = make_pair(shape=(3, 20, 22))
    method = DeepHarmony(DeepHarmonySettings(channels=(2, 2), epochs=1))
    method.fit([pair], task())
    result = method.harmonize(pair.source, task())
    assert shapes == {(True, 8, 1, 256, 256), (False, 3, 1, 256, 256)}
    assert result.shape == pair.source.shape
    assert (result.data[pair.source.data == 0] == 0).all()


def test_the_unbounded_output_is_clipped_and_counted(caplog, make_pair, fitted, task):
    pair = make_pair()
    method = fitted()
    network = method._networks[0]
    with torch.no_grad():
        network.output.weight.zero_()
        network.output.bias.zero_()
        network.output.weight[0, -1] = 2  # twice the source
    with caplog.at_level("INFO"):
        result = method.harmonize(pair.source, task())
    brain = pair.source.data > 0
    assert result.data.max() == 1
    share = np.mean(pair.source.data[brain] > 0.5)
    assert 0.2 < share < 0.8
    assert result.history[-1].parameters["clipped"] == pytest.approx(share)
    assert f"{100 * share:.3g} % of brain voxels" in caplog.text


def test_recalibration_gives_the_statistics_of_all_training_slices(make_pair, fitted):
    pair = make_pair()
    slices = training_slices([pair], axis=0, multiple=2, margin=2)
    assert len(slices) > TINY["batch_size"]  # more than a training step sees, but one batch here
    method = fitted()
    convolution_, activation, norm = method._networks[0].encoders[0]
    with torch.no_grad():
        features = activation(convolution_(torch.from_numpy(slices.source)[:, None]))
    expected = features.transpose(0, 1).flatten(1)  # (channels, slices x rows x columns)
    torch.testing.assert_close(norm.running_mean, expected.mean(dim=1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(norm.running_var, expected.var(dim=1), rtol=1e-4, atol=1e-6)
    assert norm.momentum == 0.01


def test_batches_of_recalibration_have_slices_from_everywhere():
    stack = np.arange(70, dtype=np.float32).reshape(70, 1, 1)
    batches = [
        batch.flatten().tolist() for batch in _spread_batches(TrainingSlices(stack, stack, ""))
    ]
    assert sorted(number for batch in batches for number in batch) == list(range(70))
    assert [len(batch) for batch in batches] == [24, 23, 23]  # none over 32, all about equal
    assert all(min(batch) < 3 and max(batch) > 66 for batch in batches)


def test_short_trainings_need_recalibrated_statistics(make_pair, fitted, task, mse):
    # After n steps the running statistics still hold 0.99^n of their start, whatever the weights.
    pair = make_pair()
    errors = [
        mse(fitted(epochs=12, recalibrate_batchnorm=r).harmonize(pair.source, task()), pair.target)
        for r in (True, False)
    ]
    assert errors[0] < 0.8 * errors[1]


def test_aligned_sources_may_have_any_scale(fitted, task, mse):
    pairs, (held_out,) = tiny_pairs(2), tiny_pairs(1, seed=9)
    source = held_out.source
    half = source.with_data(source.data / 2)
    aligned = fitted(pairs=pairs, align_wm_peak=True)
    one, other = (aligned.harmonize(volume, task()) for volume in (source, half))
    np.testing.assert_allclose(one.data, other.data, atol=1e-3)
    peaks = [volume.history[-1].parameters["wm_peak"] for volume in (one, other)]
    assert peaks[0] == pytest.approx(2 * peaks[1], rel=1e-3)
    plain = fitted(pairs=pairs)
    assert mse(plain.harmonize(source, task()), plain.harmonize(half, task())) > 1e-3


def test_the_result_lies_at_the_targets_white_matter_peak(fitted, task):
    pairs = tiny_pairs(2)
    method = fitted(pairs=pairs, align_wm_peak=True)
    learned = method.learned["target_wm_peak"]
    network = method._networks[0]
    with torch.no_grad():  # the aligned source itself
        network.output.weight.zero_()
        network.output.bias.zero_()
        network.output.weight[0, -1] = 1
    source = pairs[0].source
    result = method.harmonize(source, task())
    peak = result.history[-1].parameters["wm_peak"]
    expected = np.clip(source.data / peak * learned, 0, 1)
    np.testing.assert_allclose(result.data, expected, atol=1e-6)


def test_the_target_peak_survives_saving(tmp_path, fitted, task):
    pairs = tiny_pairs(2)
    method = fitted(pairs=pairs, align_wm_peak=True)
    method.save(tmp_path)
    loaded = DeepHarmony.load(tmp_path, method.config)
    assert loaded.learned == method.learned
    expected = method.harmonize(pairs[0].source, task()).data
    np.testing.assert_array_equal(loaded.harmonize(pairs[0].source, task()).data, expected)
    with pytest.raises(MethodError, match="other settings of the network"):
        DeepHarmony.load(tmp_path, method.config.model_copy(update={"align_wm_peak": False}))


@pytest.mark.parametrize("recalibrate", [True, False])
def test_an_interrupted_training_ends_in_the_same_place(
    tmp_path, recalibrate, fitted, weights, kill
):
    changes = {"checkpoint_every": 2, "recalibrate_batchnorm": recalibrate}
    whole = fitted(tmp_path / "whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "parts", progress=kill("train deepharmony sagittal", 4), **changes)
    again = fitted(tmp_path / "parts", **changes)
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")
    once_more = fitted(tmp_path / "parts", **changes)  # nothing is left to train
    assert weights(once_more, tmp_path / "c") == weights(whole, tmp_path / "b")
    curves = [(tmp_path / part / "loss.csv").read_text() for part in ("parts", "whole")]
    assert curves[0] == curves[1]
    assert curves[0].startswith("step,loss\n2,")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": [16]}, "at least 2 items"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"align_wm": True}, "did you mean 'align_wm_peak'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        make_settings(DeepHarmony, values, "deepharmony")
