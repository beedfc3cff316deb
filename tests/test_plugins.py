"""References to methods and segmenters, and how packages and files offer them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harmbench.discovery import load_method
from harmbench.errors import MethodError
from harmbench.plugins import METHODS, Reference

METHOD = """
from harmbench.method import Method


class Half(Method):
    title = "Half"

    def harmonize(self, source, task):
        return source.with_data(source.data / 2)
"""


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("dm", Reference("dm")),
        ("my.py:Mine", Reference("Mine", Path("my.py"))),
        ("/a/b.py:Mine", Reference("Mine", Path("/a/b.py"))),
        ("C:/a/b.py:Mine", Reference("Mine", Path("C:/a/b.py"))),
        ("my.py:", Reference("", Path("my.py"))),
        ("no:file", Reference("no:file")),
        ("my.py", Reference("my.py")),
        ("", Reference("")),
    ],
)
def test_what_users_write_is_parsed_once(text: str, reference: Reference) -> None:
    assert Reference.parse(text) == reference
    assert str(reference) == text


def test_references_in_files_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Reference.parse("a/my.py:Mine")
    assert str(relative.absolute()) == f"{(tmp_path / 'a/my.py').resolve()}:Mine"
    assert relative.absolute().absolute() == relative.absolute()
    assert str(relative.absolute().without_folder()) == "my.py:Mine"
    home = Reference.parse("~/my.py:Mine").absolute()
    assert str(home) == f"{Path('~/my.py').expanduser().resolve()}:Mine"
    name = Reference("dm")
    assert name.absolute() is name.without_folder() is name


def test_a_package_offers_a_method(install) -> None:
    install({"half_method": METHOD}, {"harmbench.methods:half": "half_method:Half"})
    assert {"half", "dm"} <= set(METHODS.installed())
    assert load_method("half").title == "Half"
    assert load_method(Reference("half")) is load_method("half")
    with pytest.raises(MethodError, match="unknown method 'halve'; did you mean 'half'"):
        load_method("halve")


def test_a_package_that_is_installed_or_removed_meanwhile_is_noticed(install) -> None:
    place = install({"half_method": METHOD}, {"harmbench.methods:half": "half_method:Half"})
    assert "half" in METHODS.installed()
    later = place / "later-1.0.dist-info"
    later.mkdir()
    (later / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 1.0\n")
    (later / "entry_points.txt").write_text("[harmbench.methods]\nthird = half_method:Half\n")
    assert {"half", "third"} <= set(METHODS.installed())
    later.rename(place / "later-1.0.removed")
    assert "third" not in METHODS.installed()


def test_a_file_is_one_module_whatever_its_path_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half.py").write_text(METHOD)
    monkeypatch.chdir(tmp_path)
    found = load_method("half.py:Half")
    assert load_method(f"{tmp_path}{os.sep}half.py:Half") is found
    reference = Reference.parse("half.py:Half")
    assert METHODS.module(reference) == METHODS.module(reference.absolute()) == found.__module__
