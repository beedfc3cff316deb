"""Imports point down only; methods see the contract and nothing above it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from harmbench.discovery import available_methods

ROOT = Path(__file__).parents[1]

# From the bottom up. A module may import its own layer and those below.
LAYERS = (
    {"__init__", "errors", "notes"},
    {
        "antspy",
        "field_strength",
        "filetypes",
        "fsl",
        "geometry",
        "guard",
        "places",
        "plain_yaml",
        "programs",
    }
    | {"settings", "storage", "syntax", "textfiles"},
    {"imagefile"},
    {"code_keys", "file_names", "volume"},
    {"sidecars"},
    {"method", "samples", "slices", "training"},
    {"cohorts", "configs", "folds", "metrics", "preparation", "results", "segmentation"},
    {"config", "runs"},
    {"bench", "console", "leftovers", "meter", "progress", "provenance", "scoring", "statistics"},
    {"bookkeeping", "cell", "cell_scores", "executors", "models"},
    {"planning"},
    {"apply", "contract", "doctor", "grid", "outside", "prepare", "qc", "report", "rescoring"}
    | {"scaffold"},
    {"cli"},
    {"__main__"},
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FOR_METHODS = {"errors", "settings", "storage", "volume", "method", "samples", "slices", "training"}

SOURCES = sorted((ROOT / "harmbench").rglob("*.py"))
METHODS = sorted((ROOT / "methods").rglob("*.py"))


def _imported(path: Path) -> set[str]:
    """Top-level modules of harmbench that a file imports, such as `volume`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert all(alias.name != "*" for alias in node.names), f"{path}: star import"
            names = [node.module or ""]
            if node.module == "harmbench":
                names = [f"harmbench.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "harmbench" and rest:
                found.add(rest.partition(".")[0])
    return found - {"__version__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(ROOT / "harmbench").parts[0].removesuffix(".py")
    assert own in RANK, f"say in LAYERS where {own} belongs"
    too_high = {name for name in _imported(path) if RANK.get(name, len(LAYERS)) > RANK[own]}
    assert not too_high


@pytest.mark.parametrize("path", METHODS, ids=lambda p: str(p.relative_to(ROOT)))
def test_methods_see_the_contract_only(path: Path) -> None:
    own = {"methods"}
    assert _imported(path) - own <= FOR_METHODS


@pytest.mark.parametrize(
    "name", ["bench.py", "cell.py", "grid.py", "scoring.py", "executors", "planning"]
)
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


@pytest.mark.parametrize("path", [*SOURCES, *METHODS], ids=lambda p: str(p.relative_to(ROOT)))
def test_antspyx_comes_by_its_one_door(path: Path) -> None:
    # Whoever computes with ITK first sets the number of threads for the whole process.
    own = path == ROOT / "harmbench" / "antspy.py"
    tree = ast.walk(ast.parse(path.read_text()))
    names = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    assert ("ants" in names) == own
