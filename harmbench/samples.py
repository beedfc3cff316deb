"""Mean and spread over samples of one volume."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_and_sd"]


def mean_and_sd(
    samples: Iterable[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Mean and standard deviation (n - 1) over arrays, one in memory at a time (Welford 1962).

    Args:
        samples: one or more arrays of one shape; sums are kept in float64.

    Returns:
        Mean and deviation; no deviation of a single sample.

    Raises:
        ValueError: there is no sample.
    """
    count = 0
    mean: NDArray[np.float64] = np.zeros(())
    squares: NDArray[np.float64] = np.zeros(())
    for sample in samples:
        count += 1
        gap = sample - mean
        mean = mean + gap / count
        squares = squares + gap * (sample - mean)
    if count == 0:
        raise ValueError("no samples")
    deviation = np.sqrt(squares / (count - 1)).astype(np.float32) if count > 1 else None
    return mean.astype(np.float32), deviation
