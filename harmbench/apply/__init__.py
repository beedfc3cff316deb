"""A trained model on new scans."""

from harmbench.apply.model import apply_model
from harmbench.apply.scans import ApplyOptions, InputKind, Units

__all__ = ["ApplyOptions", "InputKind", "Units", "apply_model"]
