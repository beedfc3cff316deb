"""The differentiable SSIM against scikit-image and closed forms."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from harmbench.methods.unet.ssim import RADIUS, ssim


def images(shape=(2, 1, 24, 31), seed=0):
    random = np.random.default_rng(seed)
    one = random.random(shape)
    other = np.clip(0.7 * one + 0.2 * random.random(shape), 0, 1)
    return torch.from_numpy(one).float(), torch.from_numpy(other).float()


def test_it_is_scikit_image_s():
    one, other = images()
    expected = [
        structural_similarity(
            a.numpy(),
            b.numpy(),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(one[:, 0].double(), other[:, 0].double(), strict=True)
    ]
    assert ssim(one, other).item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_an_image_is_similar_to_itself():
    one, other = images()
    assert ssim(one, one).item() == pytest.approx(1, abs=1e-6)
    assert ssim(one, other).item() < 0.99
    assert ssim(one, other).item() == pytest.approx(ssim(other, one).item(), abs=1e-6)


def test_flat_images_differ_in_luminance_alone():
    one, other = torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.6)
    # No variance, so the second factor is C2 / C2; (2ab + C1) / (a^2 + b^2 + C1) with C1 = 1e-4.
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(one, other).item() == pytest.approx(expected, abs=1e-4)


def test_small_images_are_padded_with_background():
    one, other = images((2, 1, 7, 9))
    padded = [torch.zeros(2, 1, 11, 11) for _ in "ab"]
    for large, small in zip(padded, (one, other), strict=True):
        large[:, :, :7, :9] = small
    assert ssim(one, other).item() == pytest.approx(ssim(*padded).item(), abs=1e-7)


def test_its_gradient_is_that_of_the_function():
    one, other = (image.double() for image in images((1, 1, 2 * RADIUS + 2, 2 * RADIUS + 1)))
    assert torch.autograd.gradcheck(ssim, (one.requires_grad_(), other))
