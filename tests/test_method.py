from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import get_args

import pytest
from typing_extensions import get_original_bases

import harmbench.plugins
from harmbench.cli.scaffold import new_method
from harmbench.discovery import available_methods, load_method, method_code, usable_methods
from harmbench.errors import MethodError
from harmbench.method import Method
from harmbench.task import Direction


def test_built_in_methods_are_found() -> None:
    assert {"identity", "histogram_matching", "dm"} <= set(available_methods())
    for name in usable_methods():
        assert issubclass(load_method(name), Method)


@pytest.mark.parametrize("name", sorted(usable_methods()))
def test_type_checkers_and_the_running_code_know_the_same_settings(name: str) -> None:
    kind = load_method(name)
    named = [arg for base in get_original_bases(kind) for arg in get_args(base)]
    assert named == ([] if kind.Config is Method.Config else [kind.Config])
    assert type(kind().config) is kind.Config


def test_unknown_names_show_the_nearest() -> None:
    with pytest.raises(MethodError, match="unknown method 'identiti'; did you mean 'identity'"):
        load_method("identiti")


def test_a_file_beside_the_package(tmp_path: Path) -> None:
    adapter, _, cls = new_method("mine", tmp_path)
    assert load_method(f"{adapter}:{cls}").__name__ == "Mine"
    assert load_method(f"{adapter}:{cls}") is load_method(f"{adapter}:{cls}")
    with pytest.raises(MethodError, match="no method 'Min'; did you mean 'Mine'"):
        load_method(f"{adapter}:Min")
    (tmp_path / "half.py").write_text(
        "from harmbench.method import Method\n\nclass Half(Method):\n    title = 'Half'\n"
    )
    with pytest.raises(MethodError, match="does not define harmonize"):
        load_method(f"{tmp_path}/half.py:Half")
    (tmp_path / "none_at_all.py").write_text("from harmbench.method import Method\n")
    with pytest.raises(MethodError, match="defines no subclass of"):
        load_method(f"{tmp_path}/none_at_all.py:Method")
    with pytest.raises(MethodError, match="no such file"):
        load_method(f"{tmp_path}/none.py:Mine")
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(MethodError, match=r"importing .*broken\.py failed: No module named"):
        load_method(f"{tmp_path}/broken.py:Mine")


def test_entry_points_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "gone": EntryPoint("gone", "harmbench.nothing:X", "harmbench.methods"),
        "odd": EntryPoint("odd", "harmbench.errors:suggest", "harmbench.methods"),
        "contract": EntryPoint("contract", "harmbench.method:Method", "harmbench.methods"),
    }
    monkeypatch.setattr(
        harmbench.plugins, "entry_points", lambda *, group: EntryPoints(points.values())
    )
    for name, message in (
        ("gone", "cannot be imported"),
        ("odd", "not a subclass"),
        ("contract", "not a subclass"),
    ):
        with pytest.raises(MethodError, match=message):
            load_method(name)


def test_code_of_a_method_counts_what_it_shares(tmp_path: Path) -> None:
    adapter, _, cls = new_method("mine", tmp_path)
    load_method(f"{adapter}:{cls}")
    alone = method_code(f"{adapter}:{cls}")
    adapter.write_text(adapter.read_text() + "\nimport harmbench.slices\n")
    shared = method_code(f"{adapter}:{cls}")
    assert alone != shared
    assert method_code("dm") != method_code("identity")


def test_directions() -> None:
    way = Direction("3T", "1.5T")
    assert str(way) == "3T-to-1.5T"
    assert way.reverse.reverse == way
