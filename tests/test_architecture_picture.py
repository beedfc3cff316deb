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


def test_the_picture_shows_the_imports_of_the_code() -> None:
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


def test_what_is_to_be_drawn_names_every_box(script: ModuleType) -> None:
    source = script.dot_source({("cli", "base")})
    assert "    cli -> base" in source
    assert all(f"    {box} [label=<<b>{box}</b>" in source for box in script.BOXES)


def test_a_picture_that_differs_from_the_code_is_noticed(script: ModuleType) -> None:
    svg = script.PICTURE.read_text(encoding="utf-8")
    boxes, arrows = script.shown(svg)
    assert set(boxes) == set(script.BOXES)
    assert boxes["runner"] == ("runner", "planning")
    assert script.problems(svg, arrows) == []
    assert script.problems(svg, arrows - {("volume", "base")}) == [
        "arrow volume -> base is not in the code"
    ]
    assert script.problems(svg, arrows | {("cli", "base")}) == ["arrow cli -> base is not drawn"]
    (renamed,) = script.problems(svg.replace(">planning<", ">plans<"), arrows)
    assert renamed.startswith("box runner has ('runner', 'plans'), expected")


def test_the_picture_has_a_background_and_needs_nothing_else(script: ModuleType) -> None:
    svg = script.PICTURE.read_text(encoding="utf-8")
    assert 'fill="white"' in svg
    assert "<script" not in svg
    assert "href" not in svg
