"""A small network, its training, the comparison of two of them, and slices to train with."""

import numpy as np
import torch
from torch import nn

from harmbench.slices import TrainingSlices
from harmbench.training import (
    random_generator,
    seeded,
)

CPU = torch.device("cpu")


def network(seed=0):
    with seeded(seed):
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 3))


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def train(net, optimizer, first, last):
    for step in range(first, last + 1):
        x = torch.randn(2, 1, 8, 8, generator=random_generator(CPU, 0, step))
        optimizer.zero_grad()
        torch.autograd.backward((net(x) ** 2).mean())
        optimizer.step()


def stack(count=6, rows=5, columns=4):
    values = np.arange(count * rows * columns, dtype=np.float32).reshape(count, rows, columns)
    values /= values.max()
    return TrainingSlices(values, 1 - values, "key")
