"""The command line: commands over the public API.

Modules are imported inside the commands, so that `--help` answers before torch, nibabel and pandas
are loaded.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from harmbench import __version__
from harmbench.cli.adapters import check_method, doctor, methods, metrics, new_method
from harmbench.cli.comparing import compare, export_results
from harmbench.cli.console import fail, say
from harmbench.cli.running import demo, report, rescore, run, serve
from harmbench.cli.scans import cohort, prepare, score, segment
from harmbench.cli.study import study
from harmbench.cli.trained import apply, export
from harmbench.cli.watching import cancel, gc, status, verify
from harmbench.errors import HarmbenchError

__all__ = ["app", "main"]

_EPILOG = (
    "Exit codes: 0 success; 1 the work ended but a cell or check failed, or scores of tissues are "
    "missing; 2 wrong usage or input, nothing was done; 3 an error of the system (disk full, no "
    "permission) or in harmbench itself; 130 interrupted. "
    "`--debug`, anywhere, shows tracebacks."
)

app = typer.Typer(
    name="harmbench",
    help="A benchmark of MRI contrast harmonization methods.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"harmbench {__version__}")
        raise typer.Exit


_COMMANDS = (
    run,
    rescore,
    report,
    serve,
    compare,
    export_results,
    demo,
    status,
    cancel,
    verify,
    gc,
    methods,
    metrics,
    new_method,
    check_method,
    cohort,
    prepare,
    segment,
    score,
    apply,
    export,
    doctor,
)
for _command in _COMMANDS:
    app.command(name=_command.__name__.replace("_", "-"))(_command)

app.add_typer(study, name="study")

_INTERRUPTED = 130


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; harmbench's own errors become one readable line."""
    # SIGTERM counts as an interrupt: child processes are ended and temporary files removed.
    before = signal.signal(signal.SIGTERM, _interrupt)
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app(prog_name="harmbench")
    except HarmbenchError as error:
        fail(error, f"error: {error}", 2, debug)
    except SystemExit as ended:
        # typer has turned the interrupt into this code, silently.
        if ended.code == _INTERRUPTED:
            say("interrupted; run the same command again to continue")
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(error, f"system error: {where}{error.strerror or error}", 3, debug)
    except Exception as error:  # noqa: BLE001 - the last door
        text = f"internal error: {type(error).__name__}: {error} (--debug shows where)"
        fail(error, text, 3, debug)
    finally:
        signal.signal(signal.SIGTERM, before)
