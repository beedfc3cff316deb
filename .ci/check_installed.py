"""Try an installed harmbench: what it needs beside its modules is there, and a method works."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import harmbench
from harmbench.discovery import usable_methods

EXPECTED = (
    "py.typed",
    "configs/demo.yaml",
    "pages/templates/style.css",
    "report/templates/page.html.j2",
    "preparation/qc/templates/qc.html.j2",
)


def main() -> None:
    """Raise `AssertionError` where something is missing."""
    place = Path(harmbench.__file__).resolve()
    assert place.is_relative_to(Path(sys.prefix).resolve()), place
    names = [name for name in harmbench.__all__ if getattr(harmbench, name, None) is None]
    assert not names, names
    absent = [path for path in EXPECTED if not files("harmbench").joinpath(path).is_file()]
    assert not absent, absent
    harmbench.load_experiment(place.parent / "configs" / "demo.yaml")
    methods = harmbench.available_methods()
    assert len(methods) > 1, methods
    kinds = {name: harmbench.load_method(name) for name in usable_methods()}
    broken = [check for check in harmbench.check_method(kinds["identity"]) if not check.passed]
    assert not broken, broken
    sys.stdout.write(f"{place.parent}: {len(methods)} methods\n")


if __name__ == "__main__":
    main()
