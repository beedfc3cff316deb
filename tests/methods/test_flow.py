"""The flow: its way from source to target, and that it learns it."""

import numpy as np
import pytest
import torch
from torch import nn

from harmbench.errors import MethodError
from harmbench.methods.flow import Flow, FlowSettings
from harmbench.methods.flow.network import VelocityField
from harmbench.methods.unet import UNet

SMALL = {
    "channels": (8, 16),
    "norm_groups": 4,
    "learning_rate": 5e-3,
    "iterations": 150,
    "warmup": 10,
    "batch_size": 4,
    "ema_decay": 0.95,
}
TINY = SMALL | {"channels": (4, 4), "norm_groups": 2, "iterations": 6, "warmup": 1, "log_every": 2}
METHOD = Flow


class Known(nn.Module):
    """A field whose velocity is a function of state and time."""

    def __init__(self, velocity):
        super().__init__()
        self.velocity = velocity

    def forward(self, state, time, return_dict):
        return (self.velocity(state, time[:, None, None, None] / 1000),)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_sources_go_their_way_in_euler_steps(steps):
    field = VelocityField(FlowSettings(**TINY, steps=steps))
    source = torch.rand(3, 1, 8, 8)
    field.unet = Known(lambda state, time: torch.full_like(state, 0.25))
    torch.testing.assert_close(field(source), source + 0.25)
    field.unet = Known(lambda state, time: state)  # dx/dt = x: (1 + 1 / N)^N, which goes to e
    torch.testing.assert_close(field(source), (1 + 1 / steps) ** steps * source)
    field.unet = Known(lambda state, time: torch.zeros_like(state) + time)
    at_starts = sum(range(steps)) / steps**2  # the sum of k / N over N steps of 1 / N
    torch.testing.assert_close(field(source), source + at_starts)


def test_training_sees_states_on_the_straight_way():
    source, target = torch.zeros(4, 1, 2, 2), torch.ones(4, 1, 2, 2)
    uniform = torch.tensor([0.0, 0.5, 0.75, 1.0])
    (state, time), goal = Flow(FlowSettings(at_start=0.5)).exercise(source, target, uniform)
    assert time.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert state[:, 0, 0, 0].tolist() == [0.0, 0.0, 0.5, 1.0]
    assert (goal == 1).all()
    (_, always_start), _ = Flow(FlowSettings(at_start=1.0)).exercise(source, target, uniform * 0.99)
    assert not always_start.any()
    (_, anywhen), _ = Flow(FlowSettings(at_start=0.0)).exercise(source, target, uniform)
    assert torch.equal(anywhen, uniform)


def test_the_network_is_that_of_the_unet_and_begins_as_the_identity():
    assert Flow().parameter_counts() == UNet().parameter_counts() == {"network": 4_062_689}
    source = torch.rand(2, 1, 16, 24)
    assert torch.equal(VelocityField(FlowSettings(**TINY))(source), source)


@pytest.mark.parametrize("steps", [1, 4])
def test_it_learns_to_invert_a_contrast(make_pair, task, mse, steps):
    pair = make_pair()
    method = Flow(FlowSettings(**SMALL, steps=steps))
    method.fit([pair], task())
    result = method.harmonize(pair.source, task())
    # All ways between inverted contrasts cross in the middle, where the mean velocity says little.
    assert mse(result, pair.target) < 0.5 * mse(pair.source, pair.target)


def test_the_number_of_steps_may_be_chosen_after_training(tmp_path, fitted, make_pair, task):
    method = fitted(tmp_path / "fit", steps=1)
    method.save(tmp_path / "saved")
    other = Flow.load(tmp_path / "saved", FlowSettings(**TINY, steps=3))
    assert (method.forward_passes(), other.forward_passes()) == (1, 3)
    source = make_pair().source
    one, three = (m.harmonize(source, task()).data for m in (method, other))
    assert not np.array_equal(one, three)
    assert method.config.training_key == other.config.training_key
    with pytest.raises(MethodError, match="other settings of the network"):
        Flow.load(tmp_path / "saved", FlowSettings(**(TINY | {"channels": (8, 8)})))


def test_an_interrupted_training_ends_in_the_same_place(tmp_path, fitted, weights, kill):
    whole = fitted(tmp_path / "whole", checkpoint_every=2)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "parts", progress=kill("train flow sagittal", 4), checkpoint_every=2)
    again = fitted(tmp_path / "parts", checkpoint_every=2)
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")


def test_bf16_does_not_round_the_image(make_pair, fitted, task):
    values = fitted(precision="bf16").harmonize(make_pair().source, task()).data
    values = values[(values > 0) & (values < 1)]
    assert len(np.unique(values)) > 0.9 * len(values) > 500
