"""Commands that list what there is, and look whether it works: methods, metrics, doctor."""

from __future__ import annotations

import json
import re

import pytest
import torch

from harmbench.metrics.lesion_declarations import ALL_METRICS


def test_methods_and_their_settings(call) -> None:
    _, out, _ = call("methods", "--json")
    assert {"identity", "histogram_matching", "dm"} <= {row["method"] for row in json.loads(out)}
    _, out, _ = call("methods", "dm", "--json")
    described = json.loads(out)
    assert described["parameters"]["network"] == 11_402_370
    assert "iterations" in {row["setting"] for row in described["settings"]}
    code, out, _ = call("methods", "dm")
    assert code == 0
    assert "11,402,370" in out
    code, listed, _ = call("methods", "--json")
    code, asked, _ = call("methods", "--full", "--json")
    assert json.loads(listed) == json.loads(asked)


def test_methods_that_do_not_declare_what_they_are(call, install) -> None:
    text = """
from harmbench import Method

class Hidden(Method):
    title = "Hid" + "den".lower()

    def harmonize(self, source, task):
        return source

    def parameter_counts(self):
        return {"network": 12}
"""
    install({"hidden": text}, {"harmbench.methods:hidden": "hidden:Hidden"})
    code, out, err = call("methods")
    assert code == 0
    assert "not declared" in out
    assert "--full imports every method" in err
    code, out, err = call("methods", "--full", "--json")
    (row,) = (row for row in json.loads(out) if row["method"] == "hidden")
    assert (row["title"], row["parameters"]) == ("Hidden", {"network": 12})


def test_metrics_declare_themselves(call) -> None:
    _, out, _ = call("metrics", "--json")
    assert [row["name"] for row in json.loads(out)] == list(ALL_METRICS)
    code, out, _ = call("metrics", "hd95")
    assert code == 0
    assert "unit: mm" in out
    assert ALL_METRICS["hd95"].description in out
    code, _, err = call("metrics", "hd96")
    assert code == 2
    assert "unknown metric 'hd96'; did you mean 'hd95'" in err


def test_check_method_tells_what_broke(call, tmp_path) -> None:
    (tmp_path / "bad.py").write_text(
        "from harmbench.method import Method\n"
        "class Bad(Method):\n"
        "    def harmonize(self, source, task):\n"
        "        return source.with_data(source.data * 5)\n"
    )
    code, out, _ = call("check-method", f"{tmp_path}/bad.py:Bad")
    assert code == 1
    assert "FAILED" in out


def _findings(out: str) -> dict[str, dict[str, str]]:
    return {row["what"]: row for row in json.loads(out)}


def test_doctor_looks_without_trying(call, install) -> None:
    code, out, err = call("doctor", "--json")
    findings = _findings(out)
    assert code == 0
    assert findings["method dm"] == {
        "what": "method dm",
        "state": "found",
        "detail": "11,402,370 parameters",
    }
    assert findings["segmenter hmrf"]["state"] == findings["torch"]["state"] == "found"
    assert "segmenter auto" not in findings
    assert findings["weights VGG16"]["detail"].startswith(torch.hub.get_dir())
    assert "harmbench doctor --full" in err
    install({}, {"harmbench.methods:lost": "lost:Lost", "harmbench.segmenters:gone": "gone:Gone"})
    code, out, _ = call("doctor", "--json")
    broken = {name for name, row in _findings(out).items() if row["state"] == "broken"}
    assert (code, broken) == (1, {"method lost", "segmenter gone"})


def test_doctor_tries_everything(call) -> None:
    code, out, err = call("doctor", "--full", "--json")
    findings = _findings(out)
    assert code == 0
    assert findings["method dm"]["state"] == "ok"
    assert findings["method dm"]["detail"] == "11,402,370 parameters"
    assert findings["segmenter auto"]["state"] == findings["segmenter hmrf"]["state"] == "ok"
    assert err == ""


_NAMES = {
    "methods": {"histogram_matching"},
    "metrics": {"relative_volume_difference"},
    "doctor": {"histogram_matching", "scikit-image"},
}


@pytest.mark.parametrize("command", ["methods", "metrics", "doctor"])
def test_tables_fit_a_terminal_of_80_columns(call, monkeypatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    code, out, _ = call(command)
    lines = [re.sub("\x1b[^m]*m", "", line) for line in out.splitlines()]
    assert code == 0
    assert max(map(len, lines)) <= 80
    for name in ("histogram_matching", "relative_volume_difference", "scikit-image"):
        # No name is broken over two lines.
        assert any(name in line for line in lines) == (name in _NAMES[command])
