"""Small chains, random pictures and a network that knows the answer, for tests of the diffusion model."""

import torch
from torch import nn

from harmbench.methods.dm.diffusion import Chain
from harmbench.methods.dm.settings import DiffusionSettings
from harmbench.training import random_generator

CPU = torch.device("cpu")
PREDICTIONS = ["epsilon", "v", "sample"]
SAMPLERS = ["ddpm", "ddim", "dpmsolver++", "unipc"]
SHAPE = (3, 1, 4, 5)


def normal(name, shape=SHAPE):
    return torch.randn(shape, generator=random_generator(CPU, name))


def picture():
    return normal("image").clamp(-1, 1)


def chain_of(timesteps=None, **settings):
    return Chain.from_settings(DiffusionSettings(**settings), CPU, timesteps)


def whole_chain(**settings):
    config = DiffusionSettings(sampling_steps=10, **settings)
    return Chain.from_settings(config, CPU)


def at(t):
    return torch.full((SHAPE[0],), t)


class Oracle(nn.Module):
    """A network that knows the image and answers exactly."""

    def __init__(self, image, config):
        super().__init__()
        self.image, self.config = image, config
        self.chain = Chain.from_settings(config, CPU)
        self.asked = []

    def forward(self, noisy, source, timestep):
        self.asked.append(int(timestep[0]))
        signal = self.chain.signal[timestep][:, None, None, None]
        noise = self.chain.noise[timestep][:, None, None, None]
        epsilon = (noisy - signal * self.image) / noise
        goal = self.chain.goal(self.image, epsilon, timestep, self.config.prediction)
        # The largest variance that a step may have: the last step must not add any noise.
        return goal, torch.ones_like(goal) if self.config.learned_variance else None
