"""Commands for who chooses or writes a method: what there is, and whether it works."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli.console import print_json, show_table
from harmbench.cli.options import Json, Overrides

__all__ = ["check_method", "doctor", "methods", "metrics", "new_method"]


def methods(
    name: Annotated[str | None, typer.Argument(help="A method, or FILE.py:CLASS.")] = None,
    as_json: Json = False,
) -> None:
    """List the methods; with a name, its settings, source and parameter counts."""
    from harmbench.discovery import available_methods, load_method
    from harmbench.guard import method_call

    if name is None:
        rows = []
        for label, point in available_methods().items():
            kind = load_method(label)
            row = {"method": label, "title": kind.title, "class": point.value}
            rows.append({**row, "reference": kind.reference})
        show_table(rows, as_json)
        return
    kind = load_method(name)
    settings = [
        {
            "setting": key,
            "default": field.get_default(call_default_factory=True),
            "description": field.description or "",
        }
        for key, field in kind.Config.model_fields.items()
    ]
    with method_call(f"method '{name}'"):
        counts = dict(kind().parameter_counts())
    if as_json:
        described = {"method": name, "title": kind.title, "reference": kind.reference}
        print_json({**described, "parameters": counts, "settings": settings})
        return
    print(f"{name}: {kind.title}\nsource: {kind.reference or '-'}")
    print("parameters: " + (", ".join(f"{k} {v:,}" for k, v in counts.items()) or "none"))
    show_table(settings, as_json)


def metrics(as_json: Json = False) -> None:
    """List the metrics with unit, range and the direction that is better."""
    from dataclasses import asdict

    from harmbench.metrics.suite import METRICS

    show_table([asdict(metric) for metric in METRICS.values()], as_json)


def new_method(
    name: Annotated[str, typer.Argument(help="Such as my_method.")],
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path(),
) -> None:
    """Write a working method adapter and its test, to start from."""
    from harmbench.cli.scaffold import new_method as write_method

    adapter, test, cls = write_method(name, folder)
    print(f"wrote {adapter} and {test}; next:")
    print(f"  harmbench check-method {adapter}:{cls}")
    print(f"  harmbench run --method {adapter}:{cls} --config demo")


def check_method(
    name: Annotated[str, typer.Argument(help="A method, or FILE.py:CLASS.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Run the contract's tests on a method: grid, range, seed, save and load, resume.

    Example: `harmbench check-method my_method.py:MyMethod --set degree=2`
    """
    from harmbench.config import parse_overrides
    from harmbench.contract import check_method as check
    from harmbench.discovery import load_method

    checks = check(load_method(name), parse_overrides(overrides or ()))
    rows = [
        {"check": c.name, "result": "passed" if c.passed else "FAILED", "detail": c.detail}
        for c in checks
    ]
    show_table(rows, as_json)
    raise typer.Exit(0 if all(c.passed for c in checks) else 1)


def doctor(as_json: Json = False) -> None:
    """Say what this installation can do: FSL, GPU, methods, versions."""
    from dataclasses import asdict

    from harmbench.cli.doctor import examine

    findings = examine()
    show_table([asdict(finding) for finding in findings], as_json)
    raise typer.Exit(1 if any(finding.state == "broken" for finding in findings) else 0)
