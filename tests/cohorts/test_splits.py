"""No subject is ever in training and in test of one cell, whatever is combined."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.bids_names import BidsFile
from harmbench.cohorts.bids_sessions import identify
from harmbench.cohorts.bids_settings import BidsSettings
from harmbench.cohorts.bids_tables import StudyTables
from harmbench.cohorts.splits import (
    CellPairs,
    SplitChoice,
    cell_pairs,
    direction_folds,
    pair_subjects,
    shared_folds,
)
from harmbench.errors import CohortError, FoldError
from harmbench.folds import Folds, make_folds
from harmbench.task import Direction

tried = settings(max_examples=150, deadline=None, derandomize=True, database=None)

_choices = st.builds(
    SplitChoice,
    train_group=st.sampled_from([None, "HC", "MS"]),
    test_group=st.sampled_from([None, "HC", "MS"]),
    leave_scanner_out=st.booleans(),
    train_pairs=st.sampled_from(["closest", "all"]),
)


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    """A study read from sub- and ses- labels, where one person may have several sub- labels."""
    people = draw(st.integers(3, 8))
    sites = draw(st.integers(1, 3))
    pattern = r"sub-[a-z](?P<subject>\d+)_ses-(?P<scanner>[A-Z])(?P<visit>\d)"
    files = []
    for person in range(people):
        for scanner in "ABC":
            for visit in range(1, 1 + draw(st.integers(0, 3))):
                site = "xyz"[draw(st.integers(0, sites - 1))]
                name = f"sub-{site}{person}_ses-{scanner}{visit}_T1w.nii.gz"
                labels = {"sub": f"{site}{person}", "ses": f"{scanner}{visit}"}
                files.append(BidsFile(Path(name), labels, "T1w", "anat"))
    found = identify(files, BidsSettings(session_pattern=pattern), StudyTables(Path("/nowhere")))
    scans = {
        (own.subject, own.session): Scan(
            own.subject, own.session, file.path, None, own.scanner, own.visit
        )
        for file, own in found.scans
    }
    groups = {subject: draw(st.sampled_from(["HC", "MS"])) for subject, _ in scans}
    return Cohort("bids", "", simulated=False, groups=groups, scans=scans)


@tried
@given(cohort=cohorts(), choice=_choices, k=st.integers(2, 4), data=st.data())
def test_no_subject_is_on_both_sides(
    cohort: Cohort, choice: SplitChoice, k: int, data: st.DataObject
) -> None:
    own = st.fixed_dictionaries({s: st.integers(0, k - 1) for s in cohort.subjects})
    given_folds = Folds(k, 0, data.draw(own)) if data.draw(st.booleans()) else None
    for source, target in ("AB", "BA", "AC", "CB"):
        way = Direction(source, target)
        try:
            folds = direction_folds(cohort, way, k, data.draw(st.integers(0, 3)), given_folds)
        except FoldError:
            continue
        tested: list[tuple[str, str]] = []
        for fold in range(k):
            try:
                cell = cell_pairs(cohort, way, folds, fold, choice)
            except (FoldError, CohortError):
                continue
            if cell is None:
                continue
            assert cell.train and cell.test
            # By the number of the person, not by the label of a site.
            assert not {s[-1] for s in cell.train_subjects} & {s[-1] for s in cell.test_subjects}
            files = {pair.source.path for pair in cell.train} | {p.target.path for p in cell.train}
            assert not files & {pair.source.path for pair in cell.test}
            assert not files & {pair.target.path for pair in cell.test}
            for pair in (*cell.train, *cell.test):
                assert pair.source.subject == pair.target.subject == pair.subject
                assert pair.target.scanner == target
            sources = {pair.source.scanner for pair in cell.train}
            assert (source not in sources) if choice.leave_scanner_out else sources == {source}
            for group, subjects in (
                (choice.train_group, cell.train_subjects),
                (choice.test_group, cell.test_subjects),
            ):
                assert group is None or {cohort.groups[s] for s in subjects} == {group}
            tested += [(pair.subject, pair.visit) for pair in cell.test]
        assert len(set(tested)) == len(tested)


def _cohort(*scans: str) -> Cohort:
    found = {}
    for text in scans:
        subject, scanner = text.split()
        found[subject, scanner] = Scan(subject, scanner, Path(text))
    groups = {s: "HC" if s < "s3" else "MS" for s, _ in found}
    return Cohort("manifest", "", simulated=False, groups=groups, scans=found)


def test_pairs_that_leak_are_refused() -> None:
    cohort = _cohort("s1 A", "s1 B", "s2 A", "s2 B")
    folds = direction_folds(cohort, Direction("A", "B"), 2)
    cell = cell_pairs(cohort, Direction("A", "B"), folds, 0)
    assert cell is not None
    with pytest.raises(FoldError, match="in training and in test: s"):
        CellPairs(cell.train, cell.train)


def test_too_few_subjects_for_the_folds() -> None:
    cohort = _cohort("s1 A", "s1 B", "s2 A", "s3 A", "s3 B", "s4 B")
    with pytest.raises(FoldError, match="A-to-B: 4 folds, but 2 subjects have a pair"):
        direction_folds(cohort, Direction("A", "B"), 4)
    own = Folds(2, 0, {"s1": 0, "s2": 1, "s3": 0, "s4": 1})
    with pytest.raises(FoldError, match=r"2 subjects have a pair, .* into 1 fold"):
        direction_folds(cohort, Direction("A", "B"), 2, given=own)


def test_groups_and_a_scanner_left_out() -> None:
    cohort = _cohort(*(f"s{n} {scanner}" for n in range(1, 6) for scanner in "ABC"), "s6 A", "s6 C")
    way = Direction("B", "C")
    folds = direction_folds(cohort, way, 5)
    fold = folds.assignment["s3"]
    choice = SplitChoice(train_group="HC", test_group="MS")
    groups = cell_pairs(cohort, way, folds, fold, choice)
    assert groups is not None
    assert (groups.train_subjects, groups.test_subjects) == (("s1", "s2"), ("s3",))
    out = cell_pairs(cohort, way, folds, fold, SplitChoice(leave_scanner_out=True))
    assert out is not None
    assert {pair.source.scanner for pair in out.train} == {"A"}
    # s6 was not on B; it is learned from.
    assert set(out.train_subjects) == {"s1", "s2", "s4", "s5", "s6"}
    with pytest.raises(CohortError, match="unknown group 'XX'"):
        cell_pairs(cohort, way, folds, fold, SplitChoice(train_group="XX"))
    assert cell_pairs(cohort, way, folds, fold, SplitChoice(test_group="HC")) is None
    alone = Folds(2, 0, {"s3": 0, "s4": 1})
    with pytest.raises(FoldError, match="no training pair is left with training group HC"):
        cell_pairs(cohort, way, alone, 0, SplitChoice(train_group="HC"))


def test_common_folds_spread_every_direction_over_all_folds() -> None:
    # Half of the subjects were scanned before an upgrade from B to C.
    cohort = _cohort(
        *(f"s{n:02} {scanner}" for n in range(20) for scanner in ("AB" if n < 10 else "AC"))
    )
    folds = shared_folds(cohort, 5)
    for target in "BC":
        own = [folds.assignment[s] for s in pair_subjects(cohort, Direction("A", target))]
        assert sorted(own) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    simple = _cohort(*(f"s{n} {scanner}" for n in range(9) for scanner in "AB"))
    assert shared_folds(simple, 4, 3) == make_folds(simple.groups, 4, 3)
