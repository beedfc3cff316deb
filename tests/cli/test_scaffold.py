"""What `harmbench new-method` writes is typed, and keeps the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harmbench.cli.scaffold import new_method
from harmbench.contract import check_method
from harmbench.discovery import load_method
from harmbench.errors import MethodError

ROOT = Path(__file__).parents[2]


def _type_check(*files: Path) -> subprocess.CompletedProcess[str]:
    # The cache is kept, since harmbench itself has to be read: half a minute the first time.
    cache = ROOT / "build" / "mypy-scaffold"
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(cache)]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        cwd=files[0].parent,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        timeout=250,
    )


@pytest.mark.parametrize(("volumes", "setting"), [(False, "degree"), (True, "share")])
def test_it_passes_the_strict_type_check(tmp_path: Path, volumes: bool, setting: str) -> None:
    adapter, test, _ = new_method("my_method", tmp_path, volumes=volumes)
    done = _type_check(adapter, test)
    assert done.returncode == 0, done.stdout + done.stderr
    # A wrong name is found: the type of the settings is known.
    wrong = adapter.read_text().replace(f"self.config.{setting}", f"self.config.{setting}s")
    adapter.write_text(wrong)
    assert f'MyMethodSettings" has no attribute "{setting}s"' in _type_check(adapter).stdout


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    adapter, _, cls = new_method("my_method", tmp_path)
    checks = check_method(load_method(f"{adapter}:{cls}"))
    assert [check.name for check in checks if not check.passed] == []


@pytest.mark.parametrize("name", ["Not-A-Name", "Upper", "class", ""])
def test_a_name_is_a_lower_case_identifier(tmp_path: Path, name: str) -> None:
    with pytest.raises(MethodError, match="lower-case Python name"):
        new_method(name, tmp_path)
