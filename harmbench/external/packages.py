"""Versions of the packages that results depend on, without importing them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

__all__ = ["PACKAGES", "package_versions"]

PACKAGES = (
    "antspyx",
    "diffusers",
    "fslpy",
    "medpy",
    "nibabel",
    "nilearn",
    "numba",
    "numpy",
    "pandas",
    "safetensors",
    "scikit-image",
    "scipy",
    "torch",
)


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return installed versions by package name; `absent` for one that is not installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
