"""U-Net: plain supervised regression of the target slice from the source slice."""

from harmbench.methods.unet.model import UNet
from harmbench.methods.unet.settings import UNetSettings

__all__ = ["UNet", "UNetSettings"]
