"""The options that choose scans of a data set, the same for every command that reads one.

An option is a field of `Selection`; there is no other place to add one. A command takes them all by one
parameter, `selection: Selection`, and the decorator `takes_selection`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, get_type_hints

import typer

from harmbench.errors import ConfigError

__all__ = ["NO_SELECTION", "Selection", "takes_selection"]

_PARAMETER = "selection"


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user chose; `None` where nothing was said."""

    session_by: Annotated[
        str | None,
        typer.Option(
            help="What says the scanner: label, an entity, sidecar fields, sessions.tsv:COLUMN."
        ),
    ] = None
    session_pattern: Annotated[
        str | None,
        typer.Option(
            help="Expression for ses- labels with groups scanner, visit, subject.", metavar="REGEX"
        ),
    ] = None
    subject_by: Annotated[
        str | None,
        typer.Option(help="Column of participants.tsv, or expression, that says who is who."),
    ] = None
    group_by: Annotated[
        str | None, typer.Option(help="Column of participants.tsv with the group.")
    ] = None
    bids_filter_file: Annotated[
        Path | None, typer.Option(help="A BIDS filter file (JSON), as fMRIPrep's.")
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Scans to leave out: 'qc == fail' (repeatable).", metavar="CONDITION"),
    ] = None
    exclude_list: Annotated[
        Path | None,
        typer.Option(help="A text file with scans, subjects or sessions to leave out."),
    ] = None
    acquisition: Annotated[
        list[str] | None,
        typer.Option(help="acq- label of the scans: LABEL, or SCANNER=LABEL (repeatable)."),
    ] = None
    runs: Annotated[
        str | None, typer.Option(help="Of several runs: first, last, all, or a label.")
    ] = None
    suffix: Annotated[
        str | None, typer.Option(help="Suffix of the scans' names, T1w by default.")
    ] = None

    covariates: Annotated[
        str | None,
        typer.Option(
            help="Columns of subjects for volume corrections: age,sex (default: none).",
            metavar="COLUMNS",
        ),
    ] = None

    def settings(self) -> dict[str, object]:
        """Return the settings of `data` and `data.bids`, by dotted name, that were given.

        Raises:
            ConfigError: two acquisitions for all scanners.
        """
        each = [text.rpartition("=") for text in self.acquisition or ()]
        for_all = [label for scanner, _, label in each if not scanner]
        if len(for_all) > 1:
            raise ConfigError(
                f"acquisition: {', '.join(for_all)}: one for all scanners, or SCANNER=LABEL for each"
            )
        own = {scanner: {"acq": label} for scanner, _, label in each if scanner}
        changes: dict[str, object] = {
            "session_by": self.session_by,
            "session_pattern": self.session_pattern,
            "subject_by": self.subject_by,
            "group_column": self.group_by,
            "filter_file": self.bids_filter_file and self.bids_filter_file.absolute(),
            "exclude": self.exclude or None,
            "exclude_list": self.exclude_list and self.exclude_list.absolute(),
            "acquisition": for_all[0] if for_all else None,
            "per_scanner": own or None,
            "run": self.runs,
            "suffix": self.suffix,
        }
        found = {f"data.bids.{name}": own for name, own in changes.items() if own is not None}
        return found if self.covariates is None else {**found, "data.covariates": self.covariates}


NO_SELECTION = Selection()
"""Nothing was said."""


def takes_selection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every option of `Selection`, in the place of its parameter `selection`."""
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        for name, hint in get_type_hints(Selection, include_extras=True).items()
    ]
    hints = get_type_hints(command, include_extras=True)
    own = signature(command)
    parameters: list[Parameter] = []
    for name, parameter in own.parameters.items():
        if name == _PARAMETER:
            parameters += options
        else:
            kind = Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[name], kind=kind))

    @wraps(command)
    def call(**given: object) -> None:
        chosen = {option.name: given.pop(option.name) for option in options}
        command(**given, selection=Selection(**chosen))  # type: ignore[arg-type] # typer has checked them

    call.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # a function has room for it
    return call
