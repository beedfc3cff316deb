"""Error rates of the verdict in small simulations: the full ones are in benchmarks/error_rates.py.

Runs are seeded, so these tests pass or fail for good; the slack is what 250 runs scatter by.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import astuple
from pathlib import Path
from types import ModuleType

import pytest

RUNS = 250
# Three standard errors of a share of 5 % in 250 runs are 4.1 %.
MOST = 0.05 + 0.042


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "error_rates.py"
    spec = importlib.util.spec_from_file_location("error_rates", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["error_rates"] = module
    spec.loader.exec_module(module)
    return module


BENCHMARK = _benchmark()


@pytest.mark.parametrize("design", [BENCHMARK.Design(8, 4), BENCHMARK.Design(40, 4)], ids=str)
@pytest.mark.parametrize("scenario", BENCHMARK.NULLS, ids=lambda s: f"{s.name}, {s.skewed}")
def test_false_claims_are_rare(scenario, design) -> None:
    rates = BENCHMARK.false_claims(scenario, design, RUNS)
    assert max(astuple(rates)) <= MOST


def test_two_folds_claim_nothing() -> None:
    for scenario in BENCHMARK.NULLS:
        rates = BENCHMARK.false_claims(scenario, BENCHMARK.Design(8, 2), 50)
        assert set(astuple(rates)) == {0}


@pytest.mark.parametrize("subjects", [8, 40])
@pytest.mark.parametrize(("rule", "folds"), [("tables", 4), ("verdict", 4), ("verdict", 8)])
@pytest.mark.parametrize(("skewed", "least"), [(False, 0.93), (True, 0.90)])
def test_intervals_cover_the_true_mean(subjects, folds, rule, skewed, least) -> None:
    design = BENCHMARK.Design(subjects, folds)
    covered = BENCHMARK.coverage(BENCHMARK.RULES[rule], design, skewed, 0.0, 10_000)
    assert covered >= least
    assert skewed or covered <= 0.97


@pytest.mark.parametrize("fold_sd", [0.5, 1.0])
def test_intervals_of_verdicts_cover_fold_effects_and_those_of_tables_do_not(fold_sd) -> None:
    design = BENCHMARK.Design(40, 4)
    cover = {
        rule: BENCHMARK.coverage(BENCHMARK.RULES[rule], design, False, fold_sd, 10_000)
        for rule in ("tables", "verdict")
    }
    assert 0.93 <= cover["verdict"] <= 0.97
    assert cover["tables"] < 0.80


def test_large_differences_are_found() -> None:
    lead, better, secondary = BENCHMARK.power(2.0, 0.0, BENCHMARK.Design(40, 10), 100)
    assert min(lead, better, secondary) > 0.85


def test_more_folds_find_more() -> None:
    few = BENCHMARK.power(1.0, 0.5, BENCHMARK.Design(40, 4), 100)
    many = BENCHMARK.power(1.0, 0.5, BENCHMARK.Design(40, 10), 100)
    assert all(b > a for a, b in zip(few, many, strict=True))
