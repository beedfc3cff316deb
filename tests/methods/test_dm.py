"""The diffusion model as a method, on one small simulated pair."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from harmbench.discovery import load_method, make_settings, saved_settings
from harmbench.errors import ConfigError, MethodError
from harmbench.methods.dm import DiffusionModel, DiffusionSettings, model
from harmbench.training import random_generator
from harmbench.volume import Volume

SMALL = {
    "channels": 12,
    "norm_groups": 4,
    "levels": 2,
    "blocks_per_level": 1,
    "prediction": "sample",
    "learning_rate": 4e-3,
    "learning_rate_schedule": "cosine",
    "iterations": 200,
    "ema_decay": 0.95,
    "ema_warmup": True,
    "sampler": "ddim",
    "sampling_steps": 4,
}
TINY = SMALL | {"channels": 4, "norm_groups": 2, "iterations": 6, "log_every": 2, "batch_size": 2}
METHOD = DiffusionModel


def test_the_paper_s_network_has_11_402_370_parameters():
    assert DiffusionModel().parameter_counts() == {"network": 11_402_370}


def test_it_is_found_by_name():
    assert load_method("dm").__name__ == "DiffusionModel"


def test_it_learns_to_invert_a_contrast(tmp_path, make_pair, task, mse):
    pair = make_pair()
    method = DiffusionModel(DiffusionSettings(**SMALL))
    method.fit([pair], task(tmp_path))
    result = method.harmonize(pair.source, task())
    assert mse(result, pair.target) < 0.1 * mse(pair.source, pair.target)
    brain = pair.source.data > 0
    assert np.corrcoef(result.data[brain], pair.target.data[brain])[0, 1] > 0.8  # source: -1


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"learned_variance": False}])
def test_the_output_keeps_the_contract(changes, make_pair, fitted, task):
    pair = make_pair(shift=(3, -7, 11))
    method = fitted(sampler="ddpm", **changes)
    before = pair.source.key
    result = method.harmonize(pair.source, task())
    assert result.shape == pair.source.shape
    np.testing.assert_array_equal(result.affine, pair.source.affine)
    assert result.data.dtype == np.float32
    assert np.isfinite(result.data).all()
    assert result.data.min() >= 0
    assert result.data.max() <= 1
    assert pair.source.key == before
    assert (result.data[pair.source.data == 0] == 0).all()
    assert len(np.unique(result.data[pair.source.data > 0])) > 100
    step = result.history[-1]
    assert step.name == "dm"
    assert step.parameters["sampler"] == "ddpm"
    assert step.parameters["steps"] == 4
    assert step.parameters["seed"] == 0


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmsolver++", "unipc"])
def test_the_batch_size_does_not_change_the_samples(sampler, make_pair, fitted, task):
    source = make_pair().source
    method = fitted(sampler=sampler)
    one = method.harmonize(source, task())
    method.config = method.config.model_copy(update={"sampling_batch": 1})
    eight = method.harmonize(source, task())
    np.testing.assert_allclose(one.data, eight.data, atol=1e-4)


def test_samples_depend_on_the_seed_alone(make_pair, fitted, task, mse):
    source = make_pair().source
    method = fitted(sampler="ddpm")
    one = method.harmonize(source, task(seed=1))
    torch.manual_seed(99)
    np.testing.assert_array_equal(one.data, method.harmonize(source, task(seed=1)).data)
    assert mse(one, method.harmonize(source, task(seed=2))) > 1e-5


def test_the_mean_of_samples_varies_less(make_pair, fitted, task, mse):
    source = make_pair().source
    method = fitted(sampler="ddpm")

    def spread(samples):
        method.config = method.config.model_copy(update={"n_samples": samples})
        return mse(method.harmonize(source, task(seed=1)), method.harmonize(source, task(seed=2)))

    assert spread(8) < 0.4 * spread(1)


def test_the_deviation_of_samples_is_kept_beside_their_mean(make_pair, fitted, task):
    pair = make_pair(shift=(3, -7, 11))
    source = pair.source
    method = fitted(sampler="ddpm")
    method.config = method.config.model_copy(update={"n_samples": 3})
    kept: dict[str, Volume] = {}
    mean = method.harmonize(source, replace(task(), keep=kept.__setitem__))
    (deviation,) = kept.values()
    assert list(kept) == ["standard-deviation"]
    assert deviation.same_grid(source)
    assert deviation.history[-1].parameters["samples"] == 3

    # The same three samples one by one: a volume's noise depends on the number of the sample.
    def only(number):
        def generator(device, seed, key, repeat, *rest):
            return random_generator(device, seed, key, number, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "random_generator", generator)
            method.config = method.config.model_copy(update={"n_samples": 1})
            return method.harmonize(source, task()).data

    samples = np.stack([only(number) for number in range(3)])
    np.testing.assert_allclose(mean.data, samples.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(deviation.data, samples.std(axis=0, ddof=1), atol=1e-6)
    brain = source.data > 0
    assert (deviation.data[brain] > 0).mean() > 0.9
    assert (deviation.data[~brain] == 0).all()


def test_one_sample_has_no_deviation(make_pair, fitted, task):
    kept: dict[str, Volume] = {}
    fitted().harmonize(make_pair().source, replace(task(), keep=kept.__setitem__))
    assert not kept


def test_bf16_does_not_round_the_image(make_pair, fitted, task):
    source = make_pair().source
    result = fitted(precision="bf16").harmonize(source, task()).data
    inside = result[(source.data > 0) & (result > 0) & (result < 1)]
    # bf16 has 128 numbers between 0.5 and 1, and would leave a comb in the histogram.
    assert len(np.unique(inside)) > 0.9 * len(inside) > 300


def test_brains_larger_than_those_of_training_are_sampled_whole(make_pair, fitted, task):
    method = fitted()
    source = make_pair(shape=(10, 40, 50)).source
    result = method.harmonize(source, task())
    brain = source.data > 0
    assert (result.data[brain] > 0).mean() > 0.9
    assert (result.data[~brain] == 0).all()


def test_where_the_brain_lies_in_the_volume_does_not_matter(monkeypatch, make_pair, fitted, task):
    def same_noise_for_all_volumes(device, seed, volume_key, *rest):
        return random_generator(device, seed, *rest)

    source = make_pair().source
    moved = Volume(np.pad(source.data, ((0, 0), (5, 0), (0, 9))), source.affine)
    method = fitted()
    monkeypatch.setattr(model, "random_generator", same_noise_for_all_volumes)
    here = method.harmonize(source, task()).data
    there = method.harmonize(moved, task()).data
    np.testing.assert_allclose(there[:, 5:, :-9], here, atol=1e-5)


def test_two_volumes_get_different_noise(make_pair, fitted, task, mse):
    source = make_pair().source
    other = source.with_data(source.data * np.float32(0.999))
    method = fitted(sampler="ddpm")
    one, two = method.harmonize(source, task()), method.harmonize(other, task())
    assert mse(one, two) > 1e-5


@pytest.mark.parametrize("changes", [{"crop": "none"}, {"skip_empty_slices": False}, {"axis": 2}])
def test_slices_can_be_cut_in_other_ways(changes, make_pair, fitted, task):
    source = make_pair(shape=(9, 13, 11)).source
    result = fitted(**changes).harmonize(source, task())
    assert result.shape == source.shape
    assert (result.data[source.data == 0] == 0).all()


@pytest.mark.parametrize("changes", [{}, {"learned_variance": False, "precision": "bf16"}])
def test_an_interrupted_training_ends_in_the_same_place(tmp_path, changes, fitted, weights, kill):
    whole = fitted(tmp_path / "whole", **changes)

    changes = changes | {"checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "parts", progress=kill("train dm", 4), **changes)
    seen = []
    again = fitted(tmp_path / "parts", progress=lambda *a, **_: seen.append(a), **changes)

    assert seen == [("train dm", 6, 6)]
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")
    curves = [(tmp_path / part / "loss.csv").read_text() for part in ("parts", "whole")]
    assert curves[0] == curves[1]
    assert [line.split(",")[0] for line in curves[0].splitlines()] == ["step", "2", "4", "6"]


def test_sampling_in_another_way_needs_no_new_training(tmp_path):
    config = DiffusionSettings(**TINY)
    other = config.model_copy(update={"sampler": "unipc", "sampling_batch": 3, "log_every": 1})
    assert other.training_key == config.training_key
    tied = config.model_copy(update={"train_timesteps": "sampling"})
    assert tied.model_copy(update={"sampling_steps": 2}).training_key != tied.training_key


def test_a_saved_method_can_sample_in_another_way_but_is_one_network(
    tmp_path, make_pair, fitted, task
):
    fitted().save(tmp_path)
    config = DiffusionSettings(**(TINY | {"sampler": "dpmsolver++", "sampling_steps": 2}))
    loaded = DiffusionModel.load(tmp_path, config)
    assert loaded.harmonize(make_pair().source, task()).history[-1].parameters["steps"] == 2
    for other in ({"channels": 8}, {"prediction": "v"}):
        with pytest.raises(MethodError, match="other settings"):
            DiffusionModel.load(tmp_path, DiffusionSettings(**(TINY | other)))
    with pytest.raises(MethodError, match=r"model\.json: no such file"):
        DiffusionModel.load(tmp_path / "nowhere")
    for text in ("", "{}", '{"settings": {"channels": "many"}, "plane": [8, 8]}'):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(MethodError, match="not the settings of a saved dm"):
            DiffusionModel.load(tmp_path)


def test_a_model_of_an_earlier_version_keeps_its_schedule(tmp_path, make_pair, fitted, task):
    method = fitted(timesteps=100, scale_betas=False)
    method.save(tmp_path)
    saved = json.loads((tmp_path / "model.json").read_text())
    for name in ("scale_betas", "zero_initialized"):
        del saved["settings"][name]
    (tmp_path / "model.json").write_text(json.dumps(saved))

    source = make_pair().source
    expected = method.harmonize(source, task()).data
    recorded = saved_settings(DiffusionModel, saved["settings"], "dm")
    assert isinstance(recorded, DiffusionSettings)
    for loaded in (DiffusionModel.load(tmp_path), DiffusionModel.load(tmp_path, recorded)):
        assert not loaded.config.scale_betas
        assert not loaded.config.zero_initialized
        np.testing.assert_array_equal(loaded.harmonize(source, task()).data, expected)
    scaled = DiffusionSettings(**saved["settings"])
    with pytest.raises(MethodError, match="noising process"):
        DiffusionModel.load(tmp_path, scaled)


def test_the_same_schedule_in_other_words_is_the_same_process():
    plain = DiffusionSettings(timesteps=100, sampling_steps=9, scale_betas=False, beta_end=0.2)
    scaled = DiffusionSettings(timesteps=100, sampling_steps=9, beta_start=1e-5)
    assert plain.network_key == scaled.network_key


def test_a_network_that_starts_at_zero_learns(make_pair, fitted, task, mse):
    pair = make_pair()
    method = fitted(zero_initialized=True, iterations=60, learning_rate=4e-3)
    assert mse(method.harmonize(pair.source, task()), pair.target) < mse(pair.source, pair.target)


def test_averaged_weights_are_used_unless_they_are_not_wanted(tmp_path, fitted, weights):
    averaged, last = fitted(), fitted(use_ema=False)
    assert weights(averaged, tmp_path / "a") != weights(last, tmp_path / "b")
    # Without memory the average is the last weights.
    forgetful = fitted(ema_decay=0.0)
    assert weights(forgetful, tmp_path / "c") == weights(last, tmp_path / "b")


def test_pictures_leave_training_as_it_is(tmp_path, fitted, weights):
    drawn = fitted(tmp_path / "a", preview_minutes=1e-9)
    plain = fitted(tmp_path / "b", preview_minutes=0)
    assert weights(drawn, tmp_path / "c") == weights(plain, tmp_path / "d")
    assert len(list((tmp_path / "a").glob("preview-*.png"))) == 3
    assert not list((tmp_path / "b").glob("preview-*.png"))


def test_a_compiled_network_gives_the_same(tmp_path, monkeypatch, make_pair, fitted, task):
    source, compiled = make_pair().source, []

    def compile_it(network):
        compiled.append(network)
        return original(network, backend="eager")

    original = torch.compile
    monkeypatch.setattr(torch, "compile", compile_it)
    whole = fitted(compile=True)
    result = whole.harmonize(source, task()).data
    assert len(compiled) == 2  # once to train, once to sample
    np.testing.assert_allclose(result, fitted().harmonize(source, task()).data, atol=1e-4)
    whole.save(tmp_path)
    again = DiffusionModel.load(tmp_path).harmonize(source, task()).data
    np.testing.assert_allclose(again, result, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 100}, "multiple of norm_groups"),
        ({"sampling_steps": 2000}, "at most timesteps"),
        ({"zero_terminal_snr": True}, "needs prediction 'v' or 'sample'"),
        ({"beta_start": 0.5}, "beta_end must not be below"),
        ({"timesteps": 20, "sampling_steps": 5}, "more than 20 timesteps.*or scale_betas: false"),
        ({"timesteps": 10, "sampling_steps": 5}, r"timesteps is 2 and must be below 1"),
        ({"timesteps": 1, "sampling_steps": 1}, "more than 20 timesteps"),
        ({"timesteps": 90, "sampling_steps": 5, "beta_end": 0.1}, "more than 100 timesteps"),
        ({"sampler": "euler"}, "ddpm"),
        ({"ema_decay": 1.0}, "less than 1"),
        ({"iteration": 5}, "did you mean 'iterations'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        make_settings(DiffusionModel, values, "dm")
