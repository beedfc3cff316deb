"""Commands for choosing and for writing a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmbench.catalogue import InstalledMethod, describe_installed
from harmbench.cli.console import print_json, say, show_table
from harmbench.cli.options import Full, Json, Overrides
from harmbench.errors import MetricError, UnavailableError, suggest
from harmbench.guard import method_call
from harmbench.metrics.lesion_declarations import ALL_METRICS

if TYPE_CHECKING:
    from harmbench.method import Method
    from harmbench.volume_correction import VolumeCorrection

__all__ = ["check_method", "doctor", "methods", "metrics", "new_method"]

_ONE_FOR_EACH = {"image": "volume", "tissue": "tissue", "lesion": "lesions"}


def methods(
    name: Annotated[
        str | None, typer.Argument(help="A method, a volume correction, or FILE.py:CLASS.")
    ] = None,
    full: Full = False,
    as_json: Json = False,
) -> None:
    """List the methods; with a name, its settings, source and parameter counts.

    The list is read from source files, without importing a method; `--full` imports them all. Volume
    corrections map tissue volumes, and no images; every run has those that come with harmbench.
    """
    if name is not None:
        _show_method(name, as_json)
        return
    rows = [_imported(method) if full else method for method in describe_installed()]
    if as_json:
        print_json([{"method": row.name, "class": row.place, **_described(row)} for row in rows])
        return
    table = [
        {
            "method": row.name,
            "title": row.title or row.problem,
            "maps": row.maps,
            "parameters": _total(row.parameters),
            "reference": row.reference,
        }
        for row in rows
    ]
    show_table(table, as_json, cut="reference")
    if any(row.problem or row.parameters is None for row in rows) and not full:
        say("some values need an import: harmbench methods --full imports every method")


def _described(method: InstalledMethod) -> dict[str, object]:
    names = ("title", "reference", "maps", "parameters", "problem")
    return {name: getattr(method, name) for name in names}


def _total(parameters: Mapping[str, int] | None) -> str:
    if parameters is None:
        return "not declared"
    return f"{sum(parameters.values()):,}" if parameters else "none"


def _imported(method: InstalledMethod) -> InstalledMethod:
    """Return a row with the values that need the method's class, which is imported."""
    try:
        kind = _load(method.name)
    except UnavailableError as error:
        return replace(method, problem=str(error))
    return replace(
        method,
        title=kind.title,
        reference=kind.reference,
        parameters=_counts(kind, method.name),
        problem="",
    )


def _load(name: str) -> type[Method] | type[VolumeCorrection]:
    from harmbench.discovery import is_correction, load_correction, load_method

    return load_correction(name) if is_correction(name) else load_method(name)


def _counts(kind: type[Method] | type[VolumeCorrection], name: str) -> dict[str, int]:
    from harmbench.method import Method

    if not issubclass(kind, Method):
        return {}
    with method_call(f"method '{name}'"):
        return dict(kind().parameter_counts())


def _show_method(name: str, as_json: bool) -> None:
    from harmbench.method import Method

    kind = _load(name)
    counts = _counts(kind, name)
    maps = "images" if issubclass(kind, Method) else "volumes"
    settings = [
        {
            "setting": key,
            "default": field.get_default(call_default_factory=True),
            "description": field.description or "",
        }
        for key, field in kind.Config.model_fields.items()
    ]
    if as_json:
        described = {"method": name, "title": kind.title, "reference": kind.reference}
        print_json({**described, "maps": maps, "parameters": counts, "settings": settings})
        return
    print(f"{name}: {kind.title}\nsource: {kind.reference or '-'}\nmaps: {maps}")
    print("parameters: " + (", ".join(f"{k} {v:,}" for k, v in counts.items()) or "none"))
    show_table(settings, as_json)


def metrics(
    name: Annotated[str | None, typer.Argument(help="A metric, such as mse.")] = None,
    as_json: Json = False,
) -> None:
    """List the metrics with unit, range and the direction that is better; or describe one."""
    if name is not None:
        _show_metric(name, as_json)
        return
    if as_json:
        print_json([asdict(metric) for metric in ALL_METRICS.values()])
        return
    rows = [
        {
            "metric": metric.name,
            "unit": metric.unit,
            "range": f"{metric.lower:g} to {metric.upper:g}",
            "better": metric.better,
            "one for each": _ONE_FOR_EACH[metric.scope],
        }
        for metric in ALL_METRICS.values()
    ]
    show_table(rows, as_json)


def _show_metric(name: str, as_json: bool) -> None:
    if name not in ALL_METRICS:
        raise MetricError(f"unknown metric '{name}'; {suggest(name, ALL_METRICS)}")
    described = asdict(ALL_METRICS[name])
    if as_json:
        print_json(described)
        return
    for field, value in described.items():
        print(f"{field}: {value:g}" if isinstance(value, float) else f"{field}: {value}")


def new_method(
    name: Annotated[str, typer.Argument(help="Such as my_method.")],
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path(),
    volumes: Annotated[
        bool, typer.Option("--volumes", help="A volume correction: it maps tissue volumes.")
    ] = False,
) -> None:
    """Write a working method adapter and its test, to start from.

    Example: `harmbench new-method my_correction --volumes`
    """
    from harmbench.cli.scaffold import new_method as write_method

    adapter, test, cls = write_method(name, folder, volumes=volumes)
    print(f"wrote {adapter} and {test}; next:")
    print(f"  harmbench check-method {adapter}:{cls}")
    print(f"  harmbench run --method {adapter}:{cls} --config demo")


def check_method(
    name: Annotated[str, typer.Argument(help="A method, or FILE.py:CLASS.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Run the contract's tests on a method: grid, range, seed, save and load, resume.

    A volume correction has a contract of its own: shape, finite volumes, each subject alone.

    Example: `harmbench check-method my_method.py:MyMethod --set degree=2`
    """
    from harmbench.config import parse_overrides
    from harmbench.contract import check_method as check
    from harmbench.correction_contract import check_correction
    from harmbench.discovery import is_correction, load_correction, load_method

    settings = parse_overrides(overrides or ())
    checks = (
        check_correction(load_correction(name), settings)
        if is_correction(name)
        else check(load_method(name), settings)
    )
    rows = [
        {"check": c.name, "result": "passed" if c.passed else "FAILED", "detail": c.detail}
        for c in checks
    ]
    show_table(rows, as_json)
    raise typer.Exit(0 if all(c.passed for c in checks) else 1)


def doctor(full: Full = False, as_json: Json = False) -> None:
    """Say what this installation can do: FSL, GPU, methods, versions.

    `found` means installed but not tried; `--full` tries it.
    """
    from harmbench.cli.doctor import examine

    findings = examine(full=full)
    show_table([asdict(finding) for finding in findings], as_json)
    if not full:
        say("`found` means installed but not tried: harmbench doctor --full tries it")
    raise typer.Exit(1 if any(finding.state == "broken" for finding in findings) else 0)
