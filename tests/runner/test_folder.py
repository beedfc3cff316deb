"""The layout of a run folder, and what its records survive."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from harmbench.errors import ReportError, RunError
from harmbench.files.names import check_names, file_label, same_on_disk
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.folder import RunFolder
from harmbench.runner.invocation_files import add_invocation, change_invocation, damaged_records
from harmbench.runner.run_record import Invocation, RunRecord
from harmbench.sums import read_sealed, write_sealed


@pytest.mark.parametrize("name", ["sub-01", "3T-to-1.5T", "dm_small", "a+b", "Łódź", "v1.2"])
def test_ordinary_names_stay(name: str) -> None:
    assert file_label(name) == name


def test_no_two_names_share_a_file() -> None:
    names = ["s 1", "s-1", "s/1", "s%201", "s:1", "s%1", "../s1", "s\\1", "\u2028", " 28", "%2028"]
    names += [".", "..", "...", "%2E", "", "%", ".tmp-a", "a.", "a", "%u002028"]
    labels = [file_label(name) for name in names]
    assert len(set(labels)) == len(names)
    assert not any(sign in label for label in labels for sign in "/\\: ")


@pytest.mark.parametrize("name", [".", "..", "...", ".tmp-x", ".hidden", "a.", "", "a/..", "\0"])
def test_no_name_leaves_its_folder_or_hides_in_it(name: str) -> None:
    label = file_label(name)
    assert label
    assert not label.startswith(".")
    assert not label.endswith(".")
    assert Path("folder", label).resolve().parent == Path("folder").resolve()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["DM", "dm"], "methods 'DM' and 'dm' would share one file"),
        (["Straße", "STRASSE"], "would share one file"),
        (["\u212b", "\u00c5"], "would share one file"),
        (["\u01c4x", "\u01c5X"], "would share one file"),
        (["a", ""], "a method has an empty name"),
        (["x" * 201], "201 bytes, at most 200"),
        (["\u00e9" * 101], "202 bytes, at most 200"),
    ],
)
def test_names_that_cannot_have_files_of_their_own(names: list[str], message: str) -> None:
    with pytest.raises(RunError, match=message):
        check_names("method", {name: file_label(name) for name in names})


def test_names_that_can() -> None:
    names = ["a", "b", "a.b", "a b", "a_b", ".", "..", "é", unicodedata.normalize("NFD", "é")]
    check_names("method", {name: file_label(name) for name in names})
    assert len({same_on_disk(file_label(name)) for name in names}) == len(names)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\0\0\0", "null"])
def test_a_damaged_record_is_told_by_name(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_text(text)
    with pytest.raises(ReportError, match=r"run\.json"):
        folder.read_record()
    cell = CellFolder(tmp_path)
    cell.record.write_text(text)
    assert cell.read_record() is None


@pytest.mark.parametrize("text", ["", "subject;fold\n", "subject,group\ns1,HC\n", "\0", 'a,"b\n'])
def test_damaged_tables_are_told_by_name(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.folds.write_text(text)
    with pytest.raises(RunError, match=r"folds\.csv"):
        folder.fold_table()
    with pytest.raises(RunError, match=r"inputs\.csv"):
        folder.input_scans()


def test_names_in_tables_are_text(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.folds.write_text("subject,group,fold\n007,NA,0\nnan,1e3,1\n")
    table = folder.fold_table()
    assert table["subject"].tolist() == ["007", "nan"]
    assert table["group"].tolist() == ["NA", "1e3"]


def test_what_invocations_add_comes_together(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.is_run
    one, two = Invocation(id="one"), Invocation(id="two")
    add_invocation(tmp_path, "one", RunRecord(name="first", invocations=(one,)))
    add_invocation(tmp_path, "two", RunRecord(stacking_axis=2, invocations=(two,)))
    change_invocation(tmp_path, "one", lambda own: own.with_invocation("one", {"cells": 3}))
    record = folder.read_record()
    assert (record.name, record.stacking_axis) == ("first", 2)
    assert [(each.id, each.cells) for each in record.invocations] == [("one", 3), ("two", 0)]
    # What `run.json` says follows from the files, and the other way round.
    folder.record.write_text("{")
    assert folder.is_run
    assert folder.read_record() == record
    change_invocation(tmp_path, "two", lambda own: own)
    (path,) = (tmp_path / "invocations").glob("*-one.json")
    path.write_text(path.read_text().replace("first", "worst"))
    assert folder.read_record().name == "first"
    assert "0001-one.json: damaged" in damaged_records(tmp_path, mend=True)[0]
    assert damaged_records(tmp_path) == []
    folder.record.unlink()
    assert folder.read_record() == record


def test_a_record_of_an_earlier_harmbench_is_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_text('{"name": "old", "invocations": [{"id": "old", "cells": 7}]}')
    add_invocation(tmp_path, "new", RunRecord(invocations=(Invocation(id="new"),)))
    folder.record.unlink()
    record = folder.read_record()
    assert record.name == "old"
    assert [(each.id, each.cells) for each in record.invocations] == [("old", 7), ("new", 0)]


@pytest.mark.parametrize("place", ["name", "value", "sum", "sum's name"])
def test_a_changed_bit_in_a_record_is_found(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, {"name": "value", "numbers": [1, 2.5, float("nan")]})
    assert read_sealed(path) is not None
    text = path.read_text()
    changed = {
        "name": text.replace("name", "nale"),
        "value": text.replace("2.5", "3.5"),
        "sum": re.sub(r'"sha256": "(.)', r'"sha256": "g', text),
        "sum's name": text.replace("sha256", "sha257"),
    }[place]
    path.write_text(changed)
    with pytest.raises(ValueError, match="not those that were written"):
        read_sealed(path)
