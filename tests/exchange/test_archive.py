"""Files of exported results from elsewhere: damaged, later, too large, or made to do harm."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harmbench.errors import ReportError
from harmbench.exchange import archive
from harmbench.exchange.archive import Shared, digest, read_archive, write_archive
from harmbench.exchange.pseudonyms import PrivateNames
from harmbench.exchange.schema import SharedCohort, SharedMethod, SharedResults
from harmbench.results import results_text, table
from harmbench.runner.run_record import SegmenterRecord
from harmbench.task import Direction

Values = dict[str, Any]


def rows(**changes: object) -> pd.DataFrame:
    """Two subjects' rows."""
    common = {
        "method": "dm",
        "direction": "3T-to-1.5T",
        "fold": 0,
        "seed": 0,
        "group": "HC",
        "segmenter": "",
        "metric": "mse",
        "tissue": "",
        "unit": "1",
        "status": "ok",
    }
    found = [{**common, "subject": s, "value": v} for s, v in (("1", 0.5), ("2", float("nan")))]
    found[0] |= changes
    return table(found)


def write(path: Path, results: pd.DataFrame, **changes: object) -> Path:
    record = SharedResults(
        kind="harmbench-results",
        cohort=SharedCohort(key="a" * 64, inputs="b" * 64, subjects=2),
        directions=(Direction("3T", "1.5T"),),
        methods={"dm": SharedMethod(title="DM", settings={"steps": 3})},
        segmenter=SegmenterRecord(name="hmrf"),
        rows=len(results),
        table=digest(results),
    )
    write_archive(Shared(record.model_copy(update=changes), results, pd.DataFrame()), path)
    return path


def rewritten(path: Path, change: Callable[[Values], object], text: str | None = None) -> Path:
    """Write an archive again with another record, and with another table where one is given."""
    with zipfile.ZipFile(path) as old:
        values = json.loads(old.read("export.json"))
        held = old.read("results.csv").decode() if text is None else text
    values["table"] = hashlib.sha256(held.encode()).hexdigest()
    change(values)
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("export.json", json.dumps(values))
        new.writestr("results.csv", held)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "good.zip", rows())


def test_what_was_written_is_read(good: Path) -> None:
    record, results, _ = read_archive(good)
    assert record.methods["dm"].settings == {"steps": 3}
    assert results_text(results) == results_text(rows())


def test_every_cut_and_changed_byte_is_an_error_or_harmless(good: Path) -> None:
    whole = good.read_bytes()
    before = read_archive(good)[1]
    for place in range(0, len(whole), 7):
        for content in (whole[:place], whole[:place] + b"\xff" + whole[place + 1 :]):
            good.write_bytes(content)
            try:
                results = read_archive(good)[1]
            except ReportError:
                continue
            pd.testing.assert_frame_equal(results, before)


def test_a_later_format_says_so(good: Path) -> None:
    rewritten(good, lambda values: values.update(format=2))
    with pytest.raises(ReportError, match="written by a later harmbench"):
        read_archive(good)
    rewritten(good, lambda values: values.update(format=1, colour="red"))
    with pytest.raises(ReportError, match=r"later harmbench .this one does not know colour"):
        read_archive(good)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "model"}, "not a file of exported results"),
        ({"kind": None}, "not a file of exported results"),
        ({"table": "0" * 64}, "the table is not the one that was exported"),
        ({"rows": 3}, "3 rows were exported, 2 are there"),
        ({"rows": 0}, "damaged"),
        ({"methods": {}}, "unknown method 'dm'"),
        ({"methods": {"dm": {"title": "x\x1b[2J"}}}, "a name that is not allowed"),
        ({"methods": {"dm": {"title": "x" * 300}}}, "damaged"),
        ({"directions": [{"source": "A", "target": "B"}]}, "unknown direction"),
        ({"cohort": {"key": "../../x", "inputs": "b" * 64, "subjects": 2}}, "cohort.key"),
        ({"cohort": {"key": "a" * 64, "inputs": "b" * 64, "subjects": 1}}, "unknown subject '2'"),
        ({"cohort": {"key": "a" * 64, "inputs": "b" * 64, "subjects": 10**9}}, "cohort.subjects"),
    ],
)
def test_records_that_do_not_hold(good: Path, change: Mapping[str, Any], message: str) -> None:
    rewritten(good, lambda values: values.update(change))
    with pytest.raises(ReportError, match=message):
        read_archive(good)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": "Alice"}, "unknown subject 'Alice'"),
        ({"subject": "01"}, "unknown subject '01'"),
        ({"status": "fine"}, "unknown status"),
        ({"tissue": "../x"}, "unknown tissue"),
        ({"visit": "2020-01-01"}, "visits are no numbers"),
        ({"group": "=HYPERLINK(1)"}, "a name that is not allowed"),
        ({"metric": "m" * 500}, "a name that is not allowed"),
        ({"subject": "2", "group": "MS"}, "a subject is in two groups"),
    ],
)
def test_tables_that_do_not_hold(tmp_path: Path, change: Values, message: str) -> None:
    path = write(tmp_path / "bad.zip", rows(**change))
    with pytest.raises(ReportError, match=message):
        read_archive(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.5", "much", "values are no numbers|not a results table"),
        ("3T-to-1.5T,0,", "3T-to-1.5T,x,", "folds or seeds"),
        ("method,", "way,", "columns missing: method"),
    ],
)
def test_tables_that_are_no_results(good: Path, old: str, new: str, message: str) -> None:
    rewritten(good, lambda _: None, results_text(rows()).replace(old, new))
    with pytest.raises(ReportError, match=message):
        read_archive(good)


def test_more_or_other_parts_are_refused(good: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(good, "a") as held:
        held.writestr("../../evil.txt", "x")
    with pytest.raises(
        ReportError, match=r"export.json and results.csv, perhaps training-sizes.csv, alone"
    ):
        read_archive(good)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.zip"]


def test_a_part_that_unpacks_to_too_much_is_not_unpacked(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(archive.MOST_BYTES, "results.csv", 1 << 20)
    with zipfile.ZipFile(good, "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr("export.json", "{}")
        held.writestr("results.csv", b"0" * (50 << 20))
    with pytest.raises(ReportError, match=r"results.csv has more than 1 MiB"):
        read_archive(good)


def test_deep_json_is_an_error(good: Path) -> None:
    with zipfile.ZipFile(good, "w") as held:
        held.writestr("export.json", "[" * 200_000)
        held.writestr("results.csv", "")
    with pytest.raises(ReportError, match="not a file of exported results"):
        read_archive(good)


def test_more_than_a_reader_takes_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(archive.MOST_BYTES, "results.csv", 10)
    with pytest.raises(ReportError, match=r"results.csv would have more than"):
        write(tmp_path / "large.zip", rows())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("of sub-042, twice", True),
        ("sub-0421", False),
        ("version 1.12.3", False),  # 12 is a subject, and too short to be told from a number
        ("see /home/x", True),
        ("~/x", True),
        ("../x", True),
        (r"C:\x", True),
        ("https://doi.org/10.1000/182", False),
        ("and/or", False),
        ("700123", True),
    ],
)
def test_private_names(text: str, found: bool) -> None:
    assert PrivateNames(["sub-042", "12", "700123"]).found_in(text) is found
