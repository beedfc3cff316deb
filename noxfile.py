"""Tests under each supported Python: `nox`, `nox --session tests-3.12`, `nox -- tests/metrics`.

`make test` uses one Python and pinned requirements; here each Python gets the newest that it can have.
"""

from __future__ import annotations

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")

nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Install harmbench with its requirements, and run the tests, or those that are named."""
    session.install("--editable", ".[dev]")
    session.run("python", "-m", "pytest", *session.posargs)
