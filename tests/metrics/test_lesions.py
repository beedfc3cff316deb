"""Metrics of lesions: a block of white matter with one lesion, values derived on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harmbench.errors import MetricError
from harmbench.metrics.lesion_declarations import ALL_METRICS, LESION_METRICS
from harmbench.metrics.lesions import lesion_contrast, score_lesions, surrounding_white_matter

SHAPE = (24, 24, 24)
SPACING = (1.0, 1.0, 1.0)


@pytest.fixture
def lesions() -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[10:14, 10:14, 10:14] = True
    return mask


WHITE = np.ones(SHAPE, dtype=bool)


def image(lesions: np.ndarray, lesion: float = 0.4, white: float = 0.8) -> np.ndarray:
    return np.where(lesions, lesion, white).astype(np.float32)


def scores(harmonized: np.ndarray, reference: np.ndarray, mask: np.ndarray, white=WHITE) -> dict:
    found = score_lesions(harmonized, reference, mask, white, spacing_mm=SPACING)
    assert [score.metric for score in found] == list(LESION_METRICS)
    for score in found:
        assert math.isnan(score.value) or LESION_METRICS[score.metric].contains(score.value)
        assert (score.status == "undefined") == math.isnan(score.value)
    return {score.metric: score.value for score in found}


def test_the_reference_itself(lesions: np.ndarray) -> None:
    own = image(lesions)
    assert scores(own, own, lesions) == pytest.approx(
        {
            "mse_lesions": 0,
            "lesion_contrast_change": 0,
            "lesion_volume_mm3": 64,
            "lesion_volume_difference": 0,
        }
    )


def test_a_contrast_that_is_halved(lesions: np.ndarray) -> None:
    # Contrast 1 - 0.6 / 0.8 = 0.25 instead of 0.5; the lesion lies at the threshold, not below it.
    found = scores(image(lesions, 0.61), image(lesions), lesions)
    assert found["lesion_contrast_change"] == pytest.approx(-52.5, abs=1e-4)
    assert found["lesion_volume_mm3"] == 0
    assert found["lesion_volume_difference"] == pytest.approx(-100)
    assert found["mse_lesions"] == pytest.approx(0.21**2, rel=1e-5)


def test_lesions_that_are_painted_over(lesions: np.ndarray) -> None:
    found = scores(image(lesions, 0.8), image(lesions), lesions)
    assert found["lesion_contrast_change"] == pytest.approx(-100, abs=1e-4)
    assert found["lesion_volume_difference"] == pytest.approx(-100)


def test_a_brightness_of_the_whole_volume_changes_nothing(lesions: np.ndarray) -> None:
    found = scores(0.5 * image(lesions), image(lesions), lesions)
    assert found["lesion_contrast_change"] == pytest.approx(0, abs=1e-4)
    assert found["lesion_volume_mm3"] == 64


def test_a_lesion_that_grows_into_its_surroundings(lesions: np.ndarray) -> None:
    grown = np.zeros(SHAPE, dtype=bool)
    grown[10:14, 10:14, 7:14] = True
    found = scores(image(grown), image(lesions), lesions)
    # The rim of 1 mm does not count: of three planes more, two.
    assert found["lesion_volume_mm3"] == 64 + 2 * 16
    assert found["lesion_volume_difference"] == pytest.approx(50)


def test_the_surroundings(lesions: np.ndarray) -> None:
    around = surrounding_white_matter(lesions, WHITE, spacing_mm=SPACING)
    assert not (around & lesions).any()
    assert not around[9, 11, 11]
    assert around[8, 11, 11]
    assert around[6, 11, 11]
    assert not around[5, 11, 11]
    half = WHITE.copy()
    half[:12] = False
    assert not surrounding_white_matter(lesions, half, spacing_mm=SPACING)[:12].any()


def test_the_surroundings_of_large_voxels(lesions: np.ndarray) -> None:
    around = surrounding_white_matter(lesions, WHITE, spacing_mm=(4.0, 4.0, 4.0))
    assert not around[9, 11, 11]
    assert around[9, 9, 11]
    assert around.any()


def test_what_is_undefined(lesions: np.ndarray) -> None:
    own = image(lesions)
    empty = np.zeros(SHAPE, dtype=bool)
    assert all(math.isnan(value) for value in scores(own, own, empty).values())
    unsegmented = scores(own, own, lesions, None)
    assert unsegmented["mse_lesions"] == 0
    assert math.isnan(unsegmented["lesion_contrast_change"])
    bright = image(lesions, 0.9)
    assert math.isnan(scores(own, bright, lesions)["lesion_volume_mm3"])
    assert math.isnan(lesion_contrast(own, lesions, empty))


def test_masks_that_do_not_fit_are_refused(lesions: np.ndarray) -> None:
    own = image(lesions)
    with pytest.raises(MetricError):
        score_lesions(own, own, lesions[:5], WHITE, spacing_mm=SPACING)
    with pytest.raises(MetricError):
        score_lesions(own, own, lesions, WHITE.astype(int), spacing_mm=SPACING)


def test_declarations_stand_beside_the_others() -> None:
    assert set(LESION_METRICS) < set(ALL_METRICS)
    assert {metric.scope for metric in LESION_METRICS.values()} == {"lesion"}
