"""The picture of the architecture is true to the code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import ModuleType

import pytest
from documentation import ROOT

SCRIPT = ROOT / "docs" / "architecture_picture.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architecture_picture", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_imports_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_implied_arrows_are_left_out(script: ModuleType) -> None:
    arrows = {("cli", "runner"), ("runner", "base"), ("cli", "base")}
    assert script.reduced(arrows) == {("cli", "runner"), ("runner", "base")}


def test_a_circle_is_an_error(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="circle: cli, runner"):
        script.reduced({("cli", "runner"), ("runner", "cli"), ("runner", "base")})


def test_every_module_has_one_box(script: ModuleType) -> None:
    assert script.box_of("harmbench.runner.cell") == "runner"
    with pytest.raises(ValueError, match="put 'nothing' into one of BOXES"):
        script.box_of("harmbench.nothing.here")


def test_the_picture_names_every_box(script: ModuleType) -> None:
    drawn = script.picture({("cli", "base")})
    assert "    cli --> base" in drawn
    assert all(f'    {box}["' in drawn for box in script.BOXES)
