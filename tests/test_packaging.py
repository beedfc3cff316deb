"""Everything that is in the tree is in the distribution."""

from __future__ import annotations

import ast
import re
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
    wanted += _project()["dependency-groups"]["docs"]
    names = {text.split(">")[0].split("<")[0].split("=")[0].strip().lower() for text in wanted}
    assert names <= pinned


# Distributions whose module has another name than they have.
MODULES = {
    "antspyx": "ants",
    "fslpy": "fsl",
    "hd-bet": "HD_BET",
    "intensity-normalization": "intensity_normalization",
    "pillow": "PIL",
    "pybids": "bids",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "typing-extensions": "typing_extensions",
}
EXTRAS = {"hd-bet", "normalization", "parquet", "slurm", "tensorboard"}
"""Extras that the package itself imports; `bench` and `dev` are for the tools around it."""


def _imported() -> set[str]:
    """Top-level modules that any module of the distribution imports, also within functions."""
    found = set()
    for folder in ("harmbench", "methods"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                found |= _modules_of(node)
    return found


def _modules_of(node: ast.AST) -> set[str]:
    names: list[str | None] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        names = [node.module]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        names = [str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)]
    return {name.partition(".")[0] for name in names if name}


def _declared() -> dict[str, str]:
    """Module of each distribution that the project requires, or offers as an extra."""
    project = _project()["project"]
    texts = [*project["dependencies"]]
    for extra in EXTRAS:
        texts += project["optional-dependencies"][extra]
    names = [re.split(r"[^A-Za-z0-9._-]", text)[0].lower() for text in texts]
    return {name: MODULES.get(name, name) for name in names}


def test_every_import_is_declared_and_every_requirement_imported() -> None:
    third_party = _imported() - set(sys.stdlib_module_names) - {"harmbench"}
    # torch brings tensorboard's door with it, and imports the package itself.
    assert third_party | {"tensorboard"} == set(_declared().values())
