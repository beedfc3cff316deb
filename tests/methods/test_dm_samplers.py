"""Samplers of the diffusion model against an oracle, closed forms and a reference implementation."""

import pytest
import torch
from diffusers import DDIMScheduler
from diffusion import CPU, PREDICTIONS, SAMPLERS, SHAPE, Oracle, at, chain_of, normal, picture

from harmbench.methods.dm.sampling import make_scheduler, sample, sampling_timesteps
from harmbench.methods.dm.settings import DiffusionSettings
from harmbench.training import random_generator


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 12])
def test_every_sampler_finds_the_image_that_an_oracle_knows(steps, sampler, prediction):
    config = DiffusionSettings(sampler=sampler, prediction=prediction, sampling_steps=steps)
    oracle = Oracle(picture(), config)
    generators = [random_generator(CPU, "sampling", number) for number in range(SHAPE[0])]
    found = sample(oracle, torch.zeros(SHAPE), config, generators)
    torch.testing.assert_close(found, oracle.image, rtol=0, atol=2e-3)
    assert oracle.asked == sampling_timesteps(config)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("timesteps", "steps"), [(30, 30), (100, 100), (100, 7), (4000, 9)])
def test_samplers_find_the_image_with_any_number_of_timesteps(
    timesteps, steps, sampler, prediction
):
    config = DiffusionSettings(
        sampler=sampler, prediction=prediction, timesteps=timesteps, sampling_steps=steps
    )
    oracle = Oracle(picture(), config)
    generators = [random_generator(CPU, "sampling", number) for number in range(SHAPE[0])]
    found = sample(oracle, torch.zeros(SHAPE), config, generators)
    torch.testing.assert_close(found, oracle.image, rtol=0, atol=3e-3)
    assert oracle.asked == sampling_timesteps(config)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_starts_from_pure_noise_with_a_rescaled_schedule(sampler):
    config = DiffusionSettings(
        sampler=sampler, prediction="v", sampling_steps=6, zero_terminal_snr=True
    )
    oracle = Oracle(picture(), config)
    assert float(oracle.chain.alpha_bar[-1]) == 0
    generators = [random_generator(CPU, "sampling", number) for number in range(SHAPE[0])]
    found = sample(oracle, torch.zeros(SHAPE), config, generators)
    torch.testing.assert_close(found, oracle.image, rtol=0, atol=2e-3)
    assert oracle.asked[0] == 999


def test_ddim_takes_the_steps_of_the_reference_implementation():
    config = DiffusionSettings(sampler="ddim", sampling_steps=10)
    ours = make_scheduler(config)
    theirs = DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type="sample",
        timestep_spacing="trailing",
        clip_sample=False,
    )
    theirs.set_timesteps(10)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    x = y = normal("start")
    for t in theirs.timesteps.tolist():
        guess = picture() + 0.3 * normal(f"guess {t}")  # a network that changes its mind
        x = ours.step(guess, t, x).prev_sample
        y = theirs.step(guess, t, y).prev_sample
    torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)


def test_the_paper_visits_every_timestep():
    assert sampling_timesteps(DiffusionSettings()) == list(range(999, -1, -1))


def test_few_steps_start_from_pure_noise():
    config = DiffusionSettings(sampler="ddim", sampling_steps=5)
    assert sampling_timesteps(config) == [999, 799, 599, 399, 199]


@pytest.mark.parametrize("t", [1, 250, 999])
@pytest.mark.parametrize("position", [-1.0, 0.3])
def test_ancestral_steps_draw_from_the_posterior(t, position):
    chain, scheduler = chain_of(), make_scheduler(DiffusionSettings())
    image, noisy = picture(), normal("noisy")
    output = torch.cat((image, torch.full(SHAPE, position)), dim=1)
    got = scheduler.step(output, t, noisy, generator=random_generator(CPU, "step")).prev_sample
    noise = torch.randn(SHAPE, generator=random_generator(CPU, "step"))
    spread = (chain.log_variance(torch.full(SHAPE, position), at(t)) / 2).exp()
    expected = chain.posterior_mean(image, noisy, at(t)) + spread * noise
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_a_fixed_variance_is_that_of_the_posterior():
    chain, t = chain_of(), 600
    scheduler = make_scheduler(DiffusionSettings(learned_variance=False))
    image, noisy = picture(), normal("noisy")
    got = scheduler.step(image, t, noisy, generator=random_generator(CPU, "step")).prev_sample
    noise = torch.randn(SHAPE, generator=random_generator(CPU, "step"))
    spread = (chain.posterior_log_variance[t] / 2).exp()
    expected = chain.posterior_mean(image, noisy, at(t)) + spread * noise
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_clipping_keeps_the_image_in_range():
    config = DiffusionSettings(sampler="ddim", sampling_steps=3)
    oracle = Oracle(3 * torch.ones(SHAPE), config)
    generators = [random_generator(CPU, number) for number in range(SHAPE[0])]
    found = sample(oracle, torch.zeros(SHAPE), config, generators)
    assert float(found.max()) == 1
    free = config.model_copy(update={"clip_x0": False})
    found = sample(oracle, torch.zeros(SHAPE), free, generators)
    torch.testing.assert_close(found, oracle.image, rtol=0, atol=0.05)
