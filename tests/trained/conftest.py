"""A scan that no model has seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmbench.contract import tiny_pairs
from harmbench.volume import write


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A prepared scan of the source contrast that no model has seen."""
    return write(tiny_pairs(1, seed=5)[0].source, tmp_path / "new" / "scan.nii.gz")
