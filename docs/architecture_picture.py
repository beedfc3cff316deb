"""Draw the imports of harmbench as docs/assets/architecture.svg: `python docs/architecture_picture.py`.

The arrows are read from the code by grimp, the library behind import-linter: one from box to box where a
module of the first imports one of the second. An arrow that other arrows imply is left out. Graphviz'
program `dot` (Debian: `apt install graphviz`) draws them. With `--check` the boxes and arrows in the
picture are compared with the code; that needs no Graphviz.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "assets" / "architecture.svg"

BOXES: Mapping[str, tuple[str, ...]] = {
    "cli": ("cli", "__main__"),
    "report": ("report",),
    "exchange": ("exchange",),
    "trained": ("trained",),
    "runner": ("runner", "planning"),
    "contract": ("contract", "correction_contract"),
    "preparation": ("preparation",),
    "pages": ("pages",),
    "config": ("config", "endpoint", "overrides"),
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
        "bounded",
        "code_keys",
        "errors",
        "external",
        "guard",
        "notes",
        "processes",
        "settings",
        "storage",
        "sums",
        "holders",
        "locks",
        "owners",
        "syntax",
    ),
}
"""Box to the first parts of its modules' names below `harmbench`."""

Arrows = set[tuple[str, str]]

_SVG = "{http://www.w3.org/2000/svg}"


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


def labels() -> dict[str, tuple[str, ...]]:
    """Return the lines of text in each box: its name, and the other folders and modules in it."""
    return {
        box: (box, *(part for part in parts if part not in {box, "__main__"}))
        for box, parts in BOXES.items()
    }


def dot_source(arrows: Arrows) -> str:
    """Return the arrows in Graphviz' language, boxes in the order of `BOXES`.

    The background is white and opaque, so that the picture is legible on a dark page too.
    """
    order = list(BOXES)
    lines = [
        "digraph imports {",
        '    graph [bgcolor="white", pad=0.2, nodesep=0.3, ranksep=0.4]',
        '    node [shape=box, style="rounded,filled", fillcolor="#eef3fa", color="#44618c",'
        ' fontcolor="#16243b", fontname="Helvetica,Arial,sans-serif", fontsize=15, margin="0.15,0.08"]',
        '    edge [color="#5a6b85", arrowsize=0.8]',
    ]
    for box, (name, *others) in labels().items():
        below = "".join(f'<br/><font point-size="13">{part}</font>' for part in others)
        lines.append(f"    {box} [label=<<b>{name}</b>{below}>]")
    for one, other in sorted(arrows, key=lambda pair: (order.index(pair[0]), order.index(pair[1]))):
        lines.append(f"    {one} -> {other}")
    return "\n".join([*lines, "}"])


def drawn(source: str) -> str:
    """Return the SVG that Graphviz makes, without the comments that name its version.

    Raises:
        FileNotFoundError: `dot` is not installed.
        CalledProcessError: `dot` failed.
    """
    svg = subprocess.run(
        ["dot", "-Tsvg"], input=source, capture_output=True, text=True, check=True
    ).stdout
    ElementTree.register_namespace("", _SVG.strip("{}"))
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ElementTree.tostring(ElementTree.fromstring(svg), encoding="unicode") + "\n"


def shown(svg: str) -> tuple[dict[str, tuple[str, ...]], Arrows]:
    """Return the boxes with their lines of text, and the arrows, that a picture shows.

    Raises:
        ParseError: it is not XML.
    """
    boxes: dict[str, tuple[str, ...]] = {}
    arrows: Arrows = set()
    for group in ElementTree.fromstring(svg).iter(f"{_SVG}g"):
        title = group.findtext(f"{_SVG}title", "")
        if group.get("class") == "node":
            boxes[title] = tuple(text.text or "" for text in group.iter(f"{_SVG}text"))
        elif group.get("class") == "edge":
            one, _, other = title.partition("->")
            arrows.add((one, other))
    return boxes, arrows


def problems(svg: str, arrows: Arrows) -> list[str]:
    """Say in which boxes and arrows a picture differs from the code."""
    boxes, seen = shown(svg)
    wanted = labels()
    found = [
        f"box {box} has {boxes.get(box)}, expected {wanted.get(box)}"
        for box in sorted({*boxes, *wanted})
        if boxes.get(box) != wanted.get(box)
    ]
    found += [f"arrow {one} -> {other} is not in the code" for one, other in sorted(seen - arrows)]
    found += [f"arrow {one} -> {other} is not drawn" for one, other in sorted(arrows - seen)]
    return found


def main() -> int:
    """Draw the picture, or check it; return the exit code."""
    arrows = reduced(imports())
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(drawn(dot_source(arrows)), encoding="utf-8")
        return 0
    found = problems(PICTURE.read_text(encoding="utf-8"), arrows)
    if found:
        print("\n".join([f"{PICTURE}: run python {Path(__file__).name}", *found]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
