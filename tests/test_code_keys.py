"""Which edits of the code make which results stale: tried on a copy of the source tree."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harmbench.code_keys import LEFT_OUT, STAGES, own_code, running_tree, stage_code
from harmbench.syntax import SourceTree

ROOT = Path(__file__).parents[1]
LIBRARY = {"nyul", "whitestripe"}
NETWORKS = {"unet", "deepharmony", "pgan", "dm", "flow", "unet3d"}
METHODS = ("identity", "histogram_matching", *sorted(LIBRARY | NETWORKS))
EVERY_STAGE = {"read", "harmonize", "segment", "score", "fast", "hmrf", "atropos"}
EVERYTHING = {*EVERY_STAGE, *METHODS}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> SourceTree:
    place = tmp_path_factory.mktemp("copy")
    for name in ("harmbench", "methods"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    return SourceTree({"harmbench": place / "harmbench", "harmbench.methods": place / "methods"})


@pytest.fixture(scope="module")
def before(tree: SourceTree) -> dict[str, str]:
    return _keys(tree)


def _keys(tree: SourceTree) -> dict[str, str]:
    keys = {stage: stage_code(stage, tree) for stage in STAGES if stage != "prepare"}
    keys |= {m: own_code(f"harmbench.methods.{m}", tree) for m in METHODS}
    return keys | {
        name: own_code(f"harmbench.segmentation.{name}", tree)
        for name in ("fast", "hmrf", "atropos")
    }


@pytest.fixture
def edit(tree: SourceTree, before: dict[str, str]) -> Iterator[Callable[..., set[str]]]:
    """Change a module of the copy; returns the stages of a run that became stale."""
    changed: dict[Path, str] = {}

    def change(module: str, added: str, function: str | None = None) -> set[str]:
        path = tree.file(f"harmbench.{module}")
        assert path is not None, module
        text = changed.setdefault(path, path.read_text())
        path.write_text(text + added if function is None else _inserted(text, added, function))
        after = _keys(tree)
        return {name for name in after if after[name] != before[name]}

    yield change
    for path, text in changed.items():
        path.write_text(text)


def _inserted(text: str, added: str, function: str) -> str:
    """Put a statement in front of a function's last one."""
    found = [n for n in ast.walk(ast.parse(text)) if getattr(n, "name", "") == function]
    assert isinstance(found[0], ast.FunctionDef)
    last = found[0].body[-1]
    lines = text.splitlines(keepends=True)
    lines.insert(last.lineno - 1, f"{' ' * last.col_offset}{added}\n")
    return "".join(lines)


@pytest.mark.parametrize(
    ("module", "function", "stale"),
    [
        # Finishing and scoring a volume stand in one file.
        ("runner.scoring", "finish_volume", {"harmonize"}),
        ("segmentation.stored", "segment_to_file", {"segment"}),
        ("runner.scoring", "score_rows", {"score"}),
        # How a scan is read and rescaled, directly and through others.
        ("cohorts.base", "rescale_volume", {"read"}),
        ("cohorts.base", "load_scan", {"read"}),
        ("cohorts.base", "masked_and_scaled", {"read"}),
        ("volume", "read", {"read", "score", "segment", "fast"}),
        ("volume", "write", {"harmonize", "segment", "fast"}),
        ("arrays", "foreground", {"harmonize", *NETWORKS}),
        ("arrays", "mean_and_sd", {"dm"}),
        ("arrays", "bounding_box", {"score", "hmrf", "atropos", "unet3d"}),
        ("metrics.arrays", "select", {"score"}),
        ("methods.dm.diffusion", "__init__", {"dm"}),
        ("methods.identity", "harmonize", {"identity"}),
        ("methods._normalization.volumes", "finished", LIBRARY),
        ("methods._regression.unet", "plain_unet", {"unet", "flow"}),
        # Nothing that makes a result.
        ("cohorts.validation", "validate", set()),
        ("cohorts.validation", "_check_subject", set()),
        ("files.names", "image_name", set()),
        ("discovery", "load_method", set()),
        ("segmentation.discovery", "make_segmenter", set()),
    ],
)
def test_edits_of_a_function(edit, module: str, function: str, stale: set[str]) -> None:
    assert edit(module, "_edited = 1", function) == stale


@pytest.mark.parametrize(
    "module", ["preparation.strippers", "preparation.strip", "preparation.grid", "cohorts.base"]
)
def test_code_that_prepares(edit, tree: SourceTree, module: str) -> None:
    before = stage_code("prepare", tree)
    edit(module, "\n\n_ADDED = 1\n")
    assert stage_code("prepare", tree) != before


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        ("runner.scoring", {"harmonize", "score"}),
        ("metrics.image", {"score"}),
        ("metrics.ssim", {"score"}),
        ("metrics.windows", {"score"}),
        ("metrics.structure", {"score"}),
        ("metrics.overlap", {"score"}),
        ("metrics.nearest", {"score"}),
        ("metrics.histogram", {"score"}),
        ("metrics.suite", {"score"}),
        ("metrics.declarations", {"score", "correct"}),
        ("segmentation.base", {"segment", "score", "correct", "fast", "hmrf", "atropos"}),
        ("segmentation.fast", {"fast"}),
        ("segmentation.atropos", {"atropos"}),
        ("segmentation.hmrf.kernels", {"hmrf"}),
        ("segmentation.hmrf.partial", {"hmrf"}),
        ("external.fsl", {"fast"}),
        ("slices", NETWORKS),
        ("training.networks", NETWORKS),
        ("training.team", NETWORKS),
        ("training.batches", NETWORKS),
        ("training.saved", NETWORKS),
        ("methods.pgan.losses", {"pgan"}),
        ("methods.unet3d.patches", {"unet3d"}),
        ("method", {*METHODS}),
        ("external.antspy", {"atropos"}),
        ("segmentation.stored", {"segment"}),
        ("segmentation.result", {"segment", "score"}),
        ("volume", EVERYTHING),
    ],
)
def test_a_constant_at_the_end_of_a_module(edit, module: str, stale: set[str]) -> None:
    assert edit(module, "\n\n_ADDED = 1\n") == stale


@pytest.mark.parametrize(
    "module",
    [
        *("cli.console", "cli.doctor", "cli.scaffold", "progress", "report.page", "pages.style"),
        *("runner.records", "runner.run_record", "runner.cell_record", "runner.checks"),
        *("runner.stages.fit", "runner.stages.harmonize", "runner.stages.score", "runner.grid"),
        *("runner.inputs", "runner.invocations", "runner.real_scans", "runner.context"),
        *("runner.experiment", "runner.cell", "runner.rescore", "meter"),
        *("runner.provenance", "cohorts.bids", "cohorts.manifest", "discovery"),
        *("catalogue", "plugins", "segmentation.discovery"),
        *(
            "preparation.strip",
            "trained.card",
            "trained.scans",
            "cli.running",
            "config",
            "statistics.summaries",
        ),
        *(name.removeprefix("harmbench.") for name in LEFT_OUT if name != "harmbench.notes"),
    ],
)
def test_modules_that_cannot_change_a_result(edit, module: str) -> None:
    assert edit(module, "\n\n_ADDED = 1\n\n\ndef added():\n    return 1\n") == set()


@pytest.mark.parametrize(
    "module", ["runner.scoring", "volume", "slices", "methods.dm.train", "method"]
)
def test_comments_documentation_and_lists_of_names_do_not_count(edit, module: str) -> None:
    added = '\n# harmbench.metrics and harmbench.slices\n"""Uses harmbench.training."""\n'
    assert edit(module, added + '__all__ = ["x"]\n') == set()


def _uses(folder: Path, text: str, name: str = "mine") -> str:
    """Key of a file with this text, beside a small package of its own."""
    for file, content in {"mine.py": text, "helper.py": "LEVEL = 1\n"}.items():
        (folder / file).write_text(content)
    tree = running_tree()
    return own_code(name, SourceTree({**tree.roots, "mine": folder / "mine.py"}, beside=folder))


@pytest.mark.parametrize(
    "form",
    ["from harmbench import Volume\nX = Volume\n", "import harmbench as h\nX = h.Volume\n"],
)
def test_names_of_the_public_api_are_followed(tmp_path: Path, tree: SourceTree, form: str) -> None:
    (tmp_path / "mine.py").write_text(form)
    mine = SourceTree({**tree.roots, "mine": tmp_path / "mine.py"})
    before = own_code("mine", mine)
    for module, changes in (("harmbench.volume", True), ("harmbench.runner.cell", False)):
        path = tree.file(module)
        assert path is not None
        text = path.read_text()
        try:
            path.write_text(text + "\n\n_ADDED = 1\n")
            assert (own_code("mine", mine) != before) == changes
        finally:
            path.write_text(text)


@pytest.mark.parametrize(
    "form",
    [
        "from harmbench import arrays\nX = arrays.foreground\n",
        "import harmbench.arrays\nX = harmbench.arrays.foreground\n",
        "import harmbench.arrays as s\nX = s.foreground\n",
        "from harmbench.arrays import foreground\nX = foreground\n",
        "from harmbench.arrays import foreground as f\nX = f\n",
        "from harmbench.arrays import *\n",
        "import harmbench.arrays\n",
        "def f():\n    from harmbench.arrays import foreground\n    return foreground\n",
        "def f():\n    import harmbench.arrays as s\n    return s.foreground\n",
        "from importlib import import_module\nX = import_module('harmbench.arrays').foreground\n",
        "import harmbench\nX = harmbench.arrays.foreground\n",
        "try:\n    from harmbench.arrays import foreground\nexcept ImportError:\n    pass\n",
    ],
)
def test_every_form_of_import_is_followed(tmp_path: Path, tree: SourceTree, form: str) -> None:
    (tmp_path / "mine.py").write_text(form)
    mine = SourceTree({**tree.roots, "mine": tmp_path / "mine.py"})
    before = own_code("mine", mine)
    path = tree.file("harmbench.arrays")
    assert path is not None
    text = path.read_text()
    assert "def foreground(" in text
    try:
        path.write_text(text + "\n\n_ADDED = 1\n")
        assert own_code("mine", mine) != before
    finally:
        path.write_text(text)


def test_a_name_in_a_text_is_not_an_import(tmp_path: Path, tree: SourceTree) -> None:
    (tmp_path / "mine.py").write_text('"""As harmbench.arrays."""\n# harmbench.arrays\nX = 1\n')
    mine = SourceTree({**tree.roots, "mine": tmp_path / "mine.py"})
    before = own_code("mine", mine)
    path = tree.file("harmbench.arrays")
    assert path is not None
    text = path.read_text()
    path.write_text(text + "\n\n_ADDED = 1\n")
    try:
        assert own_code("mine", mine) == before
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    "how", ["from .inner import level", "from . import inner", "import other.inner"]
)
def test_a_package_from_elsewhere_counts_with_what_it_imports(tmp_path: Path, how: str) -> None:
    package = tmp_path / "other"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text(f"{how}\n")
    (package / "inner.py").write_text("def level():\n    return 1\n")
    (package / "unused.py").write_text("this is no Python\n")
    tree = SourceTree({"other": package})
    before = own_code("other.method", tree), own_code("other", tree)
    (package / "inner.py").write_text("def level():\n    return 2\n")
    after = own_code("other.method", tree), own_code("other", tree)
    assert before[0] != after[0]
    assert before[1] != after[1]
    (package / "unused.py").write_text("this is none either\n")
    assert own_code("other.method", tree) == after[0]
    assert own_code("other", tree) != after[1]


def test_modules_beside_a_file_count(tmp_path: Path) -> None:
    text = "from helper import LEVEL\n\nX = LEVEL\n"
    before = _uses(tmp_path, text)
    (tmp_path / "helper.py").write_text("LEVEL = 12\n")
    tree = SourceTree({"mine": tmp_path / "mine.py"}, beside=tmp_path)
    assert own_code("mine", tree) != before


def test_a_file_keeps_its_key_where_it_goes(tmp_path: Path) -> None:
    keys = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text("X = 1\n")
        keys.add(own_code(f"file_{name}", SourceTree({f"file_{name}": tmp_path / name / "m.py"})))
    assert len(keys) == 1


def test_left_out_modules_exist_and_say_why() -> None:
    tree = running_tree()
    for name, reason in LEFT_OUT.items():
        assert reason
        if name != "harmbench.notes":
            assert tree.file(name) is not None, name
