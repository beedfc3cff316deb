"""3D U-Net: supervised regression of the target volume from the source volume, patch by patch."""

from harmbench.methods.unet3d.model import UNet3D
from harmbench.methods.unet3d.settings import UNet3DSettings

__all__ = ["UNet3D", "UNet3DSettings"]
