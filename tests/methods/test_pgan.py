"""pGAN as a method, on one small simulated pair."""

import copy
import csv

import numpy as np
import pytest
import torch

from harmbench.contract import check_method
from harmbench.errors import ConfigError, MethodError, TrainingError
from harmbench.method import Direction, Pair, Task, make_settings
from harmbench.methods.pgan import PGAN, PGANSettings
from harmbench.methods.pgan.train import learning_rate
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


@pytest.fixture(autouse=True)
def one_thread():
    """Small convolutions are fastest on one thread, and busy machines don't slow them down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def task(folder=None, seed=0, progress=None):
    extra = {} if progress is None else {"progress": progress}
    return Task(Direction("3T", "1.5T"), folder=folder, seed=seed, **extra)


def make_pair(shape=(16, 20, 22), shift=(0, 0, 0), subject="a"):
    """An ellipsoid with smooth waves in it, and the same with its contrast inverted."""
    x, y, z = np.meshgrid(*(np.linspace(-1.25, 1.25, n) for n in shape), indexing="ij")
    waves = (np.sin(5 * x) + np.cos(6 * y) + np.sin(4 * z + 2 * x)) / 3
    brain = x**2 + y**2 + z**2 < 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = shift
    source = np.where(brain, 0.5 + 0.4 * waves, 0).astype(np.float32)
    target = np.where(brain, 0.5 - 0.4 * waves, 0).astype(np.float32)
    return Pair(subject, "HC", Volume(source, affine), Volume(target, affine))


def fitted(folder=None, seed=0, progress=None, **settings):
    method = PGAN(PGANSettings(**(TINY | settings)))
    method.fit([make_pair()], task(folder, seed, progress))
    return method


def with_settings(method, **changes):
    method.config = method.config.model_copy(update=changes)
    return method


def mse(one, other):
    return float(np.mean((one.data - other.data) ** 2))


def weights(method, folder):
    method.save(folder)
    return (folder / "model.safetensors").read_bytes()


def test_it_learns_to_invert_a_contrast():
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
def test_the_output_keeps_grid_and_range(changes):
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
def test_intensities_are_not_rounded_to_8_bits(precision):
    source = make_pair().source
    method = fitted(precision=precision)
    values = method.harmonize(source, task()).data[source.data > 0]
    assert np.abs(values * 255 - (values * 255).round()).mean() > 0.1
    # bf16 has 8 bits: it would leave a few hundred values and a comb in the histogram.
    assert len(np.unique(values)) > 0.9 * len(values) > 500


def test_slices_are_padded_to_256_x_256_and_cropped_back(monkeypatch):
    seen = []
    forward = torch.nn.Conv2d.forward
    monkeypatch.setattr(
        torch.nn.Conv2d, "forward", lambda m, x: (seen.append(tuple(x.shape[1:])), forward(m, x))[1]
    )
    source = make_pair(shape=(3, 20, 22)).source
    method = PGAN(PGANSettings(**(TINY | {"crop": "none", "batch_size": 1, "plane": 256})))
    pair = Pair("a", "HC", source, source)
    method.fit([pair], task())
    assert {shape for shape in seen if shape[0] == 1} == {(1, 256, 256)}  # source to generator
    assert (2, 256, 256) in seen  # source and image to discriminator
    assert method.harmonize(source, task()).shape == (3, 20, 22)


def test_where_the_brain_lies_in_the_volume_does_not_matter():
    source = make_pair().source
    moved = Volume(np.pad(source.data, ((0, 0), (5, 0), (0, 9))), source.affine)
    method = fitted()
    here = method.harmonize(source, task()).data
    there = method.harmonize(moved, task()).data
    np.testing.assert_allclose(there[:, 5:, :-9], here, atol=1e-5)


def test_brains_larger_than_those_of_training_are_harmonized_whole():
    source = make_pair(shape=(10, 40, 50)).source
    result = fitted().harmonize(source, task())
    brain = source.data > 0
    assert (result.data[brain] > 0).mean() > 0.9
    assert (result.data[~brain] == 0).all()


@pytest.mark.parametrize(
    "changes",
    [{"crop": "none", "plane": 30}, {"skip_empty_slices": False}, {"axis": 2}],
)
def test_slices_can_be_cut_in_other_ways(changes):
    source = make_pair(shape=(9, 13, 11)).source
    result = fitted(**changes).harmonize(source, task())
    assert result.shape == source.shape
    assert (result.data[source.data == 0] == 0).all()


def test_an_empty_volume_stays_empty():
    source = Volume(np.zeros((3, 8, 8), dtype=np.float32), np.eye(4))
    assert not fitted().harmonize(source, task()).data.any()


@pytest.mark.parametrize("faithful", [False, True])
def test_the_batch_size_does_not_change_the_result(faithful):
    source = make_pair().source
    method = fitted(faithful=faithful)
    one = method.harmonize(source, task())
    other = with_settings(method, sampling_batch=1).harmonize(source, task())
    np.testing.assert_allclose(one.data, other.data, atol=1e-5)


def test_dropout_is_off_after_training():
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


def test_dropout_is_on_in_training(tmp_path):
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


def test_training_follows_the_schedule(monkeypatch):
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


def test_the_discriminator_learns_first_and_the_generator_from_its_answer(monkeypatch):
    stepped, widths = [], {}
    step = torch.optim.Adam.step

    def watched(optimizer, *args, **kwargs):
        parameters = optimizer.param_groups[0]["params"]
        stepped.append(widths.setdefault(len(parameters), parameters[0].shape[1]))
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    fitted(epochs=1, decay_epochs=0)
    assert stepped == [2, 1] * 3  # input channels: source and image; source


def test_every_loss_is_in_the_curve(tmp_path):
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


class Kill:
    """A progress reporter that ends the run after some step of training."""

    def __init__(self, step):
        self.step = step

    def __call__(self, stage, done, total, **values):
        if stage == "train pgan" and done >= self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("changes", [{}, {"faithful": True, "precision": "bf16"}])
def test_an_interrupted_training_ends_in_the_same_place(tmp_path, changes):
    whole = fitted(tmp_path / "whole", **changes)

    method = PGAN(PGANSettings(**(TINY | {"checkpoint_every": 2} | changes)))
    with pytest.raises(KeyboardInterrupt):
        method.fit([make_pair()], task(tmp_path / "parts", progress=Kill(4)))
    seen = []
    again = PGAN(method.config)
    again.fit([make_pair()], task(tmp_path / "parts", progress=lambda *a, **_: seen.append(a)))

    assert seen == [("train pgan", 6, 6)]
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")
    # Both networks and both optimizers, not only what is used in the end.
    states = [
        (tmp_path / part / "checkpoint.safetensors").read_bytes() for part in ("parts", "whole")
    ]
    assert states[0] == states[1]
    curves = [(tmp_path / part / "loss.csv").read_text() for part in ("parts", "whole")]
    assert curves[0] == curves[1]


@pytest.mark.parametrize("change", ["seed", "data", "settings"])
def test_a_checkpoint_of_another_training_is_not_used(tmp_path, change):
    fitted(tmp_path)
    pair = make_pair(shape=(9, 18, 20)) if change == "data" else make_pair()
    config = PGANSettings(**(TINY | ({"l1_weight": 10} if change == "settings" else {})))
    seed = 1 if change == "seed" else 0
    resumed, fresh = PGAN(config), PGAN(config)
    resumed.fit([pair], task(tmp_path, seed))
    fresh.fit([pair], task(None, seed))
    assert weights(resumed, tmp_path / "a") == weights(fresh, tmp_path / "b")


def test_where_the_weights_lie_has_no_influence_on_the_training():
    config = PGANSettings(**TINY)
    moved = {"vgg_weights": "elsewhere/vgg16-397923af.pth", "sampling_batch": 3, "log_every": 1}
    assert config.model_copy(update=moved).training_key == config.training_key
    assert config.model_copy(update={"perceptual": "off"}).training_key != config.training_key


def test_training_depends_on_the_seed_alone(tmp_path):
    one = weights(fitted(seed=1), tmp_path / "a")
    torch.manual_seed(99)
    assert weights(fitted(seed=1), tmp_path / "b") == one
    assert weights(fitted(seed=2), tmp_path / "c") != one


def test_a_method_survives_saving(tmp_path):
    source = make_pair().source
    method = fitted()
    method.save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"model.json", "model.safetensors"}
    before = method.harmonize(source, task())
    loaded = PGAN.load(tmp_path)
    assert loaded.config == method.config
    after = loaded.harmonize(source, task())
    np.testing.assert_array_equal(after.data, before.data)
    assert after.history == before.history


def test_a_saved_method_is_one_network(tmp_path):
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


def test_a_method_that_was_not_fitted_says_so(tmp_path):
    method = PGAN()
    with pytest.raises(MethodError, match="not fitted"):
        method.harmonize(make_pair().source, task())
    with pytest.raises(MethodError, match="not fitted"):
        method.save(tmp_path)


def test_a_loss_that_is_not_finite_stops_training_and_leaves_no_checkpoint(tmp_path):
    pair = make_pair()
    source = copy.deepcopy(pair.source.data)
    source[6] = np.nan
    bad = Pair("a", "HC", Volume(source, pair.source.affine), pair.target)
    method = PGAN(PGANSettings(**(TINY | {"batch_size": 12})))
    with pytest.raises(TrainingError, match=r"not finite at step \d; try a lower learning_rate"):
        method.fit([bad], task(tmp_path))
    assert not (tmp_path / "checkpoint.safetensors").exists()


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


def test_every_setting_is_described():
    assert all(field.description for field in PGANSettings.model_fields.values())


def test_a_bare_off_in_yaml_is_off() -> None:
    assert PGANSettings.model_validate({"perceptual": False}).perceptual == "off"
