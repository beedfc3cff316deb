"""Tables and JSON as others write them; what is text stays text."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from harmbench.errors import CohortError
from harmbench.files.text import read_object, read_table

PEOPLE = "participant_id\tgroup\nsub-01\tgesünd\nsub-02\tMS\n"


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        (PEOPLE.encode(), []),
        (codecs.BOM_UTF8 + PEOPLE.encode(), []),
        (PEOPLE.encode("utf-16"), []),
        (PEOPLE.encode("utf-16-le"), []),
        (PEOPLE.encode("utf-16-be"), []),
        (PEOPLE.encode("utf-32"), []),
        (PEOPLE.encode("cp1252"), ["encoding-guessed"]),
        (PEOPLE.replace("\n", "\r\n").encode(), []),
        (PEOPLE.replace("\n", "\r").encode(), []),
        (PEOPLE.replace("\n", "\t\n").encode(), []),
        (PEOPLE.replace("\n", "\t\t\n\n").encode(), []),
        (PEOPLE.replace("MS\n", "MS\t\n").encode(), []),
        (PEOPLE.replace("MS\n", '"MS"').encode(), []),
        (PEOPLE.replace("\t", ";").encode(), ["table-separator"]),
        (PEOPLE.replace("\t", " , ").encode(), ["table-separator"]),
    ],
)
def test_one_table_in_many_forms(tmp_path: Path, raw: bytes, kinds: list[str]) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(raw)
    table = read_table(path, "\t")
    assert table.columns == ("participant_id", "group")
    assert [tuple(row.values.values()) for row in table.rows] == [
        ("sub-01", "gesünd"),
        ("sub-02", "MS"),
    ]
    assert [note.kind for note in table.notes] == kinds


@pytest.mark.parametrize("name", ["NA", "null", "nan", "1e3", "007", "1.0", "True", "n/a", "#N/A"])
def test_text_stays_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"a,b\n{name},{name}\n")
    assert dict(read_table(path, ",").rows[0].values) == {"a": name, "b": name}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("\n \n", "the table is empty"),
        ("a,b\n1,2,3\n", "line 2 has 3 values for 2 columns"),
        ("a,,b\n1,2,3\n", "column 2 has no name"),
        ("a,b,a\n1,2,3\n", "column 'a' is there twice"),
        ('a,b\n1,"2\n3,4\n', "line 2: a value begins with a quotation mark"),
        ('a,b\n1,2\n3,"4"5\n', "line 3: text goes on after a closing quotation mark"),
        ("# my scans\na,b\n1,2\n", "line 1 begins with #: comments are not read"),
        ("#my scans\na,b\n1,2\n", "line 1 begins with #: comments are not read"),
        ("\0\1\2\0a,b", "not readable as utf-16"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    with pytest.raises(CohortError, match=message) as caught:
        read_table(path, ",")
    assert str(path) in str(caught.value)


def test_a_column_may_begin_with_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("#subject,b\n1,2\n")
    assert read_table(path, ",").columns == ("#subject", "b")


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,b\r\n\r\n"x\r\ny",1\r\n2,3')
    assert [row.line for row in read_table(path, ",").rows] == [3, 5]
    with pytest.raises(CohortError, match="a folder, expected a file"):
        read_table(tmp_path, ",")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_objects_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "o.json"
    path.write_bytes('{"Name": "Zürich"}'.encode(encoding))
    found, notes = read_object(path)
    assert found == {"Name": "Zürich"}
    assert len(notes) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n "b" 2}', "not valid JSON, line 2, column 6"),
        ("", "not valid JSON, line 1"),
        ("[1]", "expected a JSON object {...}, got list"),
        ("[" * 100000, "not usable JSON"),
    ],
)
def test_objects_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "o.json"
    path.write_text(text)
    with pytest.raises(CohortError) as caught:
        read_object(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
