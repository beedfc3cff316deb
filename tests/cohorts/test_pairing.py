"""Pairs, directions, and the scans that a run takes of each subject."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.directions import choose_directions
from harmbench.cohorts.pairing import first_scans, natural_key, pairs, require_pairs, rescans
from harmbench.errors import CohortError
from harmbench.task import Direction

WAY = Direction("A", "B")


def cohort(*scans: str, when: dict[str, str] | None = None) -> Cohort:
    """Scans such as `s1 A 2`: subject, scanner, visit."""
    found = {}
    for text in scans:
        subject, scanner, visit = text.split()
        session = f"{scanner}-{visit}"
        found[subject, session] = Scan(
            subject, session, Path(text), None, scanner, visit, (when or {}).get(text, "")
        )
    groups = {scan.subject: "HC" for scan in found.values()}
    return Cohort("manifest", "", simulated=False, groups=groups, scans=found)


def visits(own: Cohort, which: str, way: Direction = WAY) -> list[tuple[str, str, str]]:
    return [(p.subject, p.visit, p.target.visit) for p in pairs(own, way, which)]  # type: ignore[arg-type] # a literal


def test_old_style_scans_are_scanners() -> None:
    scan = Scan("s", "3T", Path("x"))
    assert (scan.scanner, scan.visit) == ("3T", "")


def test_visits_in_natural_order() -> None:
    labels = ["v10", "v2", "v1", "2", "10", "v2b"]
    assert sorted(labels, key=natural_key) == ["2", "10", "v1", "v2", "v2b", "v10"]


def test_pairs_of_visits_by_place() -> None:
    own = cohort("s1 A 1", "s1 A 10", "s1 A 2", "s1 B 1", "s1 B 2", "s2 A 1", "s3 B 1")
    assert visits(own, "closest") == [("s1", "1", "1"), ("s1", "2", "2")]
    assert visits(own, "test") == [("s1", "1", "1"), ("s1", "2", "2"), ("s1", "10", "2")]
    assert len(visits(own, "all")) == 6
    # Both directions have the same pairs.
    back = [(s, b, a) for s, a, b in visits(own, "closest", WAY.reverse)]
    assert back == visits(own, "closest")


def test_pairs_of_visits_by_time() -> None:
    when = {"s1 A 1": "2020-03-01", "s1 A 2": "2020-01-01T08:00:00", "s1 B 1": "2020-01-02"}
    own = cohort("s1 A 1", "s1 A 2", "s1 B 1", when=when)
    assert visits(own, "closest") == [("s1", "2", "1")]
    assert visits(own, "test") == [("s1", "2", "1"), ("s1", "1", "1")]
    (again,) = rescans(own, "A")
    assert [scan.visit for scan in again.scans] == ["2", "1"]
    # A scan without a time: all visits are ordered by their labels.
    del when["s1 A 2"]
    assert visits(cohort("s1 A 1", "s1 A 2", "s1 B 1", when=when), "closest") == [("s1", "1", "1")]


def test_directions_of_several_scanners() -> None:
    three = ("A", "B", "C")
    assert len(choose_directions(three, which="all")) == 6
    assert [str(way) for way in choose_directions(three, target="B")] == ["A-to-B", "C-to-B"]
    assert [str(way) for way in choose_directions(three, source="B")] == ["B-to-A", "B-to-C"]
    listed = choose_directions(three, which="A-to-B, B-to-C,A-to-B")
    assert [str(way) for way in listed] == ["A-to-B", "B-to-C"]
    with pytest.raises(CohortError, match="unknown direction 'B-to-D'"):
        choose_directions(three, which="A-to-B,B-to-D")
    with pytest.raises(CohortError, match="one scanner only"):
        choose_directions(("A",))


def test_a_direction_without_a_pair_is_an_error() -> None:
    own = cohort("s1 A 1", "s1 B 1", "s2 C 1")
    require_pairs(own, [WAY])
    with pytest.raises(CohortError, match="A-to-C, C-to-B: choose another"):
        require_pairs(own, [WAY, Direction("A", "C"), Direction("C", "B")])


def test_a_run_takes_the_first_visits_and_counts_who_lacks_one() -> None:
    own = cohort("s1 A 1", "s1 A 2", "s1 B 3", "s2 A 1", "s3 A 1", "s3 B 1", "s3 C 1")
    taken = first_scans(own, [WAY])
    assert list(taken.scans) == [("s1", "A"), ("s1", "B"), ("s3", "A"), ("s3", "B")]
    assert taken.scans["s1", "A"].path == Path("s1 A 1")
    assert [(item.kind, item.where) for item in taken.left_out] == [
        ("scanner-missing", "subject s2")
    ]
    assert {note.kind for note in taken.notes} == {"scanner-missing", "replicates-not-used"}
    assert first_scans(taken, [WAY]) is taken
    with pytest.raises(CohortError, match="no subject has scans on all of B, C, A"):
        first_scans(
            cohort("s1 B 1", "s2 C 1", "s2 A 1"), [Direction("B", "C"), Direction("C", "A")]
        )
