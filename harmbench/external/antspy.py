"""The one door to antspyx: everything of ANTs gives the same bytes every time.

ANTs sums over threads in the order in which they end, and jitters the points where it samples a
metric. One thread and a fixed seed are repeatable.
"""

from __future__ import annotations

import os
from typing import Any, Final

__all__ = ["SEED", "ants_module"]

SEED: Final = 1
"""Seed of the points that registration samples."""


def ants_module() -> Any:
    """Import antspyx so that it works on one thread with a fixed seed.

    ITK reads both from the environment when it first computes, and keeps them for the life of the
    process. A program that computed with antspyx before it called harmbench keeps its own threads:
    its registrations may then differ in the last digits.
    """
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    os.environ["ANTS_RANDOM_SEED"] = str(SEED)
    import ants

    return ants
