"""Pairs, directions, and the scans that a run takes of each subject."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.directions import choose_directions
from harmbench.cohorts.pairing import (
    natural_key,
    nearest_rescans,
    pairs,
    rescans,
    taking_part,
    with_plain_sessions,
)
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


def test_one_pair_is_tested_for_each_visit() -> None:
    runs = {
        ("s1", session): Scan("s1", session, Path(session), None, scanner, visit)
        for session, scanner, visit in (("A-1", "A", "1"), ("A-1-run2", "A", "1"), ("B", "B", ""))
    }
    own = Cohort("bids", "", simulated=False, groups={"s1": "HC"}, scans=runs)
    assert visits(own, "test") == [("s1", "1", "")]
    assert len(pairs(own, WAY, "all")) == 2


def test_visits_without_a_label_are_told_apart_by_their_sessions() -> None:
    scans = {
        ("s1", name): Scan("s1", name, Path(name), None, "A" if name[0] == "a" else "B")
        for name in ("a1", "a2", "B")
    }
    own = Cohort("manifest", "", simulated=False, groups={"s1": "HC"}, scans=scans)
    assert [pair.visit for pair in pairs(own, WAY, "test")] == ["a1", "a2"]
    assert [pair.visit for pair in pairs(own, WAY.reverse, "test")] == [""]


def test_the_nearest_rescan_of_each_scan() -> None:
    when = {"s1 B 1": "2020-01-01", "s1 B 2": "2020-02-01", "s1 B 3": "2020-02-02"}
    own = cohort("s1 A 1", "s1 B 1", "s1 B 2", "s1 B 3", when=when)
    (again,) = rescans(own, "B")
    nearest = nearest_rescans(again.scans)
    assert {session: other.session for session, other in nearest.items()} == {
        "B-1": "B-2",
        "B-2": "B-3",
        "B-3": "B-2",
    }
    assert nearest_rescans(again.scans[:1]) == {}


def test_sessions_are_scanners_where_visits_tell_nothing_apart() -> None:
    plain = with_plain_sessions(cohort("s1 A 1", "s1 B 3", "s2 A 1"))
    assert list(plain.scans) == [("s1", "A"), ("s1", "B"), ("s2", "A")]
    assert {scan.visit for scan in plain.scans.values()} == {""}
    assert with_plain_sessions(plain) is plain
    own = cohort("s1 A 1", "s1 A 2", "s1 B 1")
    assert with_plain_sessions(own) is own


def test_subjects_take_part_in_the_directions_that_they_have() -> None:
    own = cohort("s1 A 1", "s1 A 2", "s1 B 3", "s2 A 1", "s3 A 1", "s3 B 1", "s3 C 1", "s4 B 1")
    part = taking_part(own, [WAY])
    assert list(part.scans) == [
        ("s1", "A-1"),
        ("s1", "A-2"),
        ("s1", "B-3"),
        ("s3", "A-1"),
        ("s3", "B-1"),
    ]
    assert [(item.where, item.reason) for item in part.left_out] == [
        ("subject s2", "no scan on B"),
        ("subject s4", "no scan on A"),
    ]
    both = taking_part(own, [WAY, Direction("B", "C")])
    assert ("s3", "C-1") in both.scans
    assert {item.reason for item in both.left_out} == {
        "no pair of scans in the directions of the run"
    }
