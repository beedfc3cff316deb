"""The layout of a run folder."""

from __future__ import annotations

import pytest

from harmbench.runs import file_label


@pytest.mark.parametrize("name", ["sub-01", "3T-to-1.5T", "dm_small", "a+b", "Łódź"])
def test_ordinary_names_stay(name: str) -> None:
    assert file_label(name) == name


def test_no_two_names_share_a_file() -> None:
    names = ["s 1", "s-1", "s/1", "s%201", "s:1", "s%1", "../s1", "s\\1"]
    labels = [file_label(name) for name in names]
    assert len(set(labels)) == len(names)
    assert not any(sign in label for label in labels for sign in "/\\: ")
