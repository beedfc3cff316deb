"""What the methods that use the library `intensity-normalization` share.

Raises `UnavailableError` on import where the library is not installed.
"""

from harmbench.methods._normalization.library import (
    ARRAY,
    Modality,
    NyulNormalizer,
    WhiteStripeNormalizer,
    normalizing,
)
from harmbench.methods._normalization.volumes import finished, target_brains

__all__ = [
    "ARRAY",
    "Modality",
    "NyulNormalizer",
    "WhiteStripeNormalizer",
    "finished",
    "normalizing",
    "target_brains",
]
