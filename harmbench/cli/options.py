"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harmbench.errors import ConfigError, suggest

__all__ = ["config_path", "given", "one_of", "parse_rescale", "parse_shape"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Full = Annotated[
    bool, typer.Option("--full", help="Import and try everything, which takes seconds.")
]
Config = Annotated[
    str | None,
    typer.Option("--config", "-c", help="A YAML file, or a built-in one: demo, fast, paper."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting: a.b=c (repeatable).", metavar="NAME=VALUE"),
]
Data = Annotated[
    Path | None,
    typer.Option(help="A manifest (.csv) or a BIDS folder; without it, the simulated cohort."),
]
Rescaling = Annotated[
    str | None,
    typer.Option(help="none: scans are in [0, 1]; percentile: clip and scale each scan's brain."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Devices = Annotated[
    str | None,
    typer.Option(help="GPUs such as cuda:0,cuda:1: one cell at a time on each."),
]
SegmenterName = Annotated[
    str | None,
    typer.Option("--segmenter", help="auto, a segmenter that `doctor` lists, or FILE.py:CLASS."),
]
ContrastName = Annotated[
    str, typer.Option("--contrast", help="auto (by the file's name, or T1w), T1w, UNIT1 or T2w.")
]
Isolate = Annotated[
    bool | None,
    typer.Option(
        "--isolate/--no-isolate",
        envvar="HARMBENCH_ISOLATE",
        help="Run cells in processes of their own: a crash costs its cell alone. The default.",
        show_default=False,
    ),
]
Effect = Annotated[
    float,
    typer.Option(
        min=0.01,
        help="What a switch of scanner is judged by: the difference of change between the arms of "
        "a trial, in % of the volume; the default is a slowing by 25 % of 0.5 % a year in 2 years.",
    ),
]
DEFAULT_EFFECT = 0.25
DEFAULT_OUT = Path("harmbench-run")


def given(changes: Mapping[str, object]) -> dict[str, object]:
    """Return the settings, by dotted name, that the user gave a value for."""
    return {name: value for name, value in changes.items() if value is not None}


def config_path(config: str | None) -> Path | None:
    """Return the file of a built-in configuration's name, or the path as it is."""
    if config is None:
        return None
    from harmbench.config import shipped

    built_in = shipped(config)
    return built_in if "/" not in config and built_in.is_file() else Path(config)


def parse_shape(text: str) -> tuple[int, ...] | None:
    """Read `160x224x224`; `none` is `None`."""
    parts = text.split("x")
    if text == "none":
        return None
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(f"crop '{text}': expected three numbers such as 160x224x224, or none")
    return tuple(int(part) for part in parts)


def parse_rescale(text: str | None) -> Any:
    """Return `text` if it names a rescaling."""
    from harmbench.cohorts.base import Rescale

    return one_of(text, Rescale, "rescale")


def one_of(text: str | None, choices: Any, name: str) -> Any:
    """Return `text` if it is one of a `Literal`'s values; `name` is the option's, for the error."""
    from typing import get_args

    allowed = get_args(choices)
    if text not in allowed:
        raise ConfigError(f"{name} '{text}'; {suggest(str(text), allowed)}")
    return text
