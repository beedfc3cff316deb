"""Networks and losses of pGAN against counts, shapes and values derived on paper."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from harmbench.methods.pgan import PGAN, PGANSettings
from harmbench.methods.pgan.losses import discriminator_loss, generator_loss, perceptual_loss
from harmbench.methods.pgan.networks import Discriminator, Generator, ResidualBlock, dropout
from harmbench.methods.pgan.perceptual import Features, load_features
from harmbench.training import random_generator

CPU = torch.device("cpu")
SMALL = PGANSettings(channels=3, blocks=2, discriminator_channels=3, perceptual="random")


def normal(*shape, name="normal"):
    return torch.randn(shape, generator=random_generator(CPU, name))


def counted(kernel, before, after):
    """Parameters of a convolution with bias."""
    return kernel**2 * before * after + after


def shapes_of(network, *inputs):
    """Output shapes of a network's convolutions, in order."""
    shapes = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape[1:])))
    network(*inputs)
    return shapes


def test_the_parameters_are_those_of_the_published_networks():
    ends = counted(7, 1, 64) + counted(7, 64, 1)
    halves = counted(3, 64, 128) + counted(3, 128, 256)
    doubles = counted(3, 256, 128) + counted(3, 128, 64)
    generator = ends + halves + 9 * 2 * counted(3, 256, 256) + doubles
    widths = [2, 64, 128, 256, 512, 1]
    discriminator = sum(counted(4, a, b) for a, b in pairwise(widths))
    assert (generator, discriminator) == (11_365_633, 2_763_713)
    counts = {"generator": generator, "discriminator": discriminator}
    assert PGAN().parameter_counts() == counts


def test_the_generator_halves_twice_and_doubles_twice():
    with torch.device("meta"):
        shapes = shapes_of(Generator(PGANSettings()), torch.zeros(1, 1, 256, 224))
    assert shapes == [
        (64, 256, 224),
        (128, 128, 112),
        *[(256, 64, 56)] * 19,
        (128, 128, 112),
        (64, 256, 224),
        (1, 256, 224),
    ]


def test_the_discriminator_makes_30_x_30_decisions():
    with torch.device("meta"):
        slices = torch.zeros(1, 1, 256, 256)
        shapes = shapes_of(Discriminator(PGANSettings()), slices, slices)
    assert shapes == [(64, 128, 128), (128, 64, 64), (256, 32, 32), (512, 31, 31), (1, 30, 30)]


def test_one_decision_sees_70_x_70_pixels():
    discriminator = Discriminator(SMALL)
    # Instance normalization spreads over the whole slice: without it, what a decision sees is local.
    for index, layer in enumerate(discriminator.layers):
        if isinstance(layer, nn.InstanceNorm2d):
            discriminator.layers[index] = nn.Identity()
    image = normal(1, 1, 128, 128).requires_grad_()
    decisions = discriminator(normal(1, 1, 128, 128, name="source"), image)
    (gradient,) = torch.autograd.grad(decisions[0, 0, 7, 7], image)
    rows, columns = (gradient[0, 0] != 0).nonzero().T
    assert rows.max() - rows.min() + 1 == 70
    assert columns.max() - columns.min() + 1 == 70


def test_the_smallest_slices_allowed_have_one_decision():
    for layers in (1, 2, 3, 4):
        config = SMALL.model_copy(update={"discriminator_layers": layers, "crop": "auto"})
        slices = normal(1, 1, *config.at_least)
        decisions = Discriminator(config).train()(slices, slices)
        assert decisions.shape == (1, 1, 1, 1)


def test_the_discriminator_sees_the_source():
    discriminator, image = Discriminator(SMALL), normal(1, 1, 32, 32)
    one = discriminator(normal(1, 1, 32, 32, name="one"), image)
    other = discriminator(normal(1, 1, 32, 32, name="other"), image)
    assert not torch.allclose(one, other)


def test_first_weights_are_drawn_narrowly():
    torch.manual_seed(0)
    networks = [Generator(PGANSettings(blocks=1)), Discriminator(PGANSettings())]
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    for network in networks:
        weights = [m.weight for m in network.modules() if isinstance(m, kinds)]
        everything = torch.cat([weight.flatten() for weight in weights])
        assert float(everything.detach().std()) == pytest.approx(0.02, rel=0.01)
        assert float(everything.detach().mean()) == pytest.approx(0, abs=1e-4)


def test_slices_do_not_mix():
    batch = normal(3, 1, 32, 32)
    generator = Generator(SMALL)
    alone = torch.cat([generator(batch[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(generator(batch), alone, rtol=0, atol=1e-6)


def test_the_output_lies_in_the_range_of_the_input():
    made = Generator(SMALL)(100 * normal(2, 1, 32, 32))
    assert made.shape == (2, 1, 32, 32)
    assert made.abs().max() <= 1


def test_a_residual_block_begins_with_its_input():
    block = ResidualBlock(4, 0.5)
    nn.init.zeros_(block.second.weight)
    x = normal(2, 4, 8, 8)
    torch.testing.assert_close(block(x, [random_generator(CPU, 1)]), x)


def test_dropout_keeps_the_mean_and_drops_half():
    ones = torch.ones(2, 8, 40, 40)
    dropped = dropout(ones, 0.5, [random_generator(CPU, 0)])
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert float(dropped.mean()) == pytest.approx(1, abs=0.03)
    assert not torch.equal(dropped[0], dropped[1])
    quarter = dropout(ones, 0.25, [random_generator(CPU, 0)])
    assert float((quarter == 0).float().mean()) == pytest.approx(0.25, abs=0.02)


def test_a_slice_drops_the_same_features_in_any_batch():
    x = normal(3, 4, 8, 8)
    together = dropout(x, 0.5, [random_generator(CPU, number) for number in range(3)])
    alone = [dropout(x[n : n + 1], 0.5, [random_generator(CPU, n)]) for n in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=0)


def test_nothing_drops_without_a_generator():
    x = normal(2, 4, 8, 8)
    assert dropout(x, 0.5, []) is x
    assert dropout(x, 0.0, [random_generator(CPU, 0)]) is x


def test_the_discriminator_loss_is_least_squares_halved():
    real, made = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.4])
    losses = discriminator_loss(SMALL, real, made)
    assert float(losses["real"]) == pytest.approx((0 + 0.25) / 2)
    assert float(losses["made"]) == pytest.approx((0 + 0.16) / 2)
    assert float(losses["discriminator"]) == pytest.approx(0.5 * (0.125 + 0.08))
    twice = SMALL.model_copy(update={"adversarial_weight": 2.0})
    assert float(discriminator_loss(twice, real, made)["discriminator"]) == pytest.approx(0.205)


class Doubling(Features):
    """Features whose differences are known: twice the image."""

    def forward(self, image):
        return 2 * image


def test_the_generator_loss_is_the_published_sum():
    decisions = torch.tensor([1.0, 0.0])
    made, target = torch.full((2, 1, 4, 4), 0.25), torch.zeros(2, 1, 4, 4)
    losses = generator_loss(PGANSettings(), decisions, made, target, Doubling())
    assert float(losses["adversarial"]) == pytest.approx(0.5)
    assert float(losses["l1"]) == pytest.approx(0.25)
    assert float(losses["perceptual"]) == pytest.approx(0.5)
    assert float(losses["generator"]) == pytest.approx(0.5 + 100 * 0.25 + 100 * 0.5)
    plain = generator_loss(PGANSettings(), decisions, made, target, None)
    assert set(plain) == {"generator", "adversarial", "l1"}
    assert float(plain["generator"]) == pytest.approx(0.5 + 100 * 0.25)


def test_every_slice_of_the_batch_has_a_perceptual_loss():
    """The released code drops all but the first; only `faithful` does so too."""
    target = torch.zeros(2, 1, 4, 4)
    made = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    assert float(perceptual_loss(Doubling(), made, target)) == pytest.approx(1.0)
    assert float(perceptual_loss(Doubling(), made, target, first_only=True)) == 0
    for faithful, expected in ((False, 1.0), (True, 0.0)):
        config = PGANSettings(faithful=faithful)
        losses = generator_loss(config, torch.ones(1), made, target, Doubling())
        assert float(losses["perceptual"]) == pytest.approx(expected)


def test_the_perceptual_loss_teaches_the_generator_alone():
    features = load_features(SMALL)
    assert features is not None
    made = normal(1, 1, 8, 8, name="made").requires_grad_()
    target = normal(1, 1, 8, 8, name="target").requires_grad_()
    perceptual_loss(features, made, target).backward()
    assert made.grad.abs().sum() > 0
    assert target.grad is None
    assert all(p.grad is None and not p.requires_grad for p in features.parameters())


def test_the_losses_of_perfect_slices_are_zero():
    target = normal(2, 1, 8, 8)
    losses = generator_loss(SMALL, torch.ones(3), target, target, load_features(SMALL))
    assert all(float(loss) == 0 for loss in losses.values())
