"""What README and quick start say is complete; `test_documentation` runs what they show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from documentation import PAGES, ROOT, blocks

from harmbench.cli import app
from harmbench.contract import check_method
from harmbench.discovery import available_methods, load_method

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_smallest_adapter_holds_the_contract(tmp_path: Path) -> None:
    (block,) = [block for block in blocks(ROOT / "README.md") if block.language == "python"]
    (tmp_path / "gamma.py").write_text(block.text)
    checks = check_method(load_method(f"{tmp_path}/gamma.py:Gamma"))
    assert not [check for check in checks if not check.passed]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_linked_files_are_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_links_into_the_repository_lead_somewhere() -> None:
    place = r"https://github\.com/harmbench/harmbench/(?:blob|tree)/main/([^)#\s]+)"
    found = [path for page in PAGES for path in re.findall(place, page.read_text(encoding="utf-8"))]
    assert found
    assert not [path for path in found if not (ROOT / path).exists()]


def test_every_command_is_described() -> None:
    names = {
        (c.name or c.callback.__name__).replace("_", "-")
        for c in app.registered_commands
        if c.callback
    }
    assert len(names) == 22
    start = (ROOT / "docs" / "quick-start.md").read_text(encoding="utf-8")
    table = start[start.index("| command |") :]
    assert not [name for name in names if f"`{name}`" not in table]


def test_every_method_is_described() -> None:
    named = set(re.findall(r"`(\w+)`", README[README.index("| method |") :]))
    assert set(available_methods()) <= named


def test_parameter_counts_are_those_of_the_methods() -> None:
    rows: dict[str, Any] = {}
    for line in README.splitlines():
        found = re.match(r"\| \[`(\w+)`\].*\| ([\d,+ ]+) \|$", line)
        if found:
            rows[found[1]] = [int(n.replace(",", "")) for n in found[2].split(" + ")]
    assert set(rows) >= {"dm", "pgan", "deepharmony", "unet"}
    for name, counts in rows.items():
        assert sorted(load_method(name)().parameter_counts().values()) == sorted(counts), name
