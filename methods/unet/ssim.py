"""The structural similarity index of 2D images, differentiable (Wang et al. 2004)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["RADIUS", "ssim"]

RADIUS = 5
"""Pixels from the centre of the Gaussian window to its edge: 11 x 11 with a deviation of 1.5."""

_DEVIATION = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # K1 = 0.01 and K2 = 0.03 for intensities that span 1


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean SSIM over all windows that lie within the images, as a scalar.

    Eq. 13 of Wang et al. 2004 with the paper's Gaussian window and constants. An image with fewer
    than 11 rows or columns is padded with zeros to that many.

    Args:
        one: intensities in [0, 1], float32, shape (batch, 1, rows, columns).
        other: same shape.
    """
    size = 2 * RADIUS + 1
    lacking = [max(0, size - extent) for extent in (one.shape[3], one.shape[2])]
    if any(lacking):
        columns, rows = lacking
        one, other = (functional.pad(image, (0, columns, 0, rows)) for image in (one, other))
    places = torch.arange(-RADIUS, RADIUS + 1, device=one.device, dtype=one.dtype)
    window = torch.exp(-0.5 * (places / _DEVIATION) ** 2)
    window = window / window.sum()
    images = torch.cat((one, other, one * one, other * other, one * other), dim=1)
    # The window is a product of a column and a row: (5, 1, 11, 1), then (5, 1, 1, 11).
    column = window.view(1, 1, size, 1).expand(5, 1, size, 1)
    row = window.view(1, 1, 1, size).expand(5, 1, 1, size)
    means = functional.conv2d(functional.conv2d(images, column, groups=5), row, groups=5)
    mean1, mean2, square1, square2, product = means.unbind(dim=1)
    variance1, variance2 = square1 - mean1**2, square2 - mean2**2
    covariance = product - mean1 * mean2
    luminance = (2 * mean1 * mean2 + _C1) / (mean1**2 + mean2**2 + _C1)
    structure = (2 * covariance + _C2) / (variance1 + variance2 + _C2)
    return (luminance * structure).mean()
