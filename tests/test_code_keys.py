"""Which edits of the code make which results stale: tried on a copy of the source tree."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harmbench.code_keys import LEFT_OUT, STAGES, own_code, running_tree, stage_code
from harmbench.syntax import SourceTree

ROOT = Path(__file__).parents[1]
METHODS = ("identity", "histogram_matching", "unet", "deepharmony", "pgan", "dm")
NETWORKS = {"unet", "deepharmony", "pgan", "dm"}
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
    keys = {stage: stage_code(stage, tree) for stage in STAGES}
    keys |= {m: own_code(f"harmbench.methods.{m}", tree) for m in METHODS}
    return keys | {
        name: own_code(f"harmbench.segmentation.{name}", tree)
        for name in ("fast", "hmrf", "atropos")
    }


@pytest.fixture
def edit(tree: SourceTree, before: dict[str, str]) -> Iterator[Callable[..., set[str]]]:
    """Replace a text in a module of the copy, or add one; returns what became stale."""
    changed: dict[Path, str] = {}

    def replace(module: str, old: str, new: str = "") -> set[str]:
        path = tree.file(module)
        assert path is not None, module
        text = changed.setdefault(path, path.read_text())
        assert not new or old in text, f"{module} has no {old!r}"
        path.write_text(text.replace(old, new, 1) if new else text + old)
        after = _keys(tree)
        return {name for name in after if after[name] != before[name]}

    yield replace
    for path, text in changed.items():
        path.write_text(text)


@pytest.mark.parametrize(
    ("module", "old", "new", "stale"),
    [
        # Finishing a volume, and scoring it, stand in one file.
        ("scoring", "np.clip(output.data, 0, 1)", "np.clip(output.data, 0, 2)", {"harmonize"}),
        ("scoring", "reference.data > 0", "reference.data > 0.1", {"score"}),
        # How a scan is read and rescaled.
        ("cohorts.base", "(0.1, 99.9)", "(1.0, 99.0)", {"read"}),
        ("cohorts.base", "read(scan.mask, kind", "read(scan.path, kind", {"read"}),
        ("cohorts.base", 'f"all brain voxels have', 'f"every brain voxel has', {"read"}),
        # What a stage reaches through others.
        ("slices", "fill_holes(data > 0)", "fill_holes(data > 1)", {"harmonize", *NETWORKS}),
        ("volume", 'units("mm")', 'units("micron")', {"harmonize", "segment", "fast"}),
        (
            "volume",
            "= values.reshape",
            "= 1 * values.reshape",
            {"read", "score", "segment", "fast"},
        ),
        ("metrics.arrays", "def select(", "@staticmethod\ndef select(", {"score"}),
        # A method's own folder, and what methods share.
        ("methods.dm.diffusion", "def ", "def _more():\n    return 1\n\n\ndef ", {"dm"}),
        ("methods._regression.model", "import", "import copy\nimport", {"unet", "deepharmony"}),
        ("methods.identity", "return source", "return source.with_data(source.data)", {"identity"}),
    ],
)
def test_edits_of_one_stage(edit, module: str, old: str, new: str, stale: set[str]) -> None:
    assert edit(f"harmbench.{module}", old, new) == stale


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        ("scoring", {"harmonize", "segment", "score"}),
        ("metrics.image", {"score"}),
        ("metrics.structure", {"score"}),
        ("metrics.overlap", {"score"}),
        ("metrics.nearest", {"score"}),
        ("metrics.histogram", {"score"}),
        ("metrics.suite", {"score"}),
        ("segmentation.base", {"segment", "score", "fast", "hmrf", "atropos"}),
        ("segmentation.fast", {"fast"}),
        ("segmentation.atropos", {"atropos"}),
        ("segmentation.hmrf.kernels", {"hmrf"}),
        ("segmentation.hmrf.partial", {"hmrf"}),
        ("fsl", {"fast"}),
        ("slices", {"harmonize", *NETWORKS}),
        ("samples", {"dm"}),
        ("training.networks", NETWORKS),
        ("training.team", NETWORKS),
        ("training.batches", NETWORKS),
        ("methods.pgan.losses", {"pgan"}),
        ("method", {*METHODS}),
        ("volume", EVERYTHING),
    ],
)
def test_a_constant_at_the_end_of_a_module(edit, module: str, stale: set[str]) -> None:
    assert edit(f"harmbench.{module}", "\n\n_ADDED = 1\n") == stale


@pytest.mark.parametrize(
    "module",
    [
        *("console", "progress", "meter", "report.plots", "report.page", "bookkeeping", "grid"),
        *(
            "cell",
            "rescoring",
            "provenance",
            "doctor",
            "scaffold",
            "cohorts.bids",
            "cohorts.manifest",
        ),
        *("preparation.strip", "models.card", "apply.scans", "cli.running", "config", "statistics"),
        *(name.removeprefix("harmbench.") for name in LEFT_OUT if name != "harmbench.notes"),
    ],
)
def test_modules_that_cannot_change_a_result(edit, module: str) -> None:
    assert edit(f"harmbench.{module}", "\n\n_ADDED = 1\n\n\ndef added():\n    return 1\n") == set()


@pytest.mark.parametrize("module", ["scoring", "volume", "slices", "methods.dm.train", "method"])
def test_comments_documentation_and_lists_of_names_do_not_count(edit, module: str) -> None:
    added = '\n# harmbench.metrics and harmbench.slices\n"""Uses harmbench.training."""\n'
    assert edit(f"harmbench.{module}", added + '__all__ = ["x"]\n') == set()


def test_a_function_that_no_stage_calls_does_not_count(edit) -> None:
    assert edit("harmbench.cohorts.base", "if high <= 0:", "if high <= -1:") == set()


def _uses(folder: Path, text: str, name: str = "mine") -> str:
    """Key of a file with this text, beside a small package of its own."""
    for file, content in {"mine.py": text, "helper.py": "LEVEL = 1\n"}.items():
        (folder / file).write_text(content)
    tree = running_tree()
    return own_code(name, SourceTree({**tree.roots, "mine": folder / "mine.py"}, beside=folder))


@pytest.mark.parametrize(
    "form",
    [
        "from harmbench import slices\nX = slices.foreground\n",
        "import harmbench.slices\nX = harmbench.slices.foreground\n",
        "import harmbench.slices as s\nX = s.foreground\n",
        "from harmbench.slices import foreground\nX = foreground\n",
        "from harmbench.slices import foreground as f\nX = f\n",
        "from harmbench.slices import *\n",
        "import harmbench.slices\n",
        "def f():\n    from harmbench.slices import foreground\n    return foreground\n",
        "def f():\n    import harmbench.slices as s\n    return s.foreground\n",
        "from importlib import import_module\nX = import_module('harmbench.slices').foreground\n",
        "import harmbench\nX = harmbench.slices.foreground\n",
        "try:\n    from harmbench.slices import foreground\nexcept ImportError:\n    pass\n",
    ],
)
def test_every_form_of_import_is_followed(tmp_path: Path, tree: SourceTree, form: str) -> None:
    (tmp_path / "mine.py").write_text(form)
    mine = SourceTree({**tree.roots, "mine": tmp_path / "mine.py"})
    before = own_code("mine", mine)
    path = tree.file("harmbench.slices")
    assert path is not None
    text = path.read_text()
    assert "def foreground(" in text
    try:
        path.write_text(text + "\n\n_ADDED = 1\n")
        assert own_code("mine", mine) != before
    finally:
        path.write_text(text)


def test_a_name_in_a_text_is_not_an_import(tmp_path: Path, tree: SourceTree) -> None:
    (tmp_path / "mine.py").write_text('"""As harmbench.slices."""\n# harmbench.slices\nX = 1\n')
    mine = SourceTree({**tree.roots, "mine": tmp_path / "mine.py"})
    before = own_code("mine", mine)
    path = tree.file("harmbench.slices")
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
