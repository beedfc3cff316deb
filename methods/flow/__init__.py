"""Flow matching from the source slice to the target slice, in the network of the U-Net."""

from harmbench.methods.flow.model import Flow
from harmbench.methods.flow.settings import FlowSettings

__all__ = ["Flow", "FlowSettings"]
