"""Draw the imports of harmbench into docs/architecture.md: `python docs/architecture_picture.py`.

The arrows are read from the code by grimp, the library behind import-linter: one from box to box where a
module of the first imports one of the second. An arrow that other arrows imply is left out. With `--check`
the page is compared with the code and not written.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- picture: begin -->", "<!-- picture: end -->"

BOXES: Mapping[str, tuple[str, ...]] = {
    "cli": ("cli", "__main__"),
    "report": ("report",),
    "trained": ("trained",),
    "runner": ("runner", "planning"),
    "contract": ("contract",),
    "preparation": ("preparation",),
    "pages": ("pages",),
    "config": ("config",),
    "executors": ("executors", "meter", "progress"),
    "statistics": ("statistics", "study"),
    "cohorts": ("cohorts", "folds"),
    "metrics": ("metrics",),
    "segmentation": ("segmentation",),
    "methods": ("methods",),
    "training": ("training", "slices"),
    "method": ("method", "volume_correction", "task", "discovery", "catalogue", "plugins"),
    "volume": ("volume", "files", "results"),
    "base": (
        "arrays",
        "code_keys",
        "errors",
        "external",
        "guard",
        "notes",
        "processes",
        "settings",
        "storage",
        "syntax",
    ),
}
"""Box to the first parts of its modules' names below `harmbench`."""

Arrows = set[tuple[str, str]]


def box_of(module: str) -> str:
    """Return the box of a module, such as `harmbench.runner.cell`.

    Raises:
        ValueError: no box has it.
    """
    part = module.split(".")[1]
    found = [box for box, parts in BOXES.items() if part in parts]
    if len(found) != 1:
        raise ValueError(f"{module}: in boxes {found}; put '{part}' into one of BOXES")
    return found[0]


def imports() -> Arrows:
    """Return who imports whom, by box.

    `methods/` is installed as `harmbench.methods`: grimp reads a tree in which it lies there.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "harmbench"
        for source, place in ((ROOT / "harmbench", tree), (ROOT / "methods", tree / "methods")):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, place, copy_function=os.symlink, ignore=ignored)
        sys.path.insert(0, folder)
        graph = grimp.build_graph("harmbench", cache_dir=None, exclude_type_checking_imports=True)
    arrows = set()
    for module in graph.modules - {"harmbench"}:
        # The package itself only passes on the version and public names.
        for other in graph.find_modules_directly_imported_by(module) - {"harmbench"}:
            arrows.add((box_of(module), box_of(other)))
    return {(one, other) for one, other in arrows if one != other}


def reach(arrows: Arrows, start: str, without: tuple[str, str] | None = None) -> set[str]:
    """Return the boxes that can be reached from `start` along the arrows but one."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        box = waiting.pop()
        new = {b for a, b in arrows if a == box and (a, b) != without} - found
        found |= new
        waiting += new
    return found


def reduced(arrows: Arrows) -> Arrows:
    """Leave out every arrow that others imply.

    Raises:
        ValueError: there is a circle, in which no arrow is implied by others alone.
    """
    circle = sorted(box for box in BOXES if box in reach(arrows, box))
    if circle:
        raise ValueError(f"boxes import each other in a circle: {', '.join(circle)}")
    return {(a, b) for a, b in arrows if b not in reach(arrows, a, without=(a, b))}


def picture(arrows: Arrows) -> str:
    """Return the arrows as a Mermaid diagram, boxes in the order of `BOXES`."""
    order = list(BOXES)
    lines = ["```mermaid", "flowchart TD"]
    for box, parts in BOXES.items():
        others = [part for part in parts if part not in {box, "__main__"}]
        label = f"<b>{box}</b>" + "".join(f"<br/>{part}" for part in others)
        lines.append(f'    {box}["{label}"]')
    for one, other in sorted(arrows, key=lambda pair: (order.index(pair[0]), order.index(pair[1]))):
        lines.append(f"    {one} --> {other}")
    return "\n".join([*lines, "```"])


def page_with(drawn: str, text: str) -> str:
    """Return the page with the picture between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{drawn}\n{END}{after}"


def main() -> int:
    """Write the page, or check it; return the exit code."""
    text = PAGE.read_text(encoding="utf-8")
    wanted = page_with(picture(reduced(imports())), text)
    if "--check" in sys.argv[1:]:
        if text != wanted:
            print(f"{PAGE} is not true to the code; run python {Path(__file__).name}")
        return int(text != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
