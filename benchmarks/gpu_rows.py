"""What the parts of `gpu.py` measure, and the files and tables made of it.

A part appends one line of JSON to a file as soon as it has measured something, so that nothing is lost
when it fails or is stopped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tabulate import tabulate

__all__ = ["Ended", "Notebook", "Row", "read_notes", "write_results"]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number.

    Attributes:
        part: what measured it.
        setting: of what, or in which way.
        measure: what was measured.
        value: the number; of a check 1 where it passed, else 0.
        unit: of the number.
        at_most, at_least: the target, where there is one.
        detail: more about it.
    """

    part: str
    setting: str
    measure: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    detail: str = ""

    @property
    def target(self) -> str:
        """The target as text; empty where there is none."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return "" if self.at_least is None else f"at least {self.at_least:g}"

    @property
    def met(self) -> bool | None:
        """Whether the value is within the target; `None` where there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least


@dataclass(frozen=True, slots=True)
class Ended:
    """How a part ended: `ok`, `failed`, `stopped` (its time was over) or `skipped`, and its seconds."""

    part: str
    status: str
    seconds: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class Notebook:
    """Where one part writes what it measures."""

    path: Path
    part: str

    def fact(self, name: str, value: str) -> None:
        """Note something that holds for all rows, such as the name of the device."""
        self._append({"fact": {name: value}})

    def row(
        self,
        setting: str,
        measure: str,
        value: float,
        unit: str = "",
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        detail: str = "",
    ) -> None:
        """Note a number, and its target if it has one."""
        row = Row(self.part, setting, measure, float(value), unit, at_most, at_least, detail)
        self._append({"row": asdict(row)})
        print(f"{self.part}: {setting}: {measure} {value:.4g} {unit} {detail}", flush=True)

    def check(self, setting: str, measure: str, passed: bool, detail: str = "") -> None:
        """Note whether something is as it has to be."""
        self.row(setting, measure, float(passed), "passed", at_least=1.0, detail=detail)

    def _append(self, note: Mapping[str, object]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")


def read_notes(path: Path) -> tuple[dict[str, str], list[Row]]:
    """Return all facts and rows; a line that was cut short is left out."""
    facts: dict[str, str] = {}
    rows: list[Row] = []
    if not path.exists():
        return facts, rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            note = json.loads(line)
        except json.JSONDecodeError:
            continue
        facts |= note.get("fact", {})
        if "row" in note:
            rows.append(Row(**note["row"]))
    return facts, rows


def write_results(
    out: Path, title: str, facts: Mapping[str, str], ended: Sequence[Ended], rows: Sequence[Row]
) -> str:
    """Write `results.json`, `results.csv` and `results.md` into a folder; return the last one's text."""
    whole = {
        "title": title,
        "facts": dict(facts),
        "parts": [asdict(one) for one in ended],
        "rows": [{**asdict(row), "met": row.met} for row in rows],
    }
    (out / "results.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    with (out / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(field.name for field in fields(Row)), "met"])
        for row in rows:
            writer.writerow([*asdict(row).values(), row.met])
    text = _page(title, facts, ended, rows)
    (out / "results.md").write_text(text, encoding="utf-8")
    return text


def _page(title: str, facts: Mapping[str, str], ended: Sequence[Ended], rows: Sequence[Row]) -> str:
    parts = [[one.part, one.status, f"{one.seconds:.0f}", f"{one.limit_s:.0f}"] for one in ended]
    said = {True: "yes", False: "no", None: ""}
    lines = [
        [
            *(row.part, row.setting, row.measure, f"{row.value:.4g}", row.unit),
            *(row.target, said[row.met], row.detail),
        ]
        for row in rows
    ]
    heads = ["part", "what", "measure", "value", "unit", "target", "met", ""]
    blocks = [
        f"# {title}",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        _table(parts, ["part", "ended", "s", "limit, s"]),
        _table(lines, heads),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _table(lines: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    return str(tabulate(lines, heads, tablefmt="github", disable_numparse=True))
