"""Notes: grouped for people, kept for records, shown in the report."""

from __future__ import annotations

from pathlib import Path

from harmbench.notes import Note, summarize, to_records


def test_equal_notes_become_one_line_with_their_places() -> None:
    notes = [Note("odd", "the header is odd", f"scan-{i}.nii") for i in range(5)]
    notes += [Note("whole", "the table is short"), notes[0]]
    assert summarize(notes) == [
        "odd: the header is odd (scan-0.nii, scan-1.nii, scan-2.nii and 2 more)",
        "whole: the table is short",
    ]


def test_records_are_unique_sorted_and_come_back() -> None:
    notes = [Note("b", "two", "x"), Note("a", "one"), Note("b", "two", "x")]
    records = to_records(notes)
    assert records == [
        {"kind": "a", "text": "one", "where": ""},
        {"kind": "b", "text": "two", "where": "x"},
    ]
    assert [Note(**record) for record in records] == sorted(set(notes))
    assert summarize([Note("kind", "text", str(Path("a.nii")))]) == ["kind: text (a.nii)"]
