"""BIDS folders from a list of file names; the reader looks at names, not at voxels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def lay_out(tmp_path: Path) -> Callable[..., Path]:
    """Write empty images under their path, and sidecars beside those that have fields."""

    def make(*files: str, fields: Mapping[str, Any] | None = None, name: str = "bids") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
        for file in files:
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        for file, own in (fields or {}).items():
            (root / file).write_text(json.dumps(own))
        return root

    return make


@pytest.fixture
def two_by_two() -> list[str]:
    """Paths of two subjects with two sessions."""
    name = "sub-{0}/ses-{1}/anat/sub-{0}_ses-{1}_T1w.nii.gz"
    return [name.format(subject, session) for subject in ("01", "02") for session in "AB"]
