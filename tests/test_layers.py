"""Imports point down only; methods see the contract and nothing above it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from harmbench.discovery import available_methods

ROOT = Path(__file__).parents[1]

FOR_METHODS = {
    f"harmbench.{name}"
    for name in (
        "arrays",
        "errors",
        "method",
        "settings",
        "slices",
        "storage",
        "task",
        "training",
        "volume",
        "volume_correction",
    )
}
# What lies below the contract and is no concern of a method's.
BELOW = {
    f"harmbench.{name}"
    for name in (
        "__main__",
        "bounded",
        "catalogue",
        "code_keys",
        "discovery",
        "guard",
        "holders",
        "locks",
        "owners",
        "meter",
        "notes",
        "plugins",
        "progress",
        "sums",
        "syntax",
    )
}
SOURCES = sorted((ROOT / "harmbench").rglob("*.py"))
METHODS = sorted((ROOT / "methods").rglob("*.py"))


def _contracts() -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {one["id"]: one for one in project["tool"]["importlinter"]["contracts"]}


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_every_module_has_its_layer() -> None:
    layers = {name for line in _contracts()["layers"]["layers"] for name in line.split(" : ")}
    modules = {_dotted(path) for path in SOURCES}
    assert layers - modules == {"harmbench.methods"}
    # A package without code of its own only passes names on.
    packages = {_dotted(path) for path in SOURCES if path.name == "__init__.py"}
    lost = {
        m for m in modules - packages if not any(m == x or m.startswith(f"{x}.") for x in layers)
    }
    assert not lost, "say in pyproject.toml in which layers they are"


def test_methods_may_see_no_other_module() -> None:
    forbidden = set(_contracts()["methods"]["forbidden_modules"])
    top = {".".join(_dotted(path).split(".")[:2]) for path in SOURCES} - {"harmbench"}
    assert top - forbidden == FOR_METHODS | BELOW


def test_imports_are_absolute_and_without_stars() -> None:
    for path in SOURCES + METHODS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                assert all(alias.name != "*" for alias in node.names), path


@pytest.mark.parametrize("name", ["runner", "executors", "planning"])
def test_the_runner_names_no_method(name: str) -> None:
    place = ROOT / "harmbench" / name
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    methods = set(available_methods())
    assert methods
    for file in files:
        nodes = ast.walk(ast.parse(file.read_text()))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
        assert not methods & {text for text in texts if isinstance(text, str)}


@pytest.mark.parametrize("arguments", [["-c", "import harmbench"], ["-m", "harmbench", "--help"]])
def test_the_command_line_starts_without_heavy_libraries(arguments: list[str]) -> None:
    heavy = ("torch", "diffusers", "nibabel", "pandas", "matplotlib", "ants", "numba")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "harmbench" in loaded
    assert not loaded & set(heavy)


def test_antspyx_comes_by_its_one_door() -> None:
    # Whoever computes with ITK first sets the number of threads for the whole process.
    def imports(path: Path) -> set[str]:
        tree = ast.walk(ast.parse(path.read_text()))
        return {a.name for node in tree if isinstance(node, ast.Import) for a in node.names}

    importing = [path for path in SOURCES + METHODS if "ants" in imports(path)]
    assert importing == [ROOT / "harmbench" / "external" / "antspy.py"]
