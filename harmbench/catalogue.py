"""What installed methods say of themselves, read from their source: nothing is imported.

Importing a method may take seconds, since most import torch. Its title, its reference and its number
of parameters are literals in the class (see `harmbench.method.Method`), and these are read from the
syntax tree. What is not written as a literal is not known here.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

from harmbench.plugins import METHODS, VOLUME_CORRECTIONS
from harmbench.syntax import bound_by_import

__all__ = ["InstalledMethod", "describe_installed", "source_file"]

_CONTRACTS = (
    ("harmbench.method", "Method"),
    ("harmbench.volume_correction", "VolumeCorrection"),
)
"""Module and name of the classes that every method, and every volume correction, derives from."""

Place = tuple[str, str]
"""A module's dotted name, and the name of a class in it."""


@dataclass(frozen=True, slots=True)
class InstalledMethod:
    """What is known of an installed method without importing it.

    Attributes:
        name: of its entry point.
        place: its class, `MODULE:CLASS`.
        title: for tables and figures; empty where the class has none.
        reference: citation of its source; empty where the class has none.
        parameters: trainable parameters of each network at the default settings, empty for a method
            without any; `None` where the class does not declare them.
        problem: why its class was not found; empty where it was.
        maps: `images`, or `volumes` for a volume correction.
    """

    name: str
    place: str
    title: str = ""
    reference: str = ""
    parameters: Mapping[str, int] | None = None
    problem: str = ""
    maps: Literal["images", "volumes"] = "images"


@dataclass(frozen=True, slots=True)
class _Class:
    """A class in a syntax tree, and the names that its module imports."""

    place: Place
    node: ast.ClassDef
    imported: Mapping[str, str]

    def literal(self, name: str) -> object:
        """Return the value of a class attribute; `None` where there is none that is a literal."""
        targets: list[ast.expr]
        for node in self.node.body:
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            else:
                continue
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return _literal(node.value)
        return None

    def defines(self, name: str) -> bool:
        """Whether the class has a method of this name of its own."""
        return any(isinstance(n, ast.FunctionDef) and n.name == name for n in self.node.body)


def describe_installed() -> list[InstalledMethod]:
    """Describe the installed methods, then the volume corrections, each in the order of their names."""
    corrections = [_described(point) for _, point in sorted(VOLUME_CORRECTIONS.installed().items())]
    return [
        *(_described(point) for _, point in sorted(METHODS.installed().items())),
        *(replace(correction, maps="volumes") for correction in corrections),
    ]


def _described(point: EntryPoint) -> InstalledMethod:
    try:
        classes = list(_with_bases((point.module, point.attr)))
    except (OSError, SyntaxError, ValueError) as error:
        return InstalledMethod(point.name, point.value, problem=str(error))
    if not classes:
        return InstalledMethod(point.name, point.value, problem=f"{point.module}: no such class")
    return InstalledMethod(
        point.name,
        point.value,
        title=_text(classes, "title"),
        reference=_text(classes, "reference"),
        parameters=_parameters(classes),
    )


def _text(classes: list[_Class], name: str) -> str:
    found = (kind.literal(name) for kind in classes)
    return next((text for text in found if isinstance(text, str)), "")


def _parameters(classes: list[_Class]) -> Mapping[str, int] | None:
    for kind in classes:
        if kind.place in _CONTRACTS:
            return {}  # nothing on the way counts parameters
        declared = kind.literal("default_parameters")
        if isinstance(declared, dict):
            return declared if all(isinstance(n, int) for n in declared.values()) else None
        if kind.defines("parameter_counts"):
            return None
    return None


def _with_bases(place: Place) -> Iterator[_Class]:
    """Give a class, and the bases that it and they name first, as far as their source is there."""
    seen = set()
    while place not in seen:
        seen.add(place)
        found = _find(place)
        if found is None:
            return
        yield found
        base = found.node.bases[0] if found.node.bases else None
        name = base.value if isinstance(base, ast.Subscript) else base
        if not isinstance(name, ast.Name):
            return
        place = _target(name.id, found)


def _target(name: str, user: _Class) -> Place:
    module, _, attribute = user.imported.get(name, f"{user.place[0]}.{name}").rpartition(".")
    return module, attribute


def _find(place: Place) -> _Class | None:
    """Return a class, wherever a package that passes it on has it from; `None` where it is not."""
    seen = set()
    while place not in seen:
        seen.add(place)
        module, name = place
        file = source_file(module)
        if file is None:
            return None
        tree = ast.parse(file.read_bytes())
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        imported = {
            bound: target
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for bound, target in bound_by_import(node, package)
        }
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return _Class(place, node, imported)
        if name not in imported:
            return None
        above, _, attribute = imported[name].rpartition(".")
        place = above, attribute
    return None


def source_file(module: str) -> Path | None:
    """Return the source file of a module without importing the packages that it is in.

    `importlib.util.find_spec` would import them.
    """
    names, places, file = module.split("."), None, None
    for count in range(1, len(names) + 1):
        name = ".".join(names[:count])
        finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
        specs = (find(name, places) for find in finders if find is not None)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None:
            return None
        places = spec.submodule_search_locations
        file = spec.origin
    return Path(file) if file is not None and file.endswith(".py") else None


def _literal(node: ast.expr | None) -> object:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None
