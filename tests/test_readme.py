"""What the README shows works."""

from __future__ import annotations

import re
from pathlib import Path

from harmbench.contract import check_method
from harmbench.discovery import load_method

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_smallest_adapter_holds_the_contract(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "gamma.py").write_text(code)
    checks = check_method(load_method(f"{tmp_path}/gamma.py:Gamma"))
    assert not [check for check in checks if not check.passed]


def test_linked_files_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 3
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


def test_every_command_is_described() -> None:
    from harmbench.cli import app

    names = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    assert len(names) == 15
    table = README[README.index("| command |") :]
    assert not [name for name in names if f"`{name}`" not in table]
