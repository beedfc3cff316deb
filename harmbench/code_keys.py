"""The code that a stage runs, as a part of its key: an edit there makes the stage's results stale.

A stage starts at entry points. From there names and imports are followed through syntax trees, within
harmbench and the method's own package; nothing is imported. Of a module of harmbench counts what the
stage reaches: functions and classes that it uses by name, through others too, and all statements
outside of functions and classes. Methods, and code from elsewhere, count with whole modules.

Comments, docstrings, formatting and `__all__` never count.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from harmbench.storage import key_of
from harmbench.syntax import BY_TEXT, Module, SourceTree, parsed

__all__ = [
    "LEFT_OUT",
    "STAGES",
    "SourceTree",
    "modules_of",
    "own_code",
    "running_tree",
    "stage_code",
]

KEY_SCHEME: Final = 2
"""Number of the way in which keys are made; cells with keys of another one are run again."""

STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "read": ("harmbench.cohorts.base:load_scan",),
    "harmonize": ("harmbench.runner.scoring:finish_volume", "harmbench.volume:write"),
    "segment": (
        "harmbench.segmentation.stored:segment_to_file",
        "harmbench.segmentation.stored:segment_to_files",
    ),
    "score": ("harmbench.volume:read", "harmbench.runner.scoring:score_rows"),
    "correct": (
        "harmbench.runner.tissue_volumes:volume_rows",
        "harmbench.study.choice:inner_errors",
    ),
    "prepare": ("harmbench.preparation.subject:prepare_subject",),
}
"""Entry points, `MODULE:NAME`, of each stage. A fit, and a segmenter, start at their own modules.

What a stage is given by another stage is not repeated: `read` is a part of the inputs' keys, `fit` of
the harmonized volumes', and `segment` of the scores'.
"""

LEFT_OUT: Final[Mapping[str, str]] = {
    "harmbench.bounded": "opens and parses files; what is in them decides",
    "harmbench.errors": "classes of errors, and the words of messages",
    "harmbench.notes": "what is said about results, not results",
    "harmbench.settings": "the values of settings are in the key themselves",
    "harmbench.storage": "how bytes come onto the disk; their contents are the callers'",
    "harmbench.sums": "whether bytes on the disk are those that were written",
    "harmbench.code_keys": "keys, not results",
    "harmbench.syntax": "keys, not results",
    "harmbench.guard": "how a method's call may end",
    "harmbench.progress": "what is shown while work goes on",
    "harmbench.meter": "measures time and memory",
    "harmbench.processes": "in which processes work runs",
    "harmbench.training.preview": "pictures for people",
}
"""Modules that cannot change a result, each with the reason; they never make a stage stale."""

Reach = tuple[str, str | None]
"""A module, and a name in it; `None`: all of it."""

_KNOWN: dict[object, tuple[tuple[tuple[str, tuple[int, int]], ...], str]] = {}
"""Keys with the files that they were made from, as long as those are unchanged."""


def stage_code(stage: str, tree: SourceTree | None = None) -> str:
    """SHA-256 of the code of one of `STAGES`.

    Args:
        stage: its name.
        tree: where the code is; the running one by default.
    """
    entries: list[Reach] = []
    for entry in STAGES[stage]:
        module, _, name = entry.partition(":")
        entries.append((module, name))
    return _key(entries, tree or running_tree())


def own_code(module: str, tree: SourceTree | None = None) -> str:
    """SHA-256 of the code of a module, or of a package's whole folder, and of all that it uses.

    Args:
        module: dotted name; imported already where it does not belong to harmbench.
        tree: where the code is; the running one by default.
    """
    tree = tree or running_tree(module)
    return _key([(name, None) for name in modules_of(module, tree)], tree)


def modules_of(module: str, tree: SourceTree) -> list[str]:
    """Return the name of a module, or of every module in a package's folder."""
    file = tree.file(module)
    if file is None or file.name != "__init__.py":
        return [module]
    names = []
    for path in sorted(file.parent.rglob("*.py")):
        parts = path.relative_to(file.parent).with_suffix("").parts
        names.append(".".join((module, *(part for part in parts if part != "__init__"))))
    return names


def running_tree(module: str = "harmbench") -> SourceTree:
    """Return the tree of the running code: harmbench, and the package or file of `module`."""
    roots = {"harmbench": Path(__file__).parent}
    spec = find_spec("harmbench.methods")
    if spec is not None and spec.submodule_search_locations:
        roots["harmbench.methods"] = Path(spec.submodule_search_locations[0])
    top = module.partition(".")[0]
    file = getattr(sys.modules.get(top), "__file__", None)
    if top == "harmbench" or file is None:
        return SourceTree(roots)
    path = Path(file)
    if path.name == "__init__.py":
        return SourceTree({**roots, top: path.parent})
    return SourceTree({**roots, top: path}, beside=path.parent)


def _key(entries: Sequence[Reach], tree: SourceTree) -> str:
    asked = (tuple(entries), tuple(sorted(tree.roots.items())), tree.beside)
    stamps, key = _KNOWN.get(asked, ((), ""))
    if not key or any(_stamp(file) != stamp for file, stamp in stamps):
        reached = _reached(entries, _Modules(tree))
        # Without the modules' names, since a method's file may lie anywhere.
        key = key_of([reached[name] for name in sorted(reached)])
        files = [str(file) for file in map(tree.file, reached) if file is not None]
        _KNOWN[asked] = tuple((file, _stamp(file)) for file in files), key
    return key


def _stamp(file: str | Path) -> tuple[int, int]:
    try:
        state = os.stat(file)  # noqa: PTH116 - thousands of times in a run, where a `Path` is slow
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_size


class _Modules:
    """The modules of a tree by name; each file is looked for once.

    Args:
        tree: where the code is.
    """

    def __init__(self, tree: SourceTree) -> None:
        self._tree = tree
        self._known: dict[str, Module | None] = {}

    def __call__(self, name: str) -> Module | None:
        """Return a module; `None` for one that is left out or does not belong to the tree."""
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> Module | None:
        if any(name == left or name.startswith(f"{left}.") for left in LEFT_OUT):
            return None
        file = self._tree.file(name)
        return None if file is None else parsed(name, file, _stamp(file))


def _reached(entries: Iterable[Reach], modules: _Modules) -> dict[str, list[str]]:
    """Module to the syntax of its statements that count, in their order."""
    waiting, seen = list(entries), set[Reach]()
    counted: dict[str, set[int]] = {}
    while waiting:
        reach = waiting.pop()
        module = modules(reach[0])
        if reach in seen or module is None:
            continue
        seen.add(reach)
        if reach[0] not in counted:
            counted[reach[0]] = set(module.loose)
            waiting += _followed(module, module.always, modules)
        chosen = module.named(reach[1])
        counted[reach[0]] |= set(chosen)
        waiting += _followed(module, chosen, modules)
    found = {}
    for name, numbers in counted.items():
        module = modules(name)
        assert module is not None
        found[name] = [module.statements[number].syntax for number in sorted(numbers)]
    return found


def _followed(module: Module, numbers: Iterable[int], modules: _Modules) -> Iterator[Reach]:
    for number in numbers:
        for use in module.statements[number].uses:
            yield from _resolved(module, use, modules)


def _resolved(module: Module, use: str, modules: _Modules) -> Iterator[Reach]:
    """Say what a name with its attributes, such as `volume.read`, stands for in a module."""
    if use.startswith(BY_TEXT):
        yield from _absolute(use.removeprefix(BY_TEXT), modules, frozenset())
        return
    root, _, rest = use.partition(".")
    if root in module.defined:
        yield module.name, root
    for target in module.imported.get(root, ()):
        yield from _absolute(f"{target}.{rest}" if rest else target, modules, frozenset())


def _absolute(dotted: str, modules: _Modules, before: frozenset[str]) -> Iterator[Reach]:
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        module = modules(".".join(parts[:count]))
        if module is None:
            continue
        rest = parts[count:]
        if not rest or module.whole:
            yield module.name, None
        elif rest[0] in module.defined:
            yield module.name, rest[0]
        else:
            # A package that passes on what it imports.
            for target in module.imported.get(rest[0], ()):
                further = ".".join((target, *rest[1:]))
                if further not in before:
                    yield from _absolute(further, modules, before | {further})
        return
