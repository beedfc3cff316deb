"""Tables of a switch of scanner, rescans, known change and lesions."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmbench.metrics.lesion_declarations import ALL_METRICS
from harmbench.pages.table import Table
from harmbench.report.evidence import Evidence
from harmbench.report.figures.plots import subject_plot
from harmbench.report.loading import load_evidence
from harmbench.report.quantities import quantity
from harmbench.report.tables.study import study_tables
from harmbench.results import RESCAN, read_results, write_results
from harmbench.study.change_table import (
    CHANGE_COLUMNS,
    change_table_path,
    read_changes,
    write_changes,
)
from harmbench.study.changes import NO_SWITCH
from harmbench.study.switch import Trial

MakeRun = Callable[..., Path]
Call = Callable[..., tuple[int, str, str]]


def with_rescans(run: Path) -> None:
    """Add a rescan with half the error of the method dm, for all subjects."""
    results = read_results(run / "results.csv")
    own = results[results["method"] == "dm"].assign(method=RESCAN)
    perfect = own["metric"].isin(["dice", "ssim"])
    own["value"] = own["value"].where(~perfect, 1 - (1 - own["value"]) / 2)
    own["value"] = own["value"].where(perfect, own["value"] / 2)
    write_results(pd.concat([results, own]), run / "results.csv")


def with_lesions(run: Path) -> None:
    results = read_results(run / "results.csv")
    own = results[(results["metric"] == "mse") & (results["subject"] == "s2")]
    rows = [
        own.assign(metric=name, value=value, unit=unit)
        for name, value, unit in (
            ("mse_lesions", 0.004, "1"),
            ("lesion_contrast_change", -20.0, "%"),
            ("lesion_volume_mm3", 500.0, "mm3"),
            ("lesion_volume_difference", 5.0, "%"),
        )
    ]
    write_results(pd.concat([results, *rows]), run / "results.csv")


def with_changes(run: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for method, slope, offset in (("dm", 0.0, 3.0), (NO_SWITCH, 1.0, 0.0)):
        for subject in ("s1", "s2", "s3", "s4"):
            for visit, true in (("fu0", 0.0), ("fu1", -1.0), ("fu2", -2.0)):
                for tissue in ("CSF", "GM", "WM"):
                    measured = offset + slope * true + 0.2 * rng.standard_normal()
                    row = (method, "3T-to-1.5T", 0, 0, subject, "HC", visit, "hmrf", tissue)
                    rows.append((*row, true, measured, "ok", "key"))
    write_changes(pd.DataFrame(rows, columns=list(CHANGE_COLUMNS)), change_table_path(run))


def tables_of(run: Path, trial: Trial | None = None) -> dict[str, Table]:
    evidence: Evidence = load_evidence([run], ALL_METRICS)
    return {table.name: table for table in study_tables(evidence, trial)}


def row(table: Table, label: str) -> list[str]:
    (found,) = [one for one in table.rows if one.labels[0] == label]
    entries = zip(found.entries, table.columns, strict=True)
    return [entry.format(column) for entry, column in entries]


def title(run: Path, method: str) -> str:
    return load_evidence([run], ALL_METRICS).methods[method]


def test_any_run_has_the_cost_of_a_switch(make_run: MakeRun) -> None:
    run = make_run()
    tables = tables_of(run)
    assert set(tables) == {"table-44-switch-3T-to-1.5T", "table-44-switch-1.5T-to-3T"}
    table = tables["table-44-switch-3T-to-1.5T"]
    assert table.caption.startswith("Simulated scans, not acquired.")
    assert "0.25 % of the volume" in table.caption
    assert "not known" in table.caption
    cells = row(table, title(run, "dm"))
    assert len(cells) == 12
    assert cells[3] == "\N{EN DASH}"
    # Four times the effect: a sixteenth of the subjects, but for rounding up.
    more = row(
        tables_of(run, Trial(effect_percent=1.0))["table-44-switch-3T-to-1.5T"], title(run, "dm")
    )
    assert float(cells[2]) == pytest.approx(16 * float(more[2]), abs=16)


def test_rescans_give_a_floor_and_a_ratio(make_run: MakeRun) -> None:
    run = make_run()
    with_rescans(run)
    tables = tables_of(run)
    floor = tables["table-45-rescan-floor-3T-to-1.5T"]
    dm = [c.heads[-1].text for c in floor.columns].index(title(run, "dm"))
    found = [row.entries[dm].value for row in floor.rows]
    assert all(value == pytest.approx(2) for value in found if np.isfinite(value))
    assert np.isfinite(found).any()
    assert all(c.heads[-1].text not in ("Rescan", "Target (ceiling)") for c in floor.columns)
    ratios = row(tables["table-44-switch-3T-to-1.5T"], title(run, "dm"))
    assert ratios[3] != "\N{EN DASH}"


def test_known_changes_are_shown_where_they_were_measured(make_run: MakeRun) -> None:
    run = make_run()
    with_changes(run)
    table = tables_of(run)["table-46-changes-3T-to-1.5T"]
    slope, offset, _, ratio, *_ = row(table, title(run, "dm"))
    assert abs(float(slope.split()[0])) < 0.3
    assert float(offset.split()[0]) == pytest.approx(3, abs=0.4)
    assert ratio == "\N{EN DASH}"
    assert row(table, "No switch (target scanner)")[3] == "1.00"
    assert "simulated too" in table.caption


def test_corrections_have_rows_among_known_changes(make_run: MakeRun) -> None:
    run = make_run(corrections={"volume_ratio": 2.0})
    with_changes(run)
    path = change_table_path(run)
    rows = read_changes(path)
    own = rows[rows["method"] == "dm"].assign(method="volume_ratio")
    write_changes(pd.concat([rows, own]), path)
    table = tables_of(run)["table-46-changes-3T-to-1.5T"]
    assert row(table, "volume_ratio") == row(table, title(run, "dm"))


def test_rescans_are_a_line_in_figures(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    plot = partial(subject_plot, name="f", title="t", panels=[("mse", "")])
    before = plot(load_evidence([run], ALL_METRICS))
    with_rescans(run)
    evidence = load_evidence([run], ALL_METRICS)
    after = plot(evidence)
    assert before is not None
    assert after is not None
    assert "rescans" not in before.caption
    assert "Dashed line: the median of rescans" in after.caption
    values = evidence.values("mse")
    for axis, direction in zip(after.figure.axes, evidence.directions, strict=True):
        own = values[(values["method"] == RESCAN) & (values["direction"] == str(direction))]
        (line,) = [line for line in axis.lines if line.get_linestyle() == "--"]
        scale = 10.0 ** quantity(evidence, "mse").divide
        assert line.get_xdata()[0] == pytest.approx(own["value"].median() / scale)


def test_every_table_is_printed_without_a_report(make_run: MakeRun, call: Call) -> None:
    run = make_run(corrections={"volume_ratio": 2.0}, inner={"volume_ratio": 1.0}, volumes=False)
    code, out, _ = call("study", "tables", str(run), "--json")
    assert code == 0
    found = {table["name"]: table for table in json.loads(out)}
    assert {name.split("-")[1] for name in found} == {"40", "41", "42", "44"}
    rows = found["table-40-worth-3T-to-1.5T"]["rows"]
    assert {"difference_mm3", "low_mm3", "p_adjusted", "folds"} <= set(rows[0])
    code, out, _ = call("study", "tables", str(run), "--table", "switch-3T")
    assert code == 0
    assert "What a switch of scanner costs, 3T to 1.5T" in out
    code, out, _ = call("study", "tables", str(run))
    assert "table-41-volume-agreement-1.5T-to-3T" in out
    code, _, err = call("study", "tables", str(run), "--table", "nothing")
    assert code == 2
    assert "no table 'nothing'; there are: table-40" in err


def test_lesions_have_a_table_where_there_are_masks(make_run: MakeRun) -> None:
    run = make_run()
    with_lesions(run)
    table = tables_of(run)["table-47-lesions-3T-to-1.5T"]
    assert table.caption.startswith("Simulated scans, not acquired. 1 subject has a mask")
    assert row(table, title(run, "dm"))[1].startswith("-20")


def test_of_very_many_directions_one_table_shows_all(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    with_rescans(run)
    before = tables_of(run)
    assert not [name for name in before if "all-directions" in name]
    monkeypatch.setattr("harmbench.report.evidence.MOST_DIRECTIONS", 1)
    tables = tables_of(run)
    for kind in ("switch", "rescan-floor"):
        single = [name for name in before if f"-{kind}-" in name]
        kept = [name for name in tables if f"-{kind}-" in name]
        assert (len(single), len(kept)) == (2, 2)
        (whole,) = [tables[name] for name in kept if "all-directions" in name]
        directions = {one.labels[1] for one in whole.rows}
        assert len(directions) == 2
        # What the tables of single directions show stands in its file.
        rows = pd.concat([before[name].data for name in single])
        assert len(whole.data) == len(rows)
        assert sorted(whole.data["direction"]) == sorted(rows["direction"])
