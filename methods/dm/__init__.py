"""DM: the diffusion model of Durrer et al. 2023, guided by the source slice."""

from harmbench.methods.dm.model import DiffusionModel
from harmbench.methods.dm.settings import DiffusionSettings

__all__ = ["DiffusionModel", "DiffusionSettings"]
