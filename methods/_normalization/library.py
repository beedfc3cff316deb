"""The library `intensity-normalization` (Reinhold et al. 2019), which is an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from harmbench.errors import MethodError, UnavailableError

try:
    from intensity_normalization import Modality, NyulNormalizer, WhiteStripeNormalizer
    from intensity_normalization.adapters.images import NumpyImageAdapter
    from intensity_normalization.domain.exceptions import NormalizationError
except ImportError as error:
    raise UnavailableError(
        "it needs the package intensity-normalization, on Python 3.11 or newer: "
        "pip install 'harmbench[normalization]'"
    ) from error

__all__ = ["ARRAY", "Modality", "NyulNormalizer", "WhiteStripeNormalizer", "normalizing"]

ARRAY = NumpyImageAdapter
"""Makes an image of the library from an array; voxels above 0 are its foreground."""


@contextmanager
def normalizing(name: str) -> Iterator[None]:
    """Turn the library's errors inside the block into those of the method called `name`.

    Raises:
        MethodError: the library refuses the intensities.
    """
    try:
        # Equal landmarks divide by 0; what comes of it is looked at.
        with np.errstate(divide="ignore", invalid="ignore"):
            yield
    except NormalizationError as error:
        raise MethodError(f"{name}: {error}") from error
