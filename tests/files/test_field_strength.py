"""Field strengths as sidecars have them."""

from __future__ import annotations

from typing import Any

import pytest

from harmbench.files.field_strength import nominal_label, parse_tesla, same_field
from harmbench.trained.scanners import same_scanner


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (3, "3T"), ("3", "3T"), ("3T", "3T"), ("3.0 Tesla", "3T"), ([3], "3T"), (2.8936, "3T"),
        (1.494, "1.5T"), ("1,5", "1.5T"), (15000, "1.5T"), ("15000", "1.5T"), ("1500 mT", "1.5T"),
        ("30000 G", "3T"), (0.55, "0.55T"), ("0.55T", "0.55T"), (0.0636, "0.064T"), (1, "1T"),
        (6.98, "7T"), (11.7, "11.7T"), ("2.5", "2.5T"), ("3e0", "3T"), (".35", "0.35T"),
    ],
)  # fmt: skip
def test_what_is_meant(value: Any, label: str) -> None:
    assert nominal_label(parse_tesla(value)) == label


@pytest.mark.parametrize(
    "value",
    [None, "", "n/a", "NaN", True, [], [1.5, 3], {}, 0, -3, 3000, "3 T MRI", "high", float("inf")],
)
def test_what_is_no_field(value: Any) -> None:
    with pytest.raises(ValueError, match="MagneticFieldStrength"):
        parse_tesla(value)


def test_one_tolerance() -> None:
    assert same_field(2.8, 3)
    assert not same_field(2.7, 3)
    # Two kinds of magnet, though only 0.2 T apart.
    assert not same_field(0.35, 0.55)
    assert same_scanner("MagneticFieldStrength", "3T", ["n/a", "2.89362"])
    assert not same_scanner("MagneticFieldStrength", "n/a", ["3"])
    assert not same_scanner("ManufacturersModelName", "3", ["3T"])
