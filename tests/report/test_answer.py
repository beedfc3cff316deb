"""The short answer: who is best, and when a lead counts as clear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harmbench.metrics.suite import METRICS
from harmbench.report.answer import MAIN_MEASURES, Verdict, headline, verdicts
from harmbench.report.loading import load_evidence
from harmbench.results import read_results, write_results
from harmbench.task import Direction

MakeRun = Callable[..., Path]
FORTH = Direction("3T", "1.5T")


def verdict(*best: str, pairs: int = 40, clear: bool = False, runner_up: str = "X") -> Verdict:
    return Verdict("MSE", best, "1", "", runner_up, pairs, clear)


def test_all_main_measures_are_judged(finished_run: Path) -> None:
    judged = verdicts(load_evidence([finished_run], METRICS), FORTH)
    assert len(judged) == len(MAIN_MEASURES) == 8
    assert judged[0].best == ("DM",)
    assert judged[0].runner_up == "Original"  # pGAN failed on two subjects
    assert judged[0].measure.startswith("MSE (")
    assert judged[0].measure.endswith("↓")


def test_a_large_consistent_difference_is_clear(finished_run: Path) -> None:
    first = verdicts(load_evidence([finished_run], METRICS), FORTH)[0]
    assert (first.pairs, first.clear, first.lead) == (8, True, "yes")
    assert first.change.startswith("-")


def test_differences_of_both_signs_are_not_clear(make_run: MakeRun) -> None:
    run = make_run(
        subjects=[f"s{n}" for n in range(8)], gammas={"identity": 1, "dm": 1}, volumes=False
    )
    frame = read_results(run / "results.csv")
    number = frame["subject"].str[1:].astype(int)
    # dm is 3e-3 better in four subjects and 2e-3 worse in four: better on average, but not clearly.
    change = np.where(number % 4 < 2, -3e-3, 2e-3)
    mine = (frame["method"] == "dm") & (frame["metric"] == "mse")
    frame.loc[mine, "value"] += change[mine]
    write_results(frame, run / "results.csv")
    first = verdicts(load_evidence([run], METRICS), FORTH)[0]
    assert first.best == ("DM",)
    assert (first.pairs, first.clear, first.lead) == (8, False, "no")


def test_few_subjects_are_never_clear(make_run: MakeRun) -> None:
    evidence = load_evidence([make_run(volumes=False)], METRICS)
    first = verdicts(evidence, FORTH)[0]
    assert (first.pairs, first.clear) == (4, False)
    assert first.lead == "too few subjects (4)"


def test_equal_methods_tie(make_run: MakeRun) -> None:
    gammas = {"identity": 1.0, "dm": 0.7, "pgan": 0.7}
    evidence = load_evidence([make_run(gammas=gammas, volumes=False)], METRICS)
    first = verdicts(evidence, FORTH)[0]
    assert first.best == ("DM", "pGAN")
    assert first.lead == "tie"


@pytest.mark.parametrize(
    ("judged", "text"),
    [
        ([], "There is nothing to compare: fewer than two methods were measured on all subjects."),
        (
            [verdict("A", clear=True), verdict("A"), verdict("B")],
            "A is best on 2 of 3 measures (B on 1). 1 of these 3 leads is clear of the runner-up.",
        ),
        ([verdict("A")], "A is best on 1 of 1 measures. No lead is clear of the runner-up."),
        (
            [verdict("A", pairs=3)],
            "A is best on 1 of 1 measures. There are too few subjects to call a lead clear.",
        ),
    ],
)
def test_headlines(judged: list[Verdict], text: str) -> None:
    assert headline(judged) == text
