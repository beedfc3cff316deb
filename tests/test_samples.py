"""Mean and spread over samples."""

import numpy as np
import pytest

from harmbench.samples import mean_and_sd


def test_mean_and_deviation_are_numpys() -> None:
    random = np.random.default_rng(0)
    samples = (1000 + random.normal(0, 1, (5, 3, 4, 2))).astype(np.float32)
    mean, sd = mean_and_sd(iter(samples))
    assert sd is not None
    assert mean.dtype == sd.dtype == np.float32
    exact = samples.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(sd, exact.std(axis=0, ddof=1), rtol=1e-6)


def test_one_sample_has_no_deviation_and_none_is_an_error() -> None:
    one = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    mean, sd = mean_and_sd([one])
    np.testing.assert_array_equal(mean, one)
    assert sd is None
    with pytest.raises(ValueError, match="no samples"):
        mean_and_sd([])
