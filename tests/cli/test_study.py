"""Commands of a study, and the options of the simulated cohort."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harmbench.trained import changes


def test_follow_ups_need_the_simulated_cohort(call, tmp_path: Path) -> None:
    scan = tmp_path / "scans.csv"
    scan.write_text("subject,group,session,path\n")
    code, _, err = call("cohort", "--data", str(scan), "--follow-ups")
    assert code == 2
    assert "lists no scan" in err


def test_changes_need_a_run(call, tmp_path: Path) -> None:
    code, _, err = call("study", "changes", str(tmp_path))
    assert code == 2
    assert "not a run folder" in err


def test_changes_are_printed_as_lines(
    call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {
            "method": "unet",
            "direction": "A-to-B",
            "segmenter": "x",
            "tissue": "GM",
            "subject": subject,
            "visit": visit,
            "true_percent": true,
            "measured_percent": 0.5 * true,
        }
        for subject in ("s1", "s2")
        for visit, true in (("fu0", 0.0), ("fu1", -1.0), ("fu2", -2.0))
    ]
    asked: dict[str, object] = {}

    def measure(run, methods, **options):
        asked.update(run=run, methods=list(methods), **options)
        return pd.DataFrame(rows)

    monkeypatch.setattr(changes, "measure_changes", measure)
    code, out, _ = call("study", "changes", str(tmp_path), "-m", "unet", "--jobs", "2", "--json")
    assert code == 0
    assert '"slope": 0.5' in out
    assert (asked["methods"], asked["jobs"], asked["device"]) == (["unet"], 2, "auto")


def test_study_lists_its_commands(call) -> None:
    code, out, _ = call("study", "--help")
    assert code == 0
    assert "changes" in out
