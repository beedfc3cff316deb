"""Help for tests that apply a trained model to scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harmbench.errors import HarmbenchError
from harmbench.preparation.settings import PrepareSettings
from harmbench.trained import Model
from harmbench.trained.apply import apply_model
from harmbench.trained.scans import ApplyOptions

__all__ = ["refusal", "tiny_preparation"]


def tiny_preparation(**changes: object) -> dict[str, object]:
    """Settings that prepare a tiny skull-stripped scan in milliseconds."""
    values: dict[str, object] = {
        "strip": {"method": "none", "plausible_ml": [1, 3000]},
        "bias": {"method": "none"},
        "spacing_mm": 2.0,
        "registration": {"transform": "none"},
        "crop": {"shape": None},
    }
    return PrepareSettings.model_validate({**values, **changes}).model_dump(mode="json")


def refusal(model: Model, scans: list[Path], out: Path, **options: Any) -> str:
    """Return the message of a refusal, which writes nothing."""
    with pytest.raises(HarmbenchError) as caught:
        apply_model(model, scans, out, ApplyOptions(**options))
    assert not out.exists()
    return str(caught.value)
