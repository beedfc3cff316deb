"""What a server of workers does once, so that no cell's process need: slow imports, and compiling."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Final

import numpy as np

from harmbench.metrics.suite import score_image, score_tissues
from harmbench.plugins import Reference

__all__ = ["BUILT_IN", "warm_up"]

BUILT_IN: Final = Reference("hmrf")
"""The segmenter that is compiled in the process that uses it."""

_SIDE: Final = 20


def warm_up(*, segmentation: bool, training: bool, modules: Sequence[str] = ()) -> None:
    """Score a small artificial volume; import and compile what cells need.

    Nothing here starts threads of OpenMP or uses a GPU, which a fork would not survive.

    Args:
        segmentation: whether the built-in segmenter is used; it segments the volume.
        training: whether some methods train networks; PyTorch is imported.
        modules: others to import, such as those of this package's methods.
    """
    random = np.random.default_rng(0)
    radius = np.linalg.norm(np.indices((_SIDE,) * 3) - _SIDE / 2, axis=0)
    labels = np.select([radius < 4, radius < 6, radius < 8], [3, 2, 1], 0).astype(np.uint8)
    brain = labels > 0
    noise = 0.02 * random.standard_normal(labels.shape)
    volume = (np.clip(0.25 * labels + noise, 0.02, 1) * brain).astype(np.float32)
    score_image(volume, volume, volume, brain, spacing_mm=(1.0, 1.0, 1.0))
    score_tissues(labels, labels, spacing_mm=(1.0, 1.0, 1.0))
    if segmentation:
        model = import_module("harmbench.segmentation.hmrf.model")
        model.hmrf(volume, (1.0, 1.0, 1.0), threads=1)
    if training:
        import_module("harmbench.training")
    for name in modules:
        import_module(name)
