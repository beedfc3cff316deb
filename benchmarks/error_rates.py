"""Error rates of the verdict: false claims, coverage of intervals, and power, by simulation.

Run it with `python benchmarks/error_rates.py`; `--repetitions 200` is quicker and coarser. It prints the
tables of docs/statistics.md as Markdown.

The unit is the SD of one method's error over subjects. Every method has its own error in every subject
and measure, and, where a fold effect is named, its own shift in every fold: that of the network trained
for it. Measures are independent, which is the hardest case.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harmbench.statistics.claims import (
    Claims,
    Leads,
    Tests,
    find_leads,
    holm,
    make_claims,
    mean_losses,
    no_gains,
    run_tests,
    shown,
    with_leads,
)
from harmbench.statistics.differences import Differences, Losses
from harmbench.statistics.intervals import estimate

__all__ = ["DESIGNS", "NULLS", "Design", "Rates", "Scenario", "coverage", "false_claims", "power"]

Array = NDArray[np.float64]

METHODS = 6
ORIGINAL = METHODS - 1
REGION = 0.3
"""Half-width of the region of equivalence."""


@dataclass(frozen=True)
class Design:
    """Numbers of subjects, of folds and of measures."""

    subjects: int
    folds: int
    measures: int = 8

    def __str__(self) -> str:
        return f"n = {self.subjects}, {self.folds} folds"


@dataclass(frozen=True)
class Scenario:
    """How errors arise.

    Attributes:
        name: for the table.
        means: expected loss of each method, the original last; the same on every measure.
        skewed: lognormal errors instead of normal ones.
        fold_sd: SD of the fold effect.
    """

    name: str
    means: tuple[float, ...] = (0.0,) * METHODS
    skewed: bool = False
    fold_sd: float = 0.0

    def draw(self, design: Design, runs: int, rng: np.random.Generator) -> Losses:
        """Draw the losses of some runs; the measures of one run follow those of another."""
        folds = np.arange(design.subjects) % design.folds
        shape = (runs * design.measures, design.subjects, METHODS)
        effects = rng.normal(0, 1, (shape[0], design.folds, METHODS)) * self.fold_sd
        values = errors(shape, self.skewed, rng) + np.array(self.means) + effects[:, folds]
        return Losses(values, folds, np.full(shape[:2], REGION))


def errors(shape: tuple[int, ...], skewed: bool, rng: np.random.Generator) -> Array:
    """Draw errors with mean 0 and SD 1, normal or lognormal (sigma 1)."""
    if not skewed:
        return rng.normal(size=shape)
    skew: Array = (rng.lognormal(size=shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    return skew


DESIGNS = (Design(8, 2), Design(8, 4), Design(8, 8), Design(40, 4), Design(40, 10))

_TIED = (0.0, 0.0, 2.0, 2.0, 2.0, 2.0)
_WITH_ORIGINAL = (0.0, 2.0, 2.0, 2.0, 2.0, 0.0)
_AT_REGION = (REGION, -REGION, REGION, -REGION, REGION, 0.0)
_ONE_AT_REGION = (-REGION, 2.0, 2.0, 2.0, 2.0, 0.0)

NULLS = (
    Scenario("six exchangeable methods"),
    Scenario("six exchangeable methods, skewed errors", skewed=True),
    Scenario("two tied leaders, others worse", _TIED),
    Scenario("two tied leaders, skewed errors", _TIED, skewed=True),
    Scenario("a method and the original tied, others worse", _WITH_ORIGINAL),
    Scenario("exchangeable, fold effect of 0.5 SD", fold_sd=0.5),
    Scenario("exchangeable, fold effect of 1 SD", fold_sd=1.0),
    Scenario("tied leaders, skewed, fold effect of 0.5 SD", _TIED, skewed=True, fold_sd=0.5),
    Scenario("all at the border of the region of equivalence", _AT_REGION),
    Scenario("one better by the region, others worse", _ONE_AT_REGION),
    Scenario("one better by the region, fold effect of 0.5 SD", _ONE_AT_REGION, fold_sd=0.5),
)


@dataclass(frozen=True)
class Rates:
    """Shares of runs with at least one false claim among all measures.

    Attributes:
        lead: a method is said to lead that is not better than every other.
        cell: a method is said to be better or worse than the original and is not.
        equivalent: a method is said to be equivalent to the original whose difference is not inside
            the region.
        pair: of two tied rivals one is said to be better, on the primary endpoint.
        unneeded: no method is said to be better than the original by the region, and one is. So is judged
            whether volumes need a network; the original stands for the volume correction.
    """

    lead: float
    cell: float
    equivalent: float
    pair: float
    unneeded: float


RIVALS = [*range(METHODS)]
ALL_PAIRS = [(a, b) for a in RIVALS for b in RIVALS if a < b]
TO_ORIGINAL = [(method, ORIGINAL) for method in RIVALS if method != ORIGINAL]
_AT_ONCE = 50


def simulate(
    scenario: Scenario, design: Design, repetitions: int, seed: int
) -> Iterator[tuple[Array, Tests, Tests]]:
    """Draw and test runs: mean losses, tests of all pairs, and tests against the original."""
    rng = np.random.default_rng(seed)
    left = repetitions
    while left > 0:
        runs = min(left, _AT_ONCE)
        left -= runs
        # Tests of a measure don't depend on other measures: those of many runs are made at once.
        losses = scenario.draw(design, runs, rng)
        means = mean_losses(losses, RIVALS)
        pairs, cells = run_tests(losses, ALL_PAIRS), run_tests(losses, TO_ORIGINAL)
        for run in range(runs):
            rows = slice(run * design.measures, (run + 1) * design.measures)
            yield means[rows], _part(pairs, rows), _part(cells, rows)


def _part(tests: Tests, rows: slice) -> Tests:
    """The tests of one run."""
    arrays = {f.name: getattr(tests.found, f.name)[rows] for f in fields(Differences)}
    return Tests(
        tests.pairs,
        Differences(**arrays),
        *(p[rows] for p in (tests.p, tests.p_equal, tests.p_no_gain)),
    )


def false_claims(scenario: Scenario, design: Design, repetitions: int, seed: int = 0) -> Rates:
    """Count runs with false claims."""
    means = np.array(scenario.means)
    found = []
    for drawn, pairs, cells in simulate(scenario, design, repetitions, seed):
        led = find_leads(drawn, pairs)
        claims = with_leads(make_claims(cells), TO_ORIGINAL, led)
        found.append(
            (
                _false_lead(means, led),
                *_false_cells(means, claims),
                _false_pair(means, pairs),
                _false_unneeded(means, cells),
            )
        )
    return Rates(*(float(rate) for rate in np.array(found, dtype=float).mean(axis=0)))


def _false_lead(means: Array, found: Leads) -> bool:
    others = np.array([np.delete(means, best).min() for best in found.best])
    return bool((shown(found.p_adjusted) & (means[found.best] >= others)).any())


def _false_cells(means: Array, claims: Claims) -> tuple[bool, bool]:
    true = (means - means[ORIGINAL])[:ORIGINAL]
    wrong = (claims.better & (true >= 0)) | (claims.worse & (true <= 0))
    return bool(wrong.any()), bool((claims.equivalent & (np.abs(true) >= REGION)).any())


def _false_pair(means: Array, pairs: Tests) -> bool:
    among = [n for n, pair in enumerate(pairs.pairs) if ORIGINAL not in pair]
    tied = np.array([means[a] == means[b] for a, b in pairs.pairs])[among]
    return bool((shown(holm(pairs.p[0, among])) & tied).any())


def _false_unneeded(means: Array, cells: Tests) -> bool:
    gain = (means[ORIGINAL] - means[:ORIGINAL]).max()
    return bool(gain >= REGION and shown(no_gains(cells)).any())


def power(
    effect: float, fold_sd: float, design: Design, repetitions: int, seed: int = 0
) -> tuple[float, float, float]:
    """Share of runs that find one method better, by `effect` than each of the others everywhere.

    Returns:
        Shares of runs in which it is said to lead on the primary endpoint, to be better than the
        original there, and to be better than the original on a given secondary measure.
    """
    scenario = Scenario("", (-effect, *[0.0] * (METHODS - 1)), fold_sd=fold_sd)
    found = []
    for drawn, pairs, cells in simulate(scenario, design, repetitions, seed):
        led = find_leads(drawn, pairs)
        claims = with_leads(make_claims(cells), TO_ORIGINAL, led)
        lead = shown(led.p_adjusted)[0] and led.best[0] == 0
        found.append((lead, claims.better[0, 0], claims.better[1:, 0].mean()))
    shares = np.array(found, dtype=float).mean(axis=0)
    return float(shares[0]), float(shares[1]), float(shares[2])


Rule = Callable[[Array, NDArray[np.int_]], tuple[Array, Array]]


def _student(values: Array, _: NDArray[np.int_]) -> tuple[Array, Array]:
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values, axis=0)
    return values.mean(axis=0) - half, values.mean(axis=0) + half


def _fold_means(
    values: Array, folds: NDArray[np.int_], overlap: bool = False
) -> tuple[Array, Array]:
    k = len(np.unique(folds))
    means = np.array([values[folds == fold].mean(axis=0) for fold in range(k)])
    # Nadeau & Bengio (2003): 1/k plus the ratio of test to training subjects, 1/(k - 1).
    factor = 1 / k + (1 / (k - 1) if overlap else 0)
    half = stats.t.ppf(0.975, k - 1) * np.sqrt(means.var(axis=0, ddof=1) * factor)
    return means.mean(axis=0) - half, means.mean(axis=0) + half


def _mixed(values: Array, folds: NDArray[np.int_]) -> tuple[Array, Array]:
    """Mixed model with a random fold effect, balanced, by REML, Satterthwaite's degrees of freedom."""
    n, k = len(values), len(np.unique(folds))
    means = np.array([values[folds == fold].mean(axis=0) for fold in range(k)])
    within = ((values - means[folds]) ** 2).sum(axis=0)
    between = ((means[folds] - values.mean(axis=0)) ** 2).sum(axis=0)
    effect = between / (k - 1) > within / max(n - k, 1)
    variance = np.where(effect, between / (k - 1), (within + between) / (n - 1)) / n
    half = stats.t.ppf(0.975, np.where(effect, k - 1, n - 1)) * np.sqrt(variance)
    return values.mean(axis=0) - half, values.mean(axis=0) + half


def _overlap(values: Array, folds: NDArray[np.int_]) -> tuple[Array, Array]:
    return _fold_means(values, folds, overlap=True)


def _subjects(values: Array, _: NDArray[np.int_]) -> tuple[Array, Array]:
    return estimate(values).interval()


def _chosen(values: Array, folds: NDArray[np.int_]) -> tuple[Array, Array]:
    return estimate(values, folds).interval()


RULES: dict[str, Rule] = {
    "Student, subjects": _student,
    "tables": _subjects,
    "Student, fold means": _fold_means,
    "Nadeau & Bengio": _overlap,
    "mixed model": _mixed,
    "verdict": _chosen,
}


def coverage(
    rule: Rule, design: Design, skewed: bool, fold_sd: float, repetitions: int, seed: int = 0
) -> float:
    """Share of intervals that hold the true mean, of a rule for 95 % intervals."""
    rng = np.random.default_rng(seed)
    folds = np.arange(design.subjects) % design.folds
    values = errors((design.subjects, repetitions), skewed, rng)
    values = values + (rng.normal(0, 1, (design.folds, repetitions)) * fold_sd)[folds]
    low, high = rule(values, folds)
    return float(((low <= 0) & (high >= 0)).mean())


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


_HEADS = ("lead", "against original", "equivalent", "rivals", "not needed")


def _false_claim_tables(repetitions: int) -> Iterator[str]:
    for design in DESIGNS:
        rows = []
        for scenario in NULLS:
            rates = false_claims(scenario, design, repetitions)
            shares = (rates.lead, rates.cell, rates.equivalent, rates.pair, rates.unneeded)
            rows.append([scenario.name, *map(_percent, shares)])
        yield f"### False claims, {design}, {design.measures} measures, % of runs"
        yield ""
        yield from _table(["", *_HEADS], rows)


def _coverage_table(repetitions: int) -> Iterator[str]:
    rows = []
    for design in DESIGNS[1:]:
        for skewed in (False, True):
            for fold_sd in (0.0, 0.5, 1.0):
                kind = "lognormal" if skewed else "normal"
                shares = [coverage(r, design, skewed, fold_sd, repetitions) for r in RULES.values()]
                rows.append([f"{design}, {kind}, fold effect {fold_sd:g}", *map(_percent, shares)])
    yield "### Coverage of 95 % intervals, %"
    yield ""
    yield from _table(["", *RULES], rows)


def _power_table(repetitions: int) -> Iterator[str]:
    rows = []
    for design in DESIGNS[1:]:
        for fold_sd in (0.0, 0.5):
            for effect in (0.5, 1.0, 2.0):
                shares = power(effect, fold_sd, design, repetitions)
                rows.append(
                    [f"{design}, fold effect {fold_sd:g}", f"{effect:g} SD", *map(_percent, shares)]
                )
    yield "### Power, % of runs"
    yield ""
    yield from _table(
        ["", "effect", "leads", "better than original", "the same, a secondary measure"], rows
    )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000, help="runs for each row")
    repetitions = parser.parse_args().repetitions
    for lines in (
        _coverage_table(5 * repetitions),
        _false_claim_tables(repetitions),
        _power_table(max(repetitions // 4, 1)),
    ):
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
