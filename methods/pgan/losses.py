"""What generator and discriminator are trained on (Dar et al. 2019)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from harmbench.methods.pgan.perceptual import Features
from harmbench.methods.pgan.settings import PGANSettings

__all__ = ["discriminator_loss", "generator_loss", "perceptual_loss"]


def discriminator_loss(config: PGANSettings, on_real: Tensor, on_made: Tensor) -> dict[str, Tensor]:
    """Return the scalar losses: `discriminator` is the weighted half of `real` + `made`.

    Least squares (Mao et al. 2017): (D - 1)^2 on real targets, D^2 on made ones; the half slows the
    discriminator down relative to the generator.

    Args:
        config: weight of the adversarial loss.
        on_real: decisions on real target slices, any shape.
        on_made: decisions on slices that the generator made, same shape.
    """
    real, made = ((on_real - 1) ** 2).mean(), (on_made**2).mean()
    return {
        "discriminator": config.adversarial_weight * 0.5 * (real + made),
        "real": real,
        "made": made,
    }


def generator_loss(
    config: PGANSettings,
    on_made: Tensor,
    made: Tensor,
    target: Tensor,
    features: Features | None,
) -> dict[str, Tensor]:
    """Return the scalar losses: `generator` is the weighted sum of all others.

    Args:
        config: the weights, and whether only the first slice has a perceptual loss.
        on_made: the discriminator's decisions on the slices that were made.
        made: slices that the generator made, in [-1, 1], shape (batch, 1, rows, columns).
        target: real target slices, same shape.
        features: of which the perceptual loss is made; `None` for no such loss.
    """
    losses = {"adversarial": ((on_made - 1) ** 2).mean(), "l1": functional.l1_loss(made, target)}
    total = config.adversarial_weight * losses["adversarial"] + config.l1_weight * losses["l1"]
    if features is not None:
        losses["perceptual"] = perceptual_loss(features, made, target, first_only=config.faithful)
        total = total + config.perceptual_weight * losses["perceptual"]
    return {"generator": total, **losses}


def perceptual_loss(
    features: Features, made: Tensor, target: Tensor, *, first_only: bool = False
) -> Tensor:
    """Return the mean absolute difference between features, a scalar.

    Args:
        features: such as VGG16's.
        made: slices that the generator made, in [-1, 1], shape (batch, 1, rows, columns).
        target: real target slices, same shape.
        first_only: look at the first slice of the batch alone, as the released code does.
    """
    if first_only:
        made, target = made[:1], target[:1]
    return functional.l1_loss(features(made), features(target.detach()).detach())
