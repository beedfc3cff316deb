"""pGAN: the conditional adversarial network of Dar et al. 2019 for paired images."""

from harmbench.methods.pgan.model import PGAN
from harmbench.methods.pgan.settings import PGANSettings

__all__ = ["PGAN", "PGANSettings"]
