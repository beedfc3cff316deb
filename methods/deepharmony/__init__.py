"""DeepHarmony: the U-Net of Dewey et al. 2019, in 2D as Durrer et al. 2023 compare with it."""

from harmbench.methods.deepharmony.model import DeepHarmony
from harmbench.methods.deepharmony.settings import DeepHarmonySettings

__all__ = ["DeepHarmony", "DeepHarmonySettings"]
