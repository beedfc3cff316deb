"""The noising process, the loss and the samplers against closed forms."""

import math

import pytest
import torch
from diffusion import CPU, PREDICTIONS, SAMPLERS, SHAPE, at, chain_of, normal, picture, whole_chain
from torch.distributions import Normal, kl_divergence

from harmbench.methods.dm.diffusion import Chain, diffusion_loss, variational_bound
from harmbench.methods.dm.sampling import make_scheduler, sampling_timesteps
from harmbench.methods.dm.settings import DiffusionSettings


def test_the_schedule_is_the_linear_one():
    chain = chain_of()
    product = 1.0
    for t in range(1000):
        beta = 1e-4 + (0.02 - 1e-4) * t / 999
        product *= 1 - beta
        if t in (0, 1, 499, 999):
            assert float(chain.beta[t]) == pytest.approx(beta, rel=1e-5)
            assert float(chain.alpha_bar[t]) == pytest.approx(product, rel=1e-5)
    assert float(chain.alpha_bar[-1]) == pytest.approx(4.0e-5, rel=0.02)


@pytest.mark.parametrize("timesteps", [21, 25, 40, 100, 250, 500, 1000, 2000, 4000])
def test_next_to_nothing_of_the_image_is_left_at_t_whatever_t_is(timesteps):
    chain = whole_chain(timesteps=timesteps)
    alpha_bar = chain.alpha_bar
    assert len(chain) == timesteps
    assert 0 < float(alpha_bar[-1]) < 6e-5  # 4e-5 of the variance with 1000, less with fewer
    assert (alpha_bar.diff() < 0).all()
    assert ((chain.beta > 0) & (chain.beta < 1)).all()
    for table in (chain.log_beta, chain.posterior_log_variance, chain.from_image):
        assert torch.isfinite(table).all()
    assert float(chain.beta[0]) == pytest.approx(0.1 / timesteps, rel=1e-4)
    assert float(chain.beta[-1]) == pytest.approx(20 / timesteps, rel=1e-4)


@pytest.mark.parametrize("timesteps", [40, 100, 400, 1000])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_chain_and_sampler_have_one_schedule(sampler, timesteps):
    config = DiffusionSettings(sampler=sampler, timesteps=timesteps, sampling_steps=10)
    scheduler = make_scheduler(config)
    chain = whole_chain(timesteps=timesteps)
    torch.testing.assert_close(
        scheduler.alphas_cumprod.float(), chain.alpha_bar, rtol=1e-3, atol=1e-7
    )
    assert sampling_timesteps(config)[0] == timesteps - 1


def test_the_schedule_of_1000_timesteps_is_unchanged():
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    whole = Chain((1 - beta).cumprod(0))
    for scaled in (True, False):
        chain = whole_chain(scale_betas=scaled)
        for name in ("alpha_bar", "beta", "log_beta", "posterior_log_variance", "from_image"):
            assert torch.equal(getattr(chain, name), getattr(whole, name))
        scheduler = make_scheduler(DiffusionSettings(scale_betas=scaled))
        assert torch.equal(scheduler.betas, torch.linspace(1e-4, 0.02, 1000))


def test_betas_can_be_taken_as_they_are():
    chain = whole_chain(timesteps=100, scale_betas=False)
    beta = torch.linspace(1e-4, 0.02, 100, dtype=torch.float64)
    torch.testing.assert_close(chain.alpha_bar, (1 - beta).cumprod(0).float())
    assert float(chain.alpha_bar[-1]) > 0.3


def test_noising_in_one_go_has_the_moments_of_noising_step_by_step():
    mean, variance = 1.0, 0.0
    for t, beta in enumerate(chain_of().beta.tolist()):
        mean, variance = mean * math.sqrt(1 - beta), variance * (1 - beta) + beta
        if t in (0, 10, 600):
            one = torch.ones(1, 1, 1, 1)
            chain, index = chain_of(), torch.tensor([t])
            drift = chain.add_noise(one, 0 * one, index)
            assert float(drift) == pytest.approx(mean, rel=1e-4)
            spread = chain.add_noise(0 * one, one, index)
            assert float(spread) ** 2 == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize("timesteps", [None, [9, 249, 499, 749, 999]])
@pytest.mark.parametrize("position", [1, 2, 4])
def test_the_posterior_is_that_of_bayes_rule(timesteps, position):
    chain = chain_of(timesteps)
    image, noisy = picture(), normal("noisy")
    before, beta = float(chain.alpha_bar[position - 1]), float(chain.beta[position])
    # q(x_{i-1} | x_i, x_0) is proportional to q(x_i | x_{i-1}) q(x_{i-1} | x_0): two Gaussians.
    variance = 1 / ((1 - beta) / beta + 1 / (1 - before))
    mean = variance * (
        math.sqrt(1 - beta) * noisy / beta + math.sqrt(before) * image / (1 - before)
    )
    torch.testing.assert_close(
        chain.posterior_mean(image, noisy, at(position)), mean, rtol=1e-3, atol=1e-4
    )
    got = float(chain.posterior_log_variance[position])
    assert got == pytest.approx(math.log(variance), rel=1e-3)


def test_a_shorter_chain_is_a_noising_process_of_its_own():
    chosen = [99, 499, 999]
    short, whole = chain_of(chosen), chain_of()
    assert short.timesteps.tolist() == chosen
    torch.testing.assert_close(short.alpha_bar, whole.alpha_bar[chosen])
    torch.testing.assert_close((1 - short.beta).cumprod(0), short.alpha_bar)
    assert (
        Chain.from_settings(DiffusionSettings(), CPU, [999, 99, 499]).timesteps.tolist() == chosen
    )


def test_the_learned_variance_lies_between_its_bounds():
    chain = chain_of()
    for t in (1, 500, 999):
        low = chain.log_variance(-torch.ones(SHAPE), at(t))
        high = chain.log_variance(torch.ones(SHAPE), at(t))
        middle = chain.log_variance(torch.zeros(SHAPE), at(t))
        alpha_bar, before = float(chain.alpha_bar[t]), float(chain.alpha_bar[t - 1])
        beta = 1 - alpha_bar / before
        tilde = beta * (1 - before) / (1 - alpha_bar)
        assert float(low.mean()) == pytest.approx(math.log(tilde), rel=1e-3)
        assert float(high.mean()) == pytest.approx(math.log(beta), rel=1e-3)
        torch.testing.assert_close(middle, (low + high) / 2)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_the_network_should_predict_stands_for_the_image(prediction):
    chain = chain_of()
    image, noise, index = picture(), normal("noise"), torch.tensor([0, 300, 999])
    noisy = chain.add_noise(image, noise, index)
    goal = chain.goal(image, noise, index, prediction)
    back = chain.image(goal, noisy, index, prediction)
    torch.testing.assert_close(back, image, rtol=1e-3, atol=1e-4)


def test_the_velocity_is_the_derivative_along_the_circle():
    chain, image, noise = chain_of(), picture(), normal("noise")
    angle = math.acos(float(chain.signal[400]))
    ahead = math.cos(angle + 1e-3) * image + math.sin(angle + 1e-3) * noise
    behind = math.cos(angle - 1e-3) * image + math.sin(angle - 1e-3) * noise
    velocity = chain.goal(image, noise, at(400), "v")
    torch.testing.assert_close(velocity, (ahead - behind) / 2e-3, rtol=1e-3, atol=1e-3)


def test_the_bound_is_the_divergence_of_two_gaussians():
    chain, t = chain_of(), 321
    image, noisy, mean = picture(), normal("noisy"), normal("mean")
    log_variance = chain.log_variance(normal("position"), at(t))
    terms = variational_bound(
        chain, image=image, noisy=noisy, index=at(t), mean=mean, log_variance=log_variance
    )
    posterior = Normal(
        chain.posterior_mean(image, noisy, at(t)), (chain.posterior_log_variance[t] / 2).exp()
    )
    expected = kl_divergence(posterior, Normal(mean, (log_variance / 2).exp()))
    torch.testing.assert_close(
        terms, expected.mean(dim=(1, 2, 3)) / math.log(2), rtol=1e-4, atol=1e-4
    )


def test_the_bound_of_the_true_posterior_is_zero():
    chain, image, noisy = chain_of(), picture(), normal("noisy")
    index = torch.tensor([1, 500, 999])
    terms = variational_bound(
        chain,
        image=image,
        noisy=noisy,
        index=index,
        mean=chain.posterior_mean(image, noisy, index),
        log_variance=chain.log_variance(-torch.ones(SHAPE), index),
    )
    torch.testing.assert_close(terms, torch.zeros(3), rtol=0, atol=1e-5)


def test_the_first_step_is_scored_by_the_likelihood_of_a_grey_level():
    chain = chain_of()
    image = torch.tensor([-1.0, -0.2, 0.35, 1.0]).reshape(1, 1, 2, 2)
    mean = torch.tensor([-0.99, -0.19, 0.35, 0.98]).reshape(1, 1, 2, 2)
    log_variance = torch.full_like(mean, math.log(0.01**2))
    terms = variational_bound(
        chain,
        image=image,
        noisy=image,
        index=torch.tensor([0]),
        mean=mean,
        log_variance=log_variance,
    )
    expected, half = 0.0, 1 / 255
    for x, m in zip(image.flatten().tolist(), mean.flatten().tolist(), strict=True):
        model = Normal(torch.tensor(m, dtype=torch.float64), 0.01)
        upper = 1.0 if x == 1 else float(model.cdf(torch.tensor(x + half, dtype=torch.float64)))
        lower = 0.0 if x == -1 else float(model.cdf(torch.tensor(x - half, dtype=torch.float64)))
        expected -= math.log2(upper - lower) / 4
    assert float(terms) == pytest.approx(expected, rel=1e-3)


def losses_of(config, chain, index, output, position):
    answer = (output, position)
    return diffusion_loss(chain, config, picture(), normal("noise"), index, answer)


def test_the_loss_is_the_squared_error_plus_the_weighted_bound():
    config = DiffusionSettings()
    chain, index = chain_of(), torch.tensor([0, 40, 990])
    output, position = normal("output").requires_grad_(), normal("position").requires_grad_()
    losses = losses_of(config, chain, index, output, position)
    expected = ((output - normal("noise")) ** 2).mean()
    torch.testing.assert_close(losses["simple"], expected)
    # 0.001 * L_vlb, and L_vlb counts each of the 1000 steps: one step's term counts once.
    torch.testing.assert_close(losses["loss"], losses["simple"] + losses["vlb"])


def test_the_bound_trains_the_variance_alone():
    output, position = normal("output").requires_grad_(), normal("position").requires_grad_()
    losses = losses_of(
        DiffusionSettings(), chain_of(), torch.tensor([0, 40, 990]), output, position
    )
    gradients = torch.autograd.grad(losses["vlb"], (output, position), allow_unused=True)
    assert gradients[0] is None
    assert gradients[1].abs().sum() > 0


def test_without_learned_variance_the_loss_is_the_squared_error():
    losses = losses_of(DiffusionSettings(), chain_of(), at(5), normal("output"), None)
    assert list(losses) == ["loss"]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_weighted_errors_are_the_same_in_every_parametrization(prediction):
    """An error of the image, put into any parametrization, costs min(SNR, gamma) times its square."""
    gamma, chain, index = 5.0, chain_of(), torch.tensor([30, 300, 800])
    image, noise = picture(), normal("noise")
    noisy = chain.add_noise(image, noise, index)
    wrong = image + 0.1 * normal("error")
    noise_of_wrong = (noisy - chain.signal[index][:, None, None, None] * wrong) / chain.noise[
        index
    ][:, None, None, None]
    output = chain.goal(wrong, noise_of_wrong, index, prediction)
    config = DiffusionSettings(prediction=prediction, min_snr_gamma=gamma)
    loss = losses_of(config, chain, index, output, None)["loss"]
    snr = chain.alpha_bar[index] / (1 - chain.alpha_bar[index])
    expected = (snr.clamp(max=gamma) * ((wrong - image) ** 2).mean(dim=(1, 2, 3))).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-5)
