"""The page on the tests says how many there are."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from documentation import ROOT

SUITE = """
import pytest
from hypothesis import given, strategies

@given(strategies.integers())
def test_any_number(number): ...

@pytest.mark.parametrize("side", ["left", "right"])
def test_sides(side): ...

def helper(): ...
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "docs" / "suite_statistics.py"
    spec = importlib.util.spec_from_file_location("suite_statistics", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_true_within_a_fifth(script: ModuleType) -> None:
    assert script.problems(script.PAGE.read_text(encoding="utf-8"), script.functions()) == []


def test_functions_are_counted_by_folder_and_kind(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "test_some.py").write_text(SUITE)
    (tmp_path / "test_top.py").write_text("def test_one(): ...\n")
    found = list(script.functions(tmp_path))
    assert [one.folder for one in found] == ["metrics", "metrics", "."]
    text = script.page(found, {"metrics": 3, ".": 1}, "")
    assert "| `tests/metrics` | 2 | 3 |" in text
    assert "| all | 3 | 4 |" in text
    assert "| property-based, by hypothesis | 1 |" in text
    assert script.said(text) == {".": 1, "metrics": 2}
    assert script.problems(text, found) == []
    assert script.problems(text, [*found, *found[:2]]) == []
    assert script.problems(text, found * 3) == ["tests/metrics: has 6 tests, the page says 2"]


def test_coverage_and_time_are_read_from_the_reports(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "COVERAGE", tmp_path / "coverage.json")
    monkeypatch.setattr(script, "TIMES", tmp_path / "tests.xml")
    assert script.measured() == ""
    summaries = {
        "harmbench/runner/cell.py": {"num_statements": 60, "covered_lines": 54},
        "harmbench/runner/stages/fit.py": {"num_statements": 40, "covered_lines": 40},
        "harmbench/volume.py": {"num_statements": 100, "covered_lines": 95},
    }
    files = {name: {"summary": summary} for name, summary in summaries.items()}
    script.COVERAGE.write_text(json.dumps({"files": files}))
    script.TIMES.write_text('<suites><testcase time="61.5"/><testcase time="58.5"/></suites>')
    text = script.measured()
    assert "the tests take 2 minutes with coverage" in text
    assert "| `harmbench` | 100 | 95.0 % |" in text
    assert "| `harmbench/runner` | 100 | 94.0 % |" in text
    assert "| all | 200 | 94.5 % |" in text
