"""What a run makes of a study with several scanners: directions, folds and pairs of every cell."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.data import DataSettings
from harmbench.cohorts.pairing import with_plain_sessions
from harmbench.cohorts.splits import SplitChoice
from harmbench.errors import CohortError, FoldError
from harmbench.folds import FoldSettings
from harmbench.runner.pairs import SessionPair
from harmbench.runner.splits import RunSplits, split_run
from harmbench.task import Direction

tried = settings(max_examples=200, deadline=None, derandomize=True, database=None)

SCANNERS = "ABCD"


@st.composite
def studies(draw: st.DrawFn) -> Cohort:
    """People on some of four scanners, up to three visits each, with or without labels of visits."""
    scans = {}
    for person in range(draw(st.integers(2, 9))):
        for scanner in SCANNERS[: draw(st.integers(2, 4))]:
            for visit in range(draw(st.integers(0, 3))):
                label = str(visit) if draw(st.booleans()) else ""
                name = f"{scanner}-{visit}"
                scan = Scan(f"s{person}", name, Path(f"{person}{name}"), None, scanner, label)
                scans[scan.subject, scan.session] = scan
    groups = {subject: draw(st.sampled_from(["HC", "MS"])) for subject, _ in scans}
    return with_plain_sessions(Cohort("bids", "", simulated=False, groups=groups, scans=scans))


_choices = st.builds(
    SplitChoice,
    train_group=st.sampled_from([None, "HC", "MS"]),
    test_group=st.sampled_from([None, "HC", "MS"]),
    leave_scanner_out=st.booleans(),
    train_pairs=st.sampled_from(["closest", "all"]),
    visits=st.sampled_from(["all", "first"]),
)
_data = st.sampled_from(
    [
        DataSettings(direction="all"),
        DataSettings(target="B"),
        DataSettings(source="A", target="B"),
        DataSettings(direction="A-to-C,B-to-A"),
    ]
)


def check(cohort: Cohort, splits: RunSplits, choice: SplitChoice) -> None:
    """No subject is on both sides, and every pair is what it says."""
    for (way, fold), cell in splits.cells.items():
        assert cell.train and cell.test
        assert not set(cell.train_subjects) & set(cell.test_subjects)
        files = {
            cohort.scans[pair.subject, session].path
            for pair in cell.train
            for session in (pair.source, pair.target)
        }
        for pair in cell.test:
            source, target = (cohort.scans[pair.subject, s] for s in (pair.source, pair.target))
            assert (source.scanner, target.scanner) == (way.source, way.target)
            assert not files & {source.path, target.path}
            own = splits.own_folds.get(way, splits.folds)
            assert own.assignment[pair.subject] == fold
        if choice.visits == "first":
            assert len(cell.test) == len(cell.test_subjects)
            trained = [(p.subject, cohort.scans[p.subject, p.source].scanner) for p in cell.train]
            assert len(set(trained)) == len(trained)
        sources = {cohort.scans[pair.subject, pair.source].scanner for pair in cell.train}
        left_out = choice.leave_scanner_out
        assert (way.source not in sources) if left_out else sources == {way.source}
        for group, subjects in (
            (choice.train_group, cell.train_subjects),
            (choice.test_group, cell.test_subjects),
        ):
            assert group is None or {cohort.groups[s] for s in subjects} == {group}
    for way in splits.directions:
        tested = [
            p.name for (own, _), cell in splits.cells.items() if own == way for p in cell.test
        ]
        assert len(set(tested)) == len(tested)
    needed = {
        (pair.subject, session)
        for cell in splits.cells.values()
        for pair in (*cell.train, *cell.test)
        for session in (pair.source, pair.target)
    }
    assert needed <= set(splits.cohort.scans)


@tried
@given(
    cohort=studies(),
    choice=_choices,
    data=_data,
    k=st.sampled_from([None, 2, 3]),
    seed=st.integers(0, 3),
    own=st.booleans(),
    numbers=st.lists(st.integers(0, 2), min_size=9, max_size=9),
)
def test_no_subject_is_in_training_and_test_of_a_cell(
    tmp_path_factory: pytest.TempPathFactory,
    cohort: Cohort,
    choice: SplitChoice,
    data: DataSettings,
    k: int | None,
    seed: int,
    own: bool,
    numbers: list[int],
) -> None:
    folds = FoldSettings(k=k, seed=seed)
    if own:
        table = tmp_path_factory.mktemp("folds") / "folds.tsv"
        rows = [f"s{person}\t{number}\n" for person, number in enumerate(numbers)]
        table.write_text("".join(["subject\tfold\n", *rows]))
        folds = FoldSettings(file=table)
    try:
        splits = split_run(cohort, data, folds, choice)
    except (CohortError, FoldError):
        return
    check(cohort, splits, choice)


def study(*scans: str, groups: dict[str, str] | None = None) -> Cohort:
    """Scans such as `s1 A 2`: subject, scanner, visit."""
    found = {}
    for text in scans:
        subject, scanner, visit = text.split()
        session = f"{scanner}-{visit}"
        found[subject, session] = Scan(subject, session, Path(text), None, scanner, visit)
    known = {subject: (groups or {}).get(subject, "HC") for subject, _ in found}
    return Cohort("bids", "", simulated=False, groups=known, scans=found)


def test_a_subject_takes_part_in_the_directions_that_it_has() -> None:
    whole = [f"s{n} {scanner} 1" for n in range(4) for scanner in "ABC"]
    cohort = study(*whole, "s4 A 1", "s4 B 1", "s5 C 1", "s0 A 2")
    splits = split_run(cohort, DataSettings(target="B"), FoldSettings(k=2), SplitChoice())
    assert splits.directions == (Direction("A", "B"), Direction("C", "B"))
    tested = {
        way: sorted(p for (own, _), cell in splits.cells.items() if own == way for p in cell.test)
        for way in splits.directions
    }
    assert len(tested[Direction("A", "B")]) == 6  # five subjects, one of them at two visits
    assert SessionPair("s0", "2", "A-2", "B-1") in tested[Direction("A", "B")]
    assert {pair.subject for pair in tested[Direction("C", "B")]} == {"s0", "s1", "s2", "s3"}
    assert "s5" not in splits.cohort.groups
    # The same fold in both directions.
    assert not splits.own_folds


def test_too_few_subjects_is_an_error_with_their_number() -> None:
    cohort = study(*(f"s{n} {scanner} 1" for n in range(6) for scanner in "AB"), "s0 C 1", "s1 C 1")
    with pytest.raises(FoldError, match=r"(?s)4 folds need 4 .* at most 2 .*A-to-C: 2 subjects"):
        split_run(cohort, DataSettings(direction="all"), FoldSettings(k=4), SplitChoice())
    one = study("s0 A 1", "s0 B 1", "s1 A 1", "s1 C 1", "s2 A 1", "s2 B 1")
    with pytest.raises(CohortError, match="A-to-C: 1 subject has scans on both scanners"):
        split_run(one, DataSettings(direction="A-to-C"), FoldSettings(), SplitChoice())
    # Where directions are not named one by one, such directions are left out, and counted.
    splits = split_run(one, DataSettings(direction="all"), FoldSettings(), SplitChoice())
    assert splits.directions == (Direction("A", "B"), Direction("B", "A"))
    assert {note.where: note.text for note in splits.notes}["B-to-C"].startswith("no subject")


def test_a_direction_gets_folds_of_its_own_where_a_common_one_would_be_empty() -> None:
    cohort = study(
        *(f"{s} {scanner} 1" for s in ("a", "b") for scanner in "AB"),
        *(f"{s} {scanner} 1" for s in ("c", "d") for scanner in "ABC"),
        *(f"{s} {scanner} 1" for s in ("e", "f") for scanner in "BC"),
    )
    splits = split_run(cohort, DataSettings(direction="all"), FoldSettings(k=2), SplitChoice())
    assert not splits.own_folds
    groups = {"a": "HC", "b": "MS", "c": "HC", "d": "MS"}
    cohort = study(
        "a A 1", "a B 1", "b A 1", "b C 1", "c A 1", "c B 1", "d A 1", "d C 1", groups=groups
    )
    splits = split_run(cohort, DataSettings(direction="all"), FoldSettings(k=2), SplitChoice())
    for way in splits.directions:
        assert {fold for own, fold in splits.cells if own == way} == {0, 1}


def test_folds_of_ones_own_are_the_same_for_all_directions(tmp_path: Path) -> None:
    cohort = study(
        *(f"s{n} {scanner} 1" for n in range(3) for scanner in "AB"),
        *(f"s{n} {scanner} 1" for n in range(1, 4) for scanner in "CD"),
    )
    table = tmp_path / "folds.tsv"
    table.write_text("subject\tfold\ns0\tw\ns1\tx\ns2\ty\ns3\tz\n")
    settings = FoldSettings(file=table)
    first, second = (
        split_run(cohort, DataSettings(direction=way), settings, SplitChoice())
        for way in ("A-to-B", "C-to-D")
    )
    assert first.folds == second.folds
    assert first.folds.assignment == {"s0": 0, "s1": 1, "s2": 2, "s3": 3}
    assert {pair.subject for cell in second.cells.values() for pair in cell.test} == {
        "s1",
        "s2",
        "s3",
    }
    # Only those with a pair in the directions must be in the table.
    table.write_text("subject\tfold\ns0\tw\ns1\tx\ns2\ty\n")
    split_run(cohort, DataSettings(direction="A-to-B"), settings, SplitChoice())
    with pytest.raises(FoldError, match="subject s3 is not listed"):
        split_run(cohort, DataSettings(direction="C-to-D"), settings, SplitChoice())


def test_a_fold_without_test_subjects_of_the_group_is_left_out() -> None:
    groups = {"s0": "MS", "s1": "HC", "s2": "HC", "s3": "HC"}
    cohort = study(*(f"s{n} {scanner} 1" for n in range(4) for scanner in "AB"), groups=groups)
    choice = SplitChoice(train_group="HC", test_group="MS")
    data = DataSettings(direction="A-to-B")
    splits = split_run(cohort, data, FoldSettings(k=2), choice)
    assert len(splits.cells) == 1
    assert [note.kind for note in splits.notes] == ["fold-left-out"]
    ((_, fold),) = splits.cells
    with pytest.raises(FoldError, match="nothing is tested: A-to-B: nothing to test in fold"):
        split_run(cohort, data, FoldSettings(k=2, run=str(1 - fold)), choice)
    with pytest.raises(CohortError, match="unknown group 'XX'"):
        split_run(cohort, data, FoldSettings(k=2), SplitChoice(test_group="XX"))
