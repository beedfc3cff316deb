"""Everything that is in the tree is in the distribution."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib")

ROOT = Path(__file__).parents[1]


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed() -> None:
    found = set()
    for folder, package in (
        ("harmbench", "harmbench"),
        ("methods", "harmbench.methods"),
        ("configs", "harmbench.configs"),
    ):
        for path in (ROOT / folder).rglob("__init__.py"):
            parts = path.parent.relative_to(ROOT / folder).parts
            found.add(".".join([package, *parts]))
    assert set(_project()["tool"]["setuptools"]["packages"]) == found


def test_every_entry_point_names_a_class_of_this_project() -> None:
    points = _project()["project"]["entry-points"]["harmbench.methods"]
    assert {"identity", "histogram_matching", "dm"} <= set(points)
    assert all(value.startswith("harmbench.methods.") for value in points.values())


def test_constraints_cover_the_requirements() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = _project()["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {text.split(">")[0].split("<")[0].split("=")[0].strip().lower() for text in wanted}
    assert names <= pinned
