"""pGAN as a method, on one small simulated pair."""

import csv
from typing import Any

import numpy as np
import pytest
import torch

from harmbench.contract import check_method
from harmbench.discovery import make_settings
from harmbench.errors import ConfigError, MethodError
from harmbench.methods.pgan import PGAN, PGANSettings
from harmbench.methods.pgan.train import learning_rate
from harmbench.task import Pair
from harmbench.volume import Volume

SMALL = {
    "channels": 8,
    "blocks": 2,
    "dropout": 0.0,
    "discriminator_channels": 4,
    "discriminator_layers": 2,
    "perceptual": "off",
    "learning_rate": 3e-3,
    "epochs": 40,
    "decay_epochs": 40,
    "batch_size": 4,
    "crop": "auto",
}
# 12 slices of the pair below have brain: 3 steps per epoch.
TINY = SMALL | {
    "channels": 4,
    "blocks": 1,
    "dropout": 0.5,
    "perceptual": "random",
    "epochs": 1,
    "decay_epochs": 1,
    "log_every": 2,
}
METHOD = PGAN
SHAPE = (16, 20, 22)


def with_settings(method, **changes):
    method.config = method.config.model_copy(update=changes)
    return method


def test_it_learns_to_invert_a_contrast(make_pair, task, mse):
    pair = make_pair()
    method = PGAN(PGANSettings(**SMALL))
    method.fit([pair], task())
    result = method.harmonize(pair.source, task())
    assert mse(result, pair.target) < 0.1 * mse(pair.source, pair.target)
    brain = pair.source.data > 0
    assert np.corrcoef(result.data[brain], pair.target.data[brain])[0, 1] > 0.8  # source: -1


@pytest.mark.parametrize("changes", [{}, {"faithful": True, "perceptual": "off"}])
def test_it_keeps_the_contract(changes):
    assert [check for check in check_method(PGAN, changes) if not check.passed] == []


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"faithful": True}])
def test_the_output_keeps_grid_and_range(changes, make_pair, fitted, task):
    pair = make_pair(shift=(3, -7, 11))
    method = fitted(**changes)
    before = pair.source.key
    result = method.harmonize(pair.source, task())
    assert result.shape == pair.source.shape
    np.testing.assert_array_equal(result.affine, pair.source.affine)
    assert result.data.dtype == np.float32
    assert result.data.min() >= 0
    assert result.data.max() <= 1
    assert pair.source.key == before
    assert (result.data[pair.source.data == 0] == 0).all()
    step = result.history[-1]
    assert step.name == "pgan"
    assert step.parameters["perceptual"] == "random"
    assert step.parameters["dropout"] is changes.get("faithful", False)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_intensities_are_not_rounded_to_8_bits(precision, make_pair, fitted, task):
    source = make_pair().source
    method = fitted(precision=precision)
    values = method.harmonize(source, task()).data[source.data > 0]
    assert np.abs(values * 255 - (values * 255).round()).mean() > 0.1
    # bf16 has 8 bits: it would leave a few hundred values and a comb in the histogram.
    assert len(np.unique(values)) > 0.9 * len(values) > 500


def test_slices_are_padded_to_256_x_256_and_cropped_back(monkeypatch, make_pair, task):
    seen = []
    forward = torch.nn.Conv2d.forward

    def watched(convolution, x):
        seen.append(tuple(x.shape[1:]))
        return forward(convolution, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    source = make_pair(shape=(3, 20, 22)).source
    method = PGAN(PGANSettings(**(TINY | {"crop": "none", "batch_size": 1, "plane": 256})))
    pair = Pair("a", "HC", source, source)
    method.fit([pair], task())
    assert {shape for shape in seen if shape[0] == 1} == {(1, 256, 256)}  # source to generator
    assert (2, 256, 256) in seen  # source and image to discriminator
    assert method.harmonize(source, task()).shape == (3, 20, 22)


def test_where_the_brain_lies_in_the_volume_does_not_matter(make_pair, fitted, task):
    source = make_pair().source
    moved = Volume(np.pad(source.data, ((0, 0), (5, 0), (0, 9))), source.affine)
    method = fitted()
    here = method.harmonize(source, task()).data
    there = method.harmonize(moved, task()).data
    np.testing.assert_allclose(there[:, 5:, :-9], here, atol=1e-5)


def test_brains_larger_than_those_of_training_are_harmonized_whole(make_pair, fitted, task):
    source = make_pair(shape=(10, 40, 50)).source
    result = fitted().harmonize(source, task())
    brain = source.data > 0
    assert (result.data[brain] > 0).mean() > 0.9
    assert (result.data[~brain] == 0).all()


@pytest.mark.parametrize(
    "changes",
    [{"crop": "none", "plane": 30}, {"skip_empty_slices": False}, {"axis": 2}],
)
def test_slices_can_be_cut_in_other_ways(changes, make_pair, fitted, task):
    source = make_pair(shape=(9, 13, 11)).source
    result = fitted(**changes).harmonize(source, task())
    assert result.shape == source.shape
    assert (result.data[source.data == 0] == 0).all()


@pytest.mark.parametrize("faithful", [False, True])
def test_the_batch_size_does_not_change_the_result(faithful, make_pair, fitted, task):
    source = make_pair().source
    method = fitted(faithful=faithful)
    one = method.harmonize(source, task())
    other = with_settings(method, sampling_batch=1).harmonize(source, task())
    np.testing.assert_allclose(one.data, other.data, atol=1e-5)


def test_dropout_is_off_after_training(make_pair, fitted, task, mse):
    """The released code leaves it on; only `faithful` does so too, with a seed."""
    source = make_pair().source
    method = fitted()
    one = method.harmonize(source, task(seed=1))
    np.testing.assert_array_equal(one.data, method.harmonize(source, task(seed=2)).data)
    with_settings(method, faithful=True)
    one = method.harmonize(source, task(seed=1))
    torch.manual_seed(99)
    np.testing.assert_array_equal(one.data, method.harmonize(source, task(seed=1)).data)
    assert mse(one, method.harmonize(source, task(seed=2))) > 1e-6
    assert one.history[-1].parameters["seed"] == 1


def test_dropout_is_on_in_training(tmp_path, fitted, weights):
    dropped, whole = fitted(dropout=0.5), fitted(dropout=0.0)
    assert weights(dropped, tmp_path / "a") != weights(whole, tmp_path / "b")


def test_the_learning_rate_falls_to_zero_after_the_last_epoch():
    config = PGANSettings()
    rates = [learning_rate(config, epoch) for epoch in range(300)]
    assert rates[:150] == [2e-4] * 150
    assert rates[150] == pytest.approx(2e-4 * 150 / 151)
    assert rates[225] == pytest.approx(2e-4 * 75 / 151)
    assert rates[299] == pytest.approx(2e-4 / 151)
    assert all(rate > 0 for rate in rates)


def test_the_released_schedule_falls_an_epoch_early_and_wastes_the_last():
    config = PGANSettings(faithful=True)
    rates = [learning_rate(config, epoch) for epoch in range(300)]
    assert rates[:149] == [2e-4] * 149
    assert rates[149] == pytest.approx(2e-4 * 150 / 151)
    assert rates[299] == pytest.approx(0, abs=1e-12)


def test_training_follows_the_schedule(monkeypatch, fitted):
    rates = []
    step = torch.optim.Adam.step

    def watched(optimizer, *args, **kwargs):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    fitted(epochs=1, decay_epochs=3, batch_size=5, learning_rate=0.004)
    # 12 slices in 4 epochs and batches of 5: 10 steps, which begin in epochs 0, 0, 0, 1, 1, 2, ...
    begun = [(5 * step) // 12 for step in range(10)]
    expected = [{0: 0.004, 1: 0.003, 2: 0.002, 3: 0.001}[epoch] for epoch in begun]
    assert rates[0::2] == rates[1::2] == pytest.approx(expected)


def test_the_discriminator_learns_first_and_the_generator_from_its_answer(monkeypatch, fitted):
    stepped: list[Any] = []
    widths: dict[Any, Any] = {}
    step = torch.optim.Adam.step

    def watched(optimizer, *args, **kwargs):
        parameters = optimizer.param_groups[0]["params"]
        stepped.append(widths.setdefault(len(parameters), parameters[0].shape[1]))
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    fitted(epochs=1, decay_epochs=0)
    assert stepped == [2, 1] * 3  # input channels: source and image; source


def test_every_loss_is_in_the_curve(tmp_path, fitted):
    fitted(tmp_path)
    with (tmp_path / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    for row in rows:
        values = {name: float(value) for name, value in row.items()}
        total = values["adversarial"] + 100 * (values["l1"] + values["perceptual"])
        assert values["generator"] == pytest.approx(total, rel=1e-5)
        assert values["discriminator"] == pytest.approx(
            (values["real"] + values["made"]) / 2, rel=1e-5
        )
    fitted(tmp_path / "off", perceptual="off")
    assert "perceptual" not in (tmp_path / "off" / "loss.csv").read_text()


@pytest.mark.parametrize("changes", [{}, {"faithful": True, "precision": "bf16"}])
def test_an_interrupted_training_ends_in_the_same_place(tmp_path, changes, fitted, weights, kill):
    whole = fitted(tmp_path / "whole", **changes)

    changes = changes | {"checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "parts", progress=kill("train pgan", 4), **changes)
    seen = []
    again = fitted(tmp_path / "parts", progress=lambda *a, **_: seen.append(a), **changes)

    assert seen == [("train pgan", 6, 6)]
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")
    # Both networks and both optimizers, not only what is used in the end.
    states = [
        (tmp_path / part / "checkpoint.safetensors").read_bytes() for part in ("parts", "whole")
    ]
    assert states[0] == states[1]
    curves = [(tmp_path / part / "loss.csv").read_text() for part in ("parts", "whole")]
    assert curves[0] == curves[1]


def test_where_the_weights_lie_has_no_influence_on_the_training():
    config = PGANSettings(**TINY)
    moved = {"vgg_weights": "elsewhere/vgg16-397923af.pth", "sampling_batch": 3, "log_every": 1}
    assert config.model_copy(update=moved).training_key == config.training_key
    assert config.model_copy(update={"perceptual": "off"}).training_key != config.training_key


def test_training_depends_on_the_seed_alone(tmp_path, fitted, weights):
    one = weights(fitted(seed=1), tmp_path / "a")
    torch.manual_seed(99)
    assert weights(fitted(seed=1), tmp_path / "b") == one
    assert weights(fitted(seed=2), tmp_path / "c") != one


def test_a_saved_method_is_one_network(tmp_path, make_pair, fitted, task):
    fitted().save(tmp_path)
    other = PGAN.load(tmp_path, PGANSettings(**(TINY | {"faithful": True, "sampling_batch": 2})))
    assert other.harmonize(make_pair().source, task()).history[-1].parameters["dropout"]
    with pytest.raises(MethodError, match="other settings"):
        PGAN.load(tmp_path, PGANSettings(**(TINY | {"blocks": 3})))
    with pytest.raises(MethodError, match=r"model\.json: no such file"):
        PGAN.load(tmp_path / "nowhere")
    for text in ("", "{}", '{"settings": {"channels": "many"}, "plane": [8, 8], "features": ""}'):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(MethodError, match="not the settings of a saved pgan"):
            PGAN.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0, "decay_epochs": 0}, r"epochs \+ decay_epochs must be at least 1"),
        ({"l1_weight": 0, "adversarial_weight": 0, "perceptual": "off"}, "at least one loss"),
        ({"perceptual": "vgg19"}, "vgg16"),
        ({"dropout": 1.0}, "less than 1"),
        ({"epoch": 5}, "did you mean 'epochs'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        make_settings(PGAN, values, "pgan")


def test_the_defaults_are_those_of_the_paper_s_comparison():
    config = PGANSettings()
    assert (config.epochs, config.decay_epochs, config.batch_size) == (150, 150, 4)
    assert (config.l1_weight, config.perceptual_weight, config.adversarial_weight) == (100, 100, 1)
    assert (config.learning_rate, config.beta1, config.beta2) == (2e-4, 0.5, 0.999)
    assert (config.perceptual, config.dropout, config.faithful) == ("vgg16", 0.5, False)
    assert (config.axis, config.crop, config.at_least) == (0, "none", (256, 256))


def test_a_bare_off_in_yaml_is_off() -> None:
    assert PGANSettings.model_validate({"perceptual": False}).perceptual == "off"
