"""The noising process, its exact posterior, and the loss.

Timesteps count from 0 here (the paper's t minus 1): x at step 0 carries the least noise. A `Chain`
may hold every timestep or a few of them; a shorter chain has its own betas, so that it is a noising
process of its own (Nichol & Dhariwal 2021, Sec. 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr
from torch import Tensor
from torch.special import ndtr

from harmbench.methods.dm.settings import DiffusionSettings, Prediction

__all__ = ["Chain", "diffusion_loss", "variational_bound"]

_DECODER_BIN = (
    2 / 255
)  # one grey level of 256 in [-1, 1]; what the first step's likelihood counts as equal
_TINY = 1e-20


class Chain:
    """Tables of a Gaussian noising process over a set of timesteps.

    Args:
        alpha_bar: shape (T,), the share of signal variance left after each timestep, falling.
        timesteps: the timesteps that the chain holds; `None` for all. Order doesn't matter.

    Attributes:
        timesteps: shape (S,), int64, rising; what the network is told.
        alpha_bar: shape (S,), float32, as all tables below.
        beta: noise variance that each step adds.
        posterior_log_variance: log of the variance of q(x_{i-1} | x_i, x_0); the first, which is
            -inf, is replaced by the second.
        log_beta: log of `beta`.
    """

    def __init__(self, alpha_bar: Tensor, timesteps: Sequence[int] | None = None) -> None:
        chosen = range(len(alpha_bar)) if timesteps is None else sorted(set(timesteps))
        self.timesteps = torch.tensor(list(chosen), dtype=torch.long, device=alpha_bar.device)
        now = alpha_bar.double()[self.timesteps]
        before = torch.cat((torch.ones_like(now[:1]), now[:-1]))
        beta = 1 - now / before
        variance = beta * (1 - before) / (1 - now)
        variance[0] = variance[min(1, len(variance) - 1)]
        self.alpha_bar = now.float()
        self.signal, self.noise = now.sqrt().float(), (1 - now).sqrt().float()
        self.beta = beta.float()
        self.log_beta = beta.log().float()
        self.posterior_log_variance = variance.clamp(min=_TINY).log().float()
        # Ho et al. 2020, Eq. 7: mean = from_image * x_0 + from_noisy * x_i
        self.from_image = (beta * before.sqrt() / (1 - now)).float()
        self.from_noisy = ((1 - beta).sqrt() * (1 - before) / (1 - now)).float()

    @classmethod
    def from_settings(
        cls,
        config: DiffusionSettings,
        device: torch.device,
        timesteps: Sequence[int] | None = None,
    ) -> Chain:
        """Make the chain of the linear schedule that `config` describes."""
        beta = torch.linspace(*config.betas, config.timesteps, dtype=torch.float64)
        if config.zero_terminal_snr:
            beta = rescale_zero_terminal_snr(beta)
        return cls((1 - beta).cumprod(0).to(device), timesteps)

    def __len__(self) -> int:
        return len(self.timesteps)

    def add_noise(self, image: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """Return x_i from x_0 and standard normal noise (the paper's Eq. 2)."""
        return _at(self.signal, index) * image + _at(self.noise, index) * noise

    def goal(self, image: Tensor, noise: Tensor, index: Tensor, prediction: Prediction) -> Tensor:
        """Return what the network should predict."""
        if prediction == "epsilon":
            return noise
        if prediction == "sample":
            return image
        return _at(self.signal, index) * noise - _at(self.noise, index) * image

    def image(self, output: Tensor, noisy: Tensor, index: Tensor, prediction: Prediction) -> Tensor:
        """Return the x_0 that the network's output stands for, at x_i = `noisy`."""
        if prediction == "sample":
            return output
        signal, noise = _at(self.signal, index), _at(self.noise, index)
        if prediction == "epsilon":
            return (noisy - noise * output) / signal
        return signal * noisy - noise * output

    def posterior_mean(self, image: Tensor, noisy: Tensor, index: Tensor) -> Tensor:
        """Return the mean of q(x_{i-1} | x_i, x_0)."""
        return _at(self.from_image, index) * image + _at(self.from_noisy, index) * noisy

    def log_variance(self, position: Tensor, index: Tensor) -> Tensor:
        """Interpolate the log-variance: position -1 is beta-tilde, 1 is beta (Nichol & Dhariwal, Eq. 15)."""
        share = (position + 1) / 2
        low, high = _at(self.posterior_log_variance, index), _at(self.log_beta, index)
        return share * high + (1 - share) * low

    def weight(self, index: Tensor, prediction: Prediction, gamma: float | None) -> Tensor:
        """Return the (batch,) weights of the squared error: min(SNR, gamma) in terms of x_0.

        Hang et al. 2023, Eq. 8; 1 everywhere without `gamma`.
        """
        alpha_bar = self.alpha_bar[index]
        if gamma is None:
            return torch.ones_like(alpha_bar)
        snr = alpha_bar / (1 - alpha_bar)
        clipped = snr.clamp(max=gamma)
        if prediction == "epsilon":
            return clipped / snr
        return clipped if prediction == "sample" else clipped / (snr + 1)


def variational_bound(
    chain: Chain,
    *,
    image: Tensor,
    noisy: Tensor,
    index: Tensor,
    mean: Tensor,
    log_variance: Tensor,
) -> Tensor:
    """Return the (batch,) terms L_i of the variational bound, in bits per pixel.

    For i > 0 the KL divergence of the true posterior from the model's step p(x_{i-1} | x_i); for
    i = 0 the negative log-likelihood of the image, a grey level wide (Nichol & Dhariwal 2021,
    Eqs. 4-7).

    Args:
        chain: the noising process.
        image: x_0 in [-1, 1], shape (batch, 1, rows, columns).
        noisy: x_i, same shape.
        index: (batch,) positions i in the chain.
        mean: mean of p(x_{i-1} | x_i), shape of `image`.
        log_variance: log of its variance, shape of `image`.
    """
    true_mean = chain.posterior_mean(image, noisy, index)
    true_log_variance = _at(chain.posterior_log_variance, index)
    divergence = 0.5 * (
        log_variance
        - true_log_variance
        + torch.exp(true_log_variance - log_variance)
        + (true_mean - mean) ** 2 * torch.exp(-log_variance)
        - 1
    )
    scale = torch.exp(-0.5 * log_variance)
    upper = ndtr((image + _DECODER_BIN / 2 - mean) * scale)
    lower = ndtr((image - _DECODER_BIN / 2 - mean) * scale)
    # The outermost grey levels hold all that lies beyond them.
    upper = torch.where(image >= 1 - _DECODER_BIN / 2, 1.0, upper)
    lower = torch.where(image <= -1 + _DECODER_BIN / 2, 0.0, lower)
    surprise = -torch.log((upper - lower).clamp(min=1e-12))
    terms = torch.where(index[:, None, None, None] == 0, surprise, divergence)
    return terms.mean(dim=(1, 2, 3)) / math.log(2)


def diffusion_loss(
    chain: Chain,
    config: DiffusionSettings,
    image: Tensor,
    noise: Tensor,
    index: Tensor,
    answer: tuple[Tensor, Tensor | None],
) -> dict[str, Tensor]:
    """Return the scalar losses: `loss` = `simple` + vlb_weight * S * `vlb`, S steps in the chain.

    `simple` is the squared error of the prediction; `vlb` trains the variance alone, as no gradient
    reaches the mean through it (Nichol & Dhariwal 2021, Sec. 3.1). As L_vlb is a sum over the chain,
    one step's term counts S times; the paper's S is 1000 and its weight 0.001.

    Args:
        chain: the noising process.
        config: what the network predicts and how terms are weighted.
        image: target slices in [-1, 1], shape (batch, 1, rows, columns).
        noise: the noise that was added, same shape.
        index: (batch,) positions in the chain.
        answer: the network's prediction and its position of the log-variance, shape of `image`;
            the latter `None` where the variance isn't learned.
    """
    output, position = answer
    goal = chain.goal(image, noise, index, config.prediction)
    error = ((output - goal) ** 2).mean(dim=(1, 2, 3))
    simple = (chain.weight(index, config.prediction, config.min_snr_gamma) * error).mean()
    if position is None:
        return {"loss": simple}
    noisy = chain.add_noise(image, noise, index)
    guess = chain.image(output.detach(), noisy, index, config.prediction)
    mean = chain.posterior_mean(guess, noisy, index)
    log_variance = chain.log_variance(position, index)
    vlb = variational_bound(
        chain, image=image, noisy=noisy, index=index, mean=mean, log_variance=log_variance
    ).mean()
    return {"loss": simple + config.vlb_weight * len(chain) * vlb, "simple": simple, "vlb": vlb}


def _at(table: Tensor, index: Tensor) -> Tensor:
    """Table entries, shaped to multiply (batch, 1, rows, columns)."""
    return table[index][:, None, None, None]
