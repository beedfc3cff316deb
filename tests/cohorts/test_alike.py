"""Two spellings of one person, group or scanner are noted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harmbench.cohorts.alike import alike_notes, folded
from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.cohorts.manifest import read_manifest

LayOut = Callable[..., Path]


@pytest.mark.parametrize(
    "names",
    [
        ("3T", "3 T", "3t", "3.0T", "03T", "3_T", "３T"),  # noqa: RUF001
        ("B", "b", "Β", "β", "В"),  # noqa: RUF001
        ("ses-02", "ses-2", "Ses_02"),
        ("Prisma_fit", "Prisma Fit", "PRISMA-FIT", "prismafit"),
        ("sub-01", "sub-1", "SUB-001"),
        ("1.5T", "1.5 t", "01.5T"),
        ("Zürich", "Zu\N{COMBINING DIAERESIS}rich"),
    ],
)
def test_spellings_of_one_name(names: tuple[str, ...]) -> None:
    assert len({folded(name) for name in names}) == 1
    (note,) = alike_notes("scanners", names)
    assert note.kind == "scanners-alike"
    assert all(f"'{name}'" in note.where for name in names)


@pytest.mark.parametrize(
    "names",
    [
        ("1-1", "11", "1_11", "111"),
        ("1.5T", "15T", "1.05T", "5T", "1.50.1T", "1.10", "1.1"),
        ("sub-01", "sub-10", "sub-100"),
        ("0", "00a", "a0", "-", "_"),
        ("A", "B", "A1", "A 2"),
        ("E11.0.1", "E11", "E11.1"),
    ],
)
def test_names_that_differ(names: tuple[str, ...]) -> None:
    assert alike_notes("subjects", names) == []


def test_letters_of_another_script_are_named() -> None:
    (note,) = alike_notes("groups", ["B", "Β"])  # noqa: RUF001
    assert note.where == "'B' and 'Β' (greek capital letter beta)"  # noqa: RUF001


def test_people_and_scanners_of_a_folder(lay_out: LayOut) -> None:
    name = "sub-{0}/ses-{1}/anat/sub-{0}_ses-{1}_T1w.nii.gz"
    labels = [
        ("01", "pre"),
        ("01", "post"),
        ("1", "pre"),
        ("1", "Post"),
        ("AB", "pre"),
        ("ab", "post"),
    ]
    root = lay_out(*(name.format(*own) for own in labels))
    found = {(n.kind, n.where) for n in read_bids(root, BidsSettings(session_by="label")).notes}
    assert found >= {
        ("subjects-alike", "'sub-01' and 'sub-1'"),
        ("subjects-alike", "'sub-AB' and 'sub-ab'"),
        ("scanners-alike", "'Post' and 'post'"),
    }


def test_people_and_scanners_of_a_manifest(make_manifest) -> None:
    path = make_manifest(3)
    text = path.read_text().replace("s1,", "S0,").replace("s2,", "s02,").replace(",B,", ",3T,")
    path.write_text(text.replace(",3T,", ",3 T,", 1))
    kinds = {(n.kind, n.where) for n in read_manifest(path).notes if n.kind.endswith("-alike")}
    assert kinds == {("subjects-alike", "'S0' and 's0'"), ("scanners-alike", "'3 T' and '3T'")}
