"""Public names stand in `__all__`, and nothing else does."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil

import pytest

import harmbench
import harmbench.methods


def _modules() -> list[str]:
    found = []
    for package in (harmbench, harmbench.methods):
        found += [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return sorted({name for name in found if not name.endswith("__main__")})


@pytest.mark.parametrize("name", _modules())
def test_all_lists_what_the_module_defines(name: str) -> None:
    module = importlib.import_module(name)
    public = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
    }
    listed = set(getattr(module, "__all__", ()))
    assert public <= listed, f"not in __all__: {sorted(public - listed)}"
    assert all(hasattr(module, key) for key in listed)


def test_modules_are_found() -> None:
    assert {"harmbench.volume", "harmbench.methods.identity"} <= set(_modules())


def test_the_public_api_is_there_by_name() -> None:
    listed = [name for name in harmbench.__all__ if name != "__version__"]
    assert sorted(harmbench._MODULES) == sorted(listed) == listed
    for name in listed:
        place = importlib.import_module(f"harmbench.{harmbench._MODULES[name]}")
        assert getattr(harmbench, name) is getattr(place, name)
    assert set(harmbench.__all__) <= set(dir(harmbench))
    with pytest.raises(AttributeError, match="module 'harmbench' has no attribute 'nothing'"):
        _ = harmbench.nothing


def test_type_checkers_see_the_public_api() -> None:
    tree = ast.parse(inspect.getsource(harmbench))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    places = {
        alias.name: (node.module or "").removeprefix("harmbench.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert places == harmbench._MODULES
