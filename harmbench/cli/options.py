"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harmbench.errors import ConfigError, suggest

__all__ = ["config_path", "given", "one_of", "parse_rescale", "parse_shape", "selection"]

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
SessionBy = Annotated[
    str | None,
    typer.Option(
        help="What says the scanner: label, an entity, sidecar fields, sessions.tsv:COLUMN."
    ),
]
SessionPattern = Annotated[
    str | None,
    typer.Option(
        help="Expression for ses- labels with groups scanner, visit, subject.", metavar="REGEX"
    ),
]
SubjectBy = Annotated[
    str | None,
    typer.Option(help="Column of participants.tsv, or expression, that says who is who."),
]
GroupBy = Annotated[str | None, typer.Option(help="Column of participants.tsv with the group.")]
FilterFile = Annotated[
    Path | None,
    typer.Option("--bids-filter-file", help="A BIDS filter file (JSON), as fMRIPrep's."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Scans to leave out: 'qc == fail' (repeatable).", metavar="CONDITION"),
]
ExcludeList = Annotated[
    Path | None, typer.Option(help="A text file with scans, subjects or sessions to leave out.")
]
Acquisition = Annotated[
    list[str] | None,
    typer.Option(help="acq- label of the scans: LABEL, or SCANNER=LABEL (repeatable)."),
]
Runs = Annotated[str | None, typer.Option(help="Of several runs: first, last, all, or a label.")]
Suffix = Annotated[str | None, typer.Option(help="Suffix of the scans' names, T1w by default.")]
Rescaling = Annotated[
    str | None,
    typer.Option(help="none: scans are in [0, 1]; percentile: clip and scale each scan's brain."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
SegmenterName = Annotated[
    str | None,
    typer.Option("--segmenter", help="auto, a segmenter that `doctor` lists, or FILE.py:CLASS."),
]
ContrastName = Annotated[
    str, typer.Option("--contrast", help="auto (by the file's name, or T1w), T1w, UNIT1 or T2w.")
]
DEFAULT_OUT = Path("harmbench-run")


def given(changes: Mapping[str, object]) -> dict[str, object]:
    """Return the settings, by dotted name, that the user gave a value for."""
    return {name: value for name, value in changes.items() if value is not None}


def selection(
    *,
    session_by: str | None,
    session_pattern: str | None,
    subject_by: str | None,
    group_by: str | None,
    filter_file: Path | None,
    exclude: list[str] | None,
    exclude_list: Path | None,
    acquisition: list[str] | None,
    runs: str | None,
    suffix: str | None,
) -> dict[str, object]:
    """Return the settings of `data.bids`, by dotted name, that the options of selection give.

    Raises:
        ConfigError: two acquisitions for all scanners.
    """
    changes: dict[str, object] = {
        "session_by": session_by,
        "session_pattern": session_pattern,
        "subject_by": subject_by,
        "group_column": group_by,
        "filter_file": filter_file and filter_file.absolute(),
        "exclude": exclude or None,
        "exclude_list": exclude_list and exclude_list.absolute(),
        "run": runs,
        "suffix": suffix,
    }
    each = [text.rpartition("=") for text in acquisition or ()]
    for_all = [label for scanner, _, label in each if not scanner]
    if len(for_all) > 1:
        raise ConfigError(
            f"acquisition: {', '.join(for_all)}: one for all scanners, or SCANNER=LABEL for each"
        )
    changes["acquisition"] = for_all[0] if for_all else None
    own = {scanner: {"acq": label} for scanner, _, label in each if scanner}
    changes["per_scanner"] = own or None
    return {f"data.bids.{name}": value for name, value in changes.items() if value is not None}


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
