"""What README, CONTRIBUTING and docs/ show works.

Python blocks run as they stand, one namespace for each page, on a tiny cohort called `scans.csv`. So do
shell blocks after the mark `<!-- run -->`. All other commands are read by the real command line: options,
methods and settings must exist.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from documentation import PAGES, ROOT, Block, blocks, commands, spans
from typer.core import TyperGroup

import harmbench
from harmbench.cli import app
from harmbench.cli.options import config_path
from harmbench.config import load_experiment, load_preparation
from harmbench.contract import tiny_pairs
from harmbench.discovery import available_methods
from harmbench.segmentation import make_segmenter
from harmbench.volume import write

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib")

Call = Callable[..., tuple[int, str, str]]

DOCS = ROOT / "docs"
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FILES = {"3T": "skyra.nii.gz", "1.5T": "avanto.nii.gz"}
USAGE_ERROR = typer.BadParameter.__bases__[0]
ELSEWHERE = {".", "cd", "git", "nox", "pip", "pre-commit"}
"""Programs that are not this project's."""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thresholds: object) -> Path:
    """A folder with the scans that the pages speak of; `auto` is a segmenter for tiny volumes."""
    lines = ["subject,group,session,path"]
    for number, pair in enumerate(tiny_pairs(4), start=1):
        for session, volume in (("1.5T", pair.target), ("3T", pair.source)):
            path = f"sub-{number:02}/{FILES[session]}"
            write(volume, tmp_path / path)
            lines.append(f"{number:02},{pair.group},{session},{path}")
    (tmp_path / "scans.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(sys.modules[make_segmenter.__module__], "AUTO", ("thresholds",))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_run(
    page: Path,
    desk: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    few_figures: None,
) -> None:
    namespace: dict[str, Any] = {"__name__": f"page_{page.stem}"}
    monkeypatch.setitem(sys.modules, "my_method", None)
    del sys.modules["my_method"]
    for block in blocks(page):
        if block.language == "python":
            _run_python(page, block, namespace)
        elif block.language == "sh" and block.mark == "run":
            for words in commands(block):
                assert words[0] == "harmbench", "only harmbench's own commands are run"
                code, _, err = call(*words[1:])
                assert code == 0, f"{shlex.join(words)}\n{err}"


def _run_python(page: Path, block: Block, namespace: dict[str, Any]) -> None:
    """Run a block, and the tests that it defines."""
    code = "\n" * (block.line - 1) + block.text
    before = set(namespace)
    exec(compile(code, str(page), "exec"), namespace)
    for name in set(namespace) - before:
        if name.startswith("test_"):
            namespace[name]()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page: Path) -> None:
    found = [words for block in blocks(page) if block.language == "sh" for words in commands(block)]
    found += [shlex.split(span) for span in spans(page) if span.startswith(("harmbench ", "make "))]
    for words in found:
        if "COMMAND" not in words:
            _check_command(words)


def _check_command(words: list[str]) -> None:
    program, *arguments = words
    if program == "harmbench" and len(arguments) == 1 and not arguments[0].startswith("-"):
        assert arguments[0] in _group().commands, words
    elif program == "harmbench":
        _check_arguments(arguments)
    elif program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert set(arguments) <= set(targets), words
    elif program == "python":
        files = arguments[2:] if arguments[:2] == ["-m", "pytest"] else arguments[:1]
        assert all((ROOT / file).exists() for file in files), words
    else:
        assert program in ELSEWHERE, words


def _group() -> TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def _check_arguments(arguments: list[str]) -> None:
    """Read the arguments of harmbench with its own parser; nothing is done."""
    group = _group()
    try:
        parent = group.make_context("harmbench", list(arguments))
        name, command, rest = group.resolve_command(parent, arguments)
        assert command is not None
        given = command.make_context(name, rest, parent=parent).params
    except typer.Exit as ended:
        assert ended.exit_code == 0  # --help and --version
        return
    overrides, config = given.get("overrides") or (), given.get("config")
    if name == "prepare":
        load_preparation(config, overrides)
    elif name != "check-method":
        load_experiment(config_path(config), overrides)
    methods = given.get("method") or ()
    for method in [methods] if isinstance(methods, str) else methods:
        assert ":" in method or method in {"all", *available_methods()}, arguments


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_exist(page: Path) -> None:
    parameters = [p for command in _group().commands.values() for p in command.params]
    known = {
        option
        for parameter in parameters
        for option in (*parameter.opts, *parameter.secondary_opts)
    } | {
        "--help",
        "--debug",
    }
    named = {span.split()[0] for span in spans(page) if re.match(r"--[a-z]", span)}
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_marks_and_other_blocks_are_understood(page: Path) -> None:
    for block in blocks(page):
        assert block.mark in {"", "run"}
        assert block.language in {"", "csv", "python", "sh", "toml", "yaml"}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_configurations_load(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            path = tmp_path / "experiment.yaml"
            path.write_text(block.text)
            load_experiment(path)
        if block.language == "toml":
            tomllib.loads(block.text)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r": ([\w/-]+\.md)$", navigation, flags=re.MULTILINE)
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_the_reference_has_every_public_name() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: harmbench\.(\w+)$", text, flags=re.MULTILINE)
    assert sorted(named) == sorted(set(harmbench.__all__) - {"__version__"})


def test_a_wrong_command_is_noticed() -> None:
    good = "harmbench run --data scans.csv --method dm --set folds.k=2"
    _check_command(good.split())
    for wrong in (
        "harmbench rum",
        "harmbench run --dada scans.csv",
        "harmbench run --method dn",
        "harmbench run --set fold.k=2",
        "make coffee",
        "python -m pytest tests/nothing",
        "conda install harmbench",
    ):
        with pytest.raises((AssertionError, USAGE_ERROR, harmbench.HarmbenchError)):
            _check_command(wrong.split())


def test_commands_are_split_as_a_shell_does() -> None:
    (block,) = [Block("sh", "", "A=1 harmbench run \\\n  --out 'a b'  # comment\n\n", 1)]
    assert list(commands(block)) == [["harmbench", "run", "--out", "a b"]]
