from pathlib import Path

import numpy as np
import pytest

from harmbench.errors import ReportError
from harmbench.results import (
    COLUMNS,
    merge,
    read_results,
    results_header,
    results_text,
    table,
    write_results,
)

ROW = {
    "method": "dm",
    "direction": "3T-to-1.5T",
    "fold": 0,
    "seed": 0,
    "subject": "01",
    "group": "NA",
    "segmenter": "fast",
    "metric": "mse",
    "tissue": "",
    "value": 1 / 3,
    "unit": "1",
    "status": "ok",
}


def test_round_trip_keeps_text_and_missing_values(tmp_path: Path) -> None:
    frame = table([ROW, {**ROW, "metric": "dice", "value": np.nan, "status": "failed"}])
    write_results(frame, tmp_path / "r.csv")
    back = read_results(tmp_path / "r.csv")
    assert list(back.columns) == list(COLUMNS)
    # A subject called 01 and a group called NA stay what they are.
    assert back["subject"].tolist() == ["01", "01"]
    assert back["group"].tolist() == ["NA", "NA"]
    failed, ok = back.to_dict("records")
    assert np.isnan(failed["value"])
    assert ok["value"] == pytest.approx(1 / 3, rel=1e-8)
    write_results(back, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "r.csv").read_bytes()


@pytest.mark.parametrize("visits", [True, False])
def test_the_header_is_the_first_line(visits: bool) -> None:
    assert results_header(visits) == results_text(table([]), visits)
    assert results_text(table([ROW]), visits).startswith(results_header(visits))


def test_merge_keeps_the_later_measurement() -> None:
    merged = merge([table([ROW]), table([{**ROW, "value": 2.0}, {**ROW, "subject": "02"}])])
    assert sorted(zip(merged["subject"], merged["value"], strict=True)) == [
        ("01", 2.0),
        ("02", pytest.approx(1 / 3)),
    ]
    assert list(merge([]).columns) == list(COLUMNS)


def test_unreadable_tables(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no such file"):
        read_results(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ReportError, match="columns missing: method"):
        read_results(tmp_path / "other.csv")
