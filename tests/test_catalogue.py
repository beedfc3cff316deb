"""What is read from the source of methods is what the imported classes say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harmbench.catalogue import InstalledMethod, describe_installed, source_file
from harmbench.discovery import available_methods, load_method, usable_methods

BASE = """
from harmbench import Method

class Base(Method):
    title = "Base " + str(1)
    reference = "A and B, 2020. "
    reference = "A and B, " "2021."

    def harmonize(self, source, task):
        return source
"""

MODULES = {
    "lab.__init__": "raise ImportError('imported')\n",
    "lab.methods.__init__": "from .one import One\nfrom lab.methods.base import Base as Renamed\n",
    "lab.methods.base": BASE,
    "lab.methods.one": """
from . import base
from .base import Base
from typing import ClassVar

class One(Base):
    title: ClassVar[str] = "One"
    default_parameters = {"network": 1_000}

class Counting(Base):
    def parameter_counts(self):
        return {"network": 7}

class Odd(Base):
    default_parameters = {"network": "many"}

class Circular(Circular):
    pass
""",
    "lab.methods.broken": "class Broken(:\n",
}


def _by_name() -> dict[str, InstalledMethod]:
    return {method.name: method for method in describe_installed()}


@pytest.mark.parametrize("name", sorted(usable_methods()))
def test_a_built_in_method_is_described_as_it_is(name: str) -> None:
    kind = load_method(name)
    described = _by_name()[name]
    assert described == InstalledMethod(
        name=name,
        place=available_methods()[name].value,
        title=kind.title,
        reference=kind.reference,
        parameters=dict(kind().parameter_counts()),
    )
    assert described.title
    assert described.reference or name == "identity"


def test_methods_of_other_packages_are_not_imported(install) -> None:
    points = {
        "one": "lab.methods:One",
        "renamed": "lab.methods:Renamed",
        "counting": "lab.methods.one:Counting",
        "odd": "lab.methods.one:Odd",
        "circular": "lab.methods.one:Circular",
        "missing": "lab.methods:Missing",
        "gone": "lab.gone:Gone",
        "broken": "lab.methods.broken:Broken",
    }
    install(MODULES, {f"harmbench.methods:{name}": value for name, value in points.items()})
    found = _by_name()
    assert found["one"].title == "One"
    assert found["one"].reference == "A and B, 2020. "
    assert found["one"].parameters == {"network": 1000}
    assert (found["renamed"].title, found["renamed"].parameters) == ("", {})
    assert found["counting"].parameters is found["odd"].parameters is None
    assert found["circular"].parameters is None
    assert found["missing"].problem == "lab.methods: no such class"
    assert found["gone"].problem == "lab.gone: no such class"
    assert "invalid syntax" in found["broken"].problem
    assert not [name for name in sys.modules if name.partition(".")[0] == "lab"]


def test_source_files(install) -> None:
    place = install(MODULES, {})
    assert source_file("lab.methods.one") == place / "lab/methods/one.py"
    assert source_file("lab.methods") == place / "lab/methods/__init__.py"
    assert source_file("lab.nothing.one") is None
    assert source_file("sys") is None


@pytest.mark.parametrize("command", ["methods", "metrics", "doctor", "--help", "--version"])
def test_quick_commands_import_nothing_heavy(command: str) -> None:
    heavy = {
        "torch",
        "diffusers",
        "nibabel",
        "numpy",
        "scipy",
        "pandas",
        "numba",
        "ants",
        "skimage",
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "harmbench", command],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "harmbench" in loaded
    assert not loaded & heavy
