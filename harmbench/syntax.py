"""The syntax of modules, without importing them: their statements, and the names that those use."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

__all__ = ["BY_TEXT", "Module", "SourceTree", "Statement", "bound_by_import", "parsed"]

BY_TEXT = "text:"
"""How a use begins whose dotted name stands in a text, as in `import_module("a.b")`."""

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign)


@dataclass(frozen=True, slots=True)
class SourceTree:
    """Where the files of packages are.

    Attributes:
        roots: dotted name of a package to its folder, or of a module to its file; the longest fits.
        beside: a folder whose modules go by their bare names, as beside a script.
    """

    roots: Mapping[str, Path]
    beside: Path | None = None

    def file(self, module: str) -> Path | None:
        """Return the file of a module, `None` where it does not belong to the tree."""
        parts = module.split(".")
        for count in range(len(parts), 0, -1):
            root = self.roots.get(".".join(parts[:count]))
            if root is not None:
                return _python_file(root, parts[count:])
        return _python_file(self.beside, parts) if self.beside else None


def _python_file(root: Path, parts: list[str]) -> Path | None:
    if not parts and root.suffix == ".py":
        return root
    place = root.joinpath(*parts)
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file
    return None


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement at the top level of a module."""

    syntax: str
    uses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Module:
    """The syntax of a module.

    Attributes:
        whole: all of it counts as soon as a part is used.
        statements: all but imports and `__all__`.
        loose: numbers of those that count with any part.
        always: numbers of those whose names are followed with any part: they may do something.
        defined: names of the module to the numbers of the statements that make them.
        imported: names to the dotted names of what they are imported from, anywhere in the module.
    """

    name: str
    whole: bool
    statements: list[Statement] = field(default_factory=list)
    loose: list[int] = field(default_factory=list)
    always: list[int] = field(default_factory=list)
    defined: dict[str, list[int]] = field(default_factory=dict)
    imported: dict[str, set[str]] = field(default_factory=dict)

    def named(self, name: str | None) -> Iterable[int]:
        """Return the numbers of the statements that make a name."""
        if name is None or self.whole:
            return range(len(self.statements))
        return self.defined.get(name, ())


@lru_cache(maxsize=1024)
def parsed(name: str, file: Path, stamp: tuple[int, int]) -> Module:  # noqa: ARG001 - an edit is a new entry
    """Read the module `name` from its file; `stamp` tells the file's versions apart."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    own = name != "harmbench" and not name.startswith("harmbench.")
    module = Module(name, whole=own or name.startswith("harmbench.methods."))
    text = file.read_bytes()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # a file that cannot be imported either
        module.statements.append(Statement(text.hex(), frozenset()))
        return module
    for node in ast.walk(tree):
        _remove_documentation(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            for bound, target in bound_by_import(node, package):
                module.imported.setdefault(bound, set()).add(target)
    for statement in tree.body:
        _add(statement, module)
    return module


def _add(node: ast.stmt, module: Module) -> None:
    names = _bound_by(node)
    # A module that counts whole may import another for what that does.
    passed_on = isinstance(node, ast.Import | ast.ImportFrom) and not module.whole
    if passed_on or names == {"__all__"} or _is_for_type_checkers(node):
        return
    number = len(module.statements)
    module.statements.append(Statement(ast.dump(node), _uses(node)))
    for bound in names:
        module.defined.setdefault(bound, []).append(number)
    if isinstance(node, _DEFINITIONS) and not _decorated_by_harmbench(node, module):
        return
    module.loose.append(number)
    if not isinstance(node, _ASSIGNMENTS):
        module.always.append(number)


def _remove_documentation(node: ast.AST) -> None:
    body = getattr(node, "body", None)
    if isinstance(body, list):
        node.body = [one for one in body if not _is_text(one)] or [ast.Pass()]  # type: ignore[attr-defined]  # nodes with a body have it


def _is_for_type_checkers(node: ast.stmt) -> bool:
    """Whether a statement is an `if TYPE_CHECKING:` without an `else`: it never runs."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    return (_dotted(node.test) or "").rpartition(".")[2] == "TYPE_CHECKING"


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def bound_by_import(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    """Give the names that an import makes, each with the dotted name of what it stands for.

    Args:
        node: the import.
        package: the one that the module is in, from which relative imports count.
    """
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, alias.name
            else:
                top = alias.name.partition(".")[0]
                yield top, top
        return
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *([base] if base else [])])
    for alias in node.names:
        target = base if alias.name == "*" else f"{base}.{alias.name}"
        yield alias.asname or alias.name, target


def _bound_by(node: ast.stmt) -> set[str]:
    """Names that a statement of the top level makes."""
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, _DEFINITIONS):
            found.add(inner.name)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            found.add(inner.id)
        elif isinstance(inner, ast.Subscript | ast.Attribute) and isinstance(inner.value, ast.Name):
            # A registry that is filled after it was made.
            found |= {inner.value.id} if isinstance(inner.ctx, ast.Store) else set()
    return found


def _uses(node: ast.AST) -> frozenset[str]:
    """Names in a statement, each with the attributes that are asked of it."""
    visitor = _Uses()
    visitor.visit(node)
    return frozenset(visitor.found)


class _Uses(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        self.found.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        dotted = _dotted(node)
        if dotted is None:
            self.generic_visit(node)
        else:
            self.found.add(dotted)

    def visit_Call(self, node: ast.Call) -> None:
        name = (_dotted(node.func) or "").rpartition(".")[2]
        if name in {"import_module", "__import__"} and node.args:
            text = node.args[0]
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                self.found.add(BY_TEXT + text.value)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        # `import a.b` makes the name `a`; the module that is meant is a.b.
        self.found |= {alias.asname or alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.found |= {alias.asname or alias.name for alias in node.names}


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        above = _dotted(node.value)
        return None if above is None else f"{above}.{node.attr}"
    return None


def _decorated_by_harmbench(node: ast.stmt, module: Module) -> bool:
    """Whether a decorator of harmbench's own may have registered a definition somewhere."""
    for decorator in getattr(node, "decorator_list", ()):
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        root = (_dotted(called) or "").partition(".")[0]
        sources = module.imported.get(root, set())
        if root in module.defined or any(name.startswith("harmbench.") for name in sources):
            return True
    return False
