from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.errors import FoldError
from harmbench.folds import Folds, choose_folds, make_folds, read_folds

PAPER = {f"s{i:02d}": ("HC" if i < 22 else "MS") for i in range(40)}


def test_the_papers_folds() -> None:
    folds = make_folds(PAPER, k=4, seed=0)
    for fold in range(4):
        assert len(folds.train(fold)) == 30
        assert len(folds.test(fold)) == 10
        groups = Counter(PAPER[s] for s in folds.test(fold))
        assert groups["HC"] in (5, 6)
        assert groups["MS"] in (4, 5)


def test_seed_decides() -> None:
    assert make_folds(PAPER, 4, 1) == make_folds(PAPER, 4, 1)
    assert make_folds(PAPER, 4, 1) != make_folds(PAPER, 4, 2)


def test_order_of_subjects_does_not_matter() -> None:
    backwards = dict(reversed(PAPER.items()))
    assert dict(make_folds(PAPER, 4).assignment) == dict(make_folds(backwards, 4).assignment)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from("ABC"), min_size=2, max_size=40), st.data())
def test_folds_are_a_stratified_partition(labels: list[str], data: st.DataObject) -> None:
    groups = {f"s{i}": label for i, label in enumerate(labels)}
    k = data.draw(st.integers(2, len(groups)))
    folds = make_folds(groups, k, seed=data.draw(st.integers(0, 5)))
    tests = [folds.test(fold) for fold in range(k)]
    assert sorted(s for test in tests for s in test) == sorted(groups)
    sizes = [len(test) for test in tests]
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        share = [sum(groups[s] == label for s in test) for test in tests]
        assert max(share) - min(share) <= 1
    for fold in range(k):
        assert not set(folds.train(fold)) & set(folds.test(fold))


@pytest.mark.parametrize("k", [1, 0, 41])
def test_impossible_k(k: int) -> None:
    with pytest.raises(FoldError, match=f"{k} folds of 40 subjects: choose from 2 to 40"):
        make_folds(PAPER, k)


def test_an_empty_side_is_an_error() -> None:
    with pytest.raises(FoldError, match="fold 1: 2 training and 0 test subjects"):
        Folds(2, 0, {"a": 0, "b": 0}).train(1)


def test_choosing_folds() -> None:
    assert choose_folds("all", 3) == (0, 1, 2)
    assert choose_folds("2", 3) == (2,)
    assert choose_folds("2, 0", 3) == (0, 2)
    for text in ("3", "a", "-1", "0,7", "\N{SUPERSCRIPT TWO}"):
        with pytest.raises(FoldError, match="no such fold"):
            choose_folds(text, 3)


def test_folds_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "folds.tsv"
    file.write_text("subject\tfold\nsub-1\tsite10\n2\tsite2\nsub-3\tsite2\nelse\tx\n")
    folds = read_folds(file, ["sub-1", "sub-2", "3"])
    assert folds == Folds(2, 0, {"sub-1": 0, "sub-2": 1, "3": 1})
    file.write_text("subject,fold\n1,0\n2,1\n2,2\n1,0\n")
    with pytest.raises(FoldError) as caught:
        read_folds(file, ["1", "2", "3"])
    assert "subject 2 is in several folds: 1 (line 3) and 2 (line 4)" in str(caught.value)
    assert "subject 3 is not listed" in str(caught.value)
    for text, why in (
        ("subject\tfolds\n1\t1\n", "column 'fold' is missing"),
        ("subject\tfold\n1\t1\n2\t1\n", "all in fold 1"),
        ("subject\tfold\n1\t\n2\t1\n", "line 2: fold is empty"),
    ):
        file.write_text(text)
        with pytest.raises(FoldError, match=why):
            read_folds(file, ["1", "2"])
