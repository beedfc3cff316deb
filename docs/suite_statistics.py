"""Count the tests, and write docs/tests.md: `python docs/suite_statistics.py`.

Test functions and their kinds are counted in the syntax trees of `tests/`, cases by pytest's collection.
Coverage and time are read from `build/coverage.json` and `build/tests.xml`, which `make coverage` writes;
without them the page keeps what it says. With `--check` the page is compared with the tests: the number of a
folder's functions may differ by a fifth from what it says, so that not every new test changes the page.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tests.md"
COVERAGE, TIMES = ROOT / "build" / "coverage.json", ROOT / "build" / "tests.xml"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LEAST, SHARE = 3, 0.2

KINDS: Mapping[str, str] = {
    "property-based, by hypothesis": r"\bgiven\(",
    "with a table of cases (`parametrize`)": r"\bparametrize\(",
    "on real scans or label maps": r"skipif\(.*(scans|layouts|label maps)",
    "in a browser": r"browser|chromium",
    "with SLURM": r"slurm|sbatch",
}
"""Kind to what is found in the decorators, name or arguments of its tests, or in its module's name."""


@dataclass(frozen=True)
class TestFunction:
    """A test: its folder below `tests/`, and the words that tell its kind."""

    folder: str
    words: str


def functions(root: Path = ROOT / "tests") -> Iterator[TestFunction]:
    """Yield the test functions below a folder; those of files in it have the folder `.`."""
    for path in sorted(root.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        marks = [
            ast.unparse(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        ]
        folder = path.relative_to(root).parent.parts[:1]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
                words = [path.stem, node.name, ast.unparse(node.args), *decorators, *marks]
                yield TestFunction("/".join(folder) or ".", "\n".join(words))


def cases() -> Counter[str]:
    """Count the cases that pytest collects, by folder."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"^tests/(?:(\w+)/)?.*::", done.stdout, flags=re.MULTILINE)
    return Counter(folder or "." for folder in found)


def table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Return a table in Markdown; the first column is text, the others are numbers."""
    lines = [heads, ("---", *("--:" for _ in heads[1:])), *rows]
    return "\n".join(f"| {' | '.join(str(entry) for entry in line)} |" for line in lines)


def measured() -> str:
    """Return what the last `make coverage` measured; empty where it left no reports."""
    if not (COVERAGE.is_file() and TIMES.is_file()):
        return ""
    lines: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    for name, file in json.loads(COVERAGE.read_text(encoding="utf-8"))["files"].items():
        first, *rest = Path(name).parts
        package = f"{first}/{rest[0]}" if len(rest) > 1 else first
        lines[package] += file["summary"]["num_statements"]
        reached[package] += file["summary"]["covered_lines"]
    shares = [(f"`{p}`", n, f"{100 * reached[p] / n:.1f} %") for p, n in sorted(lines.items()) if n]
    whole = f"{100 * reached.total() / lines.total():.1f} %"
    seconds = sum(float(case.get("time", 0)) for case in ElementTree.parse(TIMES).iter("testcase"))
    return (
        f"One after another, the tests take {seconds / 60:.0f} minutes with coverage.\n\n"
        + table(("package", "statements", "reached"), [*shares, ("all", lines.total(), whole)])
    )


def page(found: Iterable[TestFunction], collected: Mapping[str, int], numbers: str) -> str:
    """Return the page."""
    tests = list(found)
    folders = Counter(test.folder for test in tests)
    kinds = [
        (kind, sum(bool(re.search(pattern, test.words)) for test in tests))
        for kind, pattern in KINDS.items()
    ]
    rows = [
        (f"`tests/{folder.strip('.')}`", number, collected[folder])
        for folder, number in sorted(folders.items())
    ]
    total = ("all", folders.total(), sum(collected.values()))
    return f"""# Tests

`make test` runs all tests; none needs a network, FSL or a GPU. A test that needs scans which are not there is
skipped, and says so. This page is written by `docs/suite_statistics.py`; a test compares it with the tests.

## By folder

`tests/` mirrors `harmbench/` and `methods/`. A function with a table of cases is several cases.

{table(("folder", "functions", "cases"), [*rows, total])}

## By kind

A test may be of several kinds, or of none.

{table(("kind", "functions"), [row for row in kinds if row[1]])}

## Coverage and time

`make coverage` measures both, and fails where less is reached than the floor in `pyproject.toml`.

{BEGIN}
{numbers}
{END}
"""


def said(text: str) -> dict[str, int]:
    """Return the number of functions that a page says of each folder."""
    found = re.findall(r"^\| `tests/(\w*)` \| (\d+) \|", text, flags=re.MULTILINE)
    return {folder or ".": int(number) for folder, number in found}


def problems(text: str, found: Iterable[TestFunction]) -> list[str]:
    """Say which folders differ from a page by more than a fifth and three tests."""
    known, folders = said(text), Counter(test.folder for test in found)
    return [
        f"tests/{folder.strip('.')}: has {folders[folder]} tests, the page says {known.get(folder)}"
        for folder in sorted({*known, *folders})
        if abs(folders[folder] - known.get(folder, 0)) > max(LEAST, SHARE * known.get(folder, 0))
    ]


def main() -> int:
    """Write the page, or check it; return the exit code."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    if "--check" not in sys.argv[1:]:
        before = text.partition(BEGIN)[2].partition(END)[0].strip()
        PAGE.write_text(page(functions(), cases(), measured() or before), encoding="utf-8")
        return 0
    found = problems(text, functions())
    if found:
        print("\n".join([f"{PAGE}: run python {Path(__file__).name}", *found]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
