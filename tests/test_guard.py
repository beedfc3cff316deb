"""What a method's code may do to the program that calls it: nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harmbench.discovery import load_method
from harmbench.errors import ConfigError, MethodError
from harmbench.guard import method_call

METHOD = """
from pydantic import field_validator

from harmbench.method import Method, Settings
{top}

class OddSettings(Settings):
    level: int = 1

    @field_validator("level")
    @classmethod
    def _checked(cls, value):
        if value == 7:
            raise SystemExit(7)
        return value


class Odd(Method):
    Config = OddSettings

    def __init__(self, config=None):
        super().__init__(config)
        {init}

    def harmonize(self, source, task):
        {body}
        return source

    def parameter_counts(self):
        {counts}
        return {{}}
"""


@pytest.fixture
def write_method(tmp_path: Path):
    def write(**parts: str) -> str:
        texts = {"top": "", "init": "pass", "body": "pass", "counts": "pass", **parts}
        (tmp_path / "odd.py").write_text(METHOD.format(**texts))
        return f"{tmp_path / 'odd.py'}:Odd"

    return write


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(), r"^sys\.exit\(\) was called"),
        (SystemExit(3), r"^sys\.exit\(3\) was called"),
        (KeyboardInterrupt(), "^KeyboardInterrupt was raised$"),
        (GeneratorExit("done"), "^GeneratorExit was raised: done"),
        (asyncio.CancelledError(), "^CancelledError was raised$"),
    ],
)
def test_what_would_end_the_program_is_an_error(error: BaseException, message: str) -> None:
    with pytest.raises(MethodError, match=message) as found, method_call():
        raise error
    assert found.value.__cause__ is error


@pytest.mark.parametrize("error", [ValueError, ConfigError, StopIteration])
def test_other_exceptions_come_out_as_they_are(error: type[BaseException]) -> None:
    with pytest.raises(error), method_call():
        raise error


def test_errors_of_named_code_begin_with_its_name() -> None:
    with (
        pytest.raises(MethodError, match=r"^method 'x': ZeroDivisionError: "),
        method_call("method 'x'"),
    ):
        _ = 1 / 0


def test_a_hard_exit_is_an_error_too() -> None:
    leave = os._exit
    with pytest.raises(MethodError, match=r"^os\._exit\(0\) was called"), method_call():
        os._exit(0)
    assert os._exit is leave


def test_another_thread_may_end_the_program() -> None:
    program = (
        "import os, threading, time\n"
        "from harmbench.guard import method_call\n"
        "with method_call():\n"
        "    threading.Thread(target=lambda: os._exit(5)).start()\n"
        "    time.sleep(60)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_ends_by_a_hard_exit() -> None:
    with method_call():
        child = os.fork()
        if child == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_working_directory_is_put_back(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError), method_call():
        os.chdir("/")
        raise ValueError
    assert Path.cwd() == tmp_path
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    with method_call():
        (tmp_path / "gone").rmdir()
        os.chdir("/")


@pytest.mark.parametrize(
    "top", ["import sys; sys.exit()", "raise SystemExit('no')", "raise GeneratorExit"]
)
def test_a_file_that_ends_the_program_when_it_is_imported(write_method, call, top: str) -> None:
    name = write_method(top=top)
    with pytest.raises(MethodError, match=r"importing .*odd\.py failed: "):
        load_method(name)
    for command in (["check-method", name], ["methods", name], ["run", "--method", name]):
        code, _, err = call(*command)
        assert code == 2
        assert "odd.py failed: " in err


@pytest.mark.parametrize(
    "parts", [{"init": "raise SystemExit(0)"}, {"body": "raise SystemExit(0)"}]
)
def test_a_checked_method_that_ends_the_program_fails(write_method, call, parts) -> None:
    code, out, _ = call("check-method", write_method(**parts))
    assert code == 1
    assert "sys.exit(0) was called" in out


def test_settings_and_counts_that_end_the_program(write_method, call) -> None:
    name = write_method(counts="raise SystemExit(0)")
    code, _, err = call("check-method", name, "--set", "level=7")
    assert (code, "sys.exit(7) was called" in err) == (2, True)
    code, _, err = call("run", "--method", name)
    assert (code, "methods.Odd: sys.exit(0) was called" in err) == (2, True)
    code, _, err = call("methods", name)
    assert (code, "sys.exit(0) was called" in err) == (2, True)


def test_applying_a_method_that_ends_the_program(finished, call, tmp_path: Path) -> None:
    cell = finished("noisy")
    adapter = tmp_path / "leaves.py"
    text = (tmp_path / "noisy.py").read_text()
    adapter.write_text(
        text.replace("        import numpy", "        raise SystemExit\n\n        import numpy")
    )
    scan = tmp_path / "scans" / "s0_A.nii.gz"
    arguments = ("apply", cell, scan, "--out", tmp_path / "new", "--device", "cpu")
    code, _, err = call(*arguments, "--method", f"{adapter}:Noisy")
    assert code == 2
    assert "s0_A.nii.gz" in err
    assert "sys.exit() was called" in err
    assert not list((tmp_path / "new").glob("*"))
    code, _, err = call(*arguments)
    assert code == 2
    assert "never says which code to run" in err
