"""The short answer: what a direction's results show, and what they cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from harmbench.report import sentences
from harmbench.report.case import MAIN_MEASURES, Case, open_case
from harmbench.report.evidence import Evidence
from harmbench.report.planned import what_is_absent
from harmbench.report.verdict import (
    Comparison,
    Judged,
    RankStability,
    Role,
    State,
    Verdict,
    VerdictRow,
)
from harmbench.results import BASELINE
from harmbench.statistics.claims import (
    Claims,
    Leads,
    find_leads,
    holm,
    make_claims,
    run_tests,
    shown,
    with_leads,
)
from harmbench.statistics.differences import FEWEST_FOLDS, FEWEST_SUBJECTS
from harmbench.statistics.losses import errors_of, loss_sign
from harmbench.task import Direction

__all__ = ["MAIN_MEASURES", "verdict"]

NAN = float("nan")


def verdict(
    evidence: Evidence, direction: Direction, roles: Mapping[str, Role] | None = None
) -> Verdict:
    """Judge the methods of one direction.

    Args:
        evidence: the merged runs.
        direction: one of its directions.
        roles: of methods by name, such as volume corrections; of those not named, the untreated
            source, the ceiling and the run's controls are known.
    """
    case = open_case(evidence, direction, roles or {})
    facts = _facts(case, direction)
    stability = _stability(case)
    return Verdict(
        direction=direction,
        endpoint=case.measures[0],
        sentence=sentences.headline(facts),
        leader=facts.leads[0],
        measures=case.measures,
        rows=facts.rows,
        rivals=_rivals(case),
        corrections=facts.corrections,
        secondary_leads=tuple(
            (measure.title, leader)
            for measure, leader in zip(case.measures[1:], facts.leads[1:], strict=True)
            if leader
        ),
        harms=sentences.harms(facts),
        stability=stability,
        subjects=facts.subjects,
        folds=facts.folds,
        judgeable=facts.judgeable,
        limits=sentences.limits(facts),
        enough=sentences.enough(facts),
        failures=sentences.failures(facts),
        incomplete=facts.incomplete,
        notes=sentences.notes(facts, stability),
    )


def _facts(case: Case, direction: Direction) -> sentences.Facts:
    leads = _leads(case)
    rows, error = _grid(case, leads)
    folds = case.frame[["subject", "fold"]].drop_duplicates()
    return sentences.Facts(
        measures=case.measures,
        rows=rows,
        leads=_leaders(case, leads),
        corrections=_against_corrections(case),
        subjects=len(case.subjects),
        folds=len(set(case.losses.folds.tolist())),
        seeds=int(case.frame["seed"].nunique()),
        split_differs=len(folds) > folds["subject"].nunique(),
        incomplete=what_is_absent(case.evidence, direction),
        simulated=case.evidence.simulated,
        error=error,
    )


def _grid(case: Case, leads: Leads | None) -> tuple[tuple[VerdictRow, ...], float]:
    """Judge every ranked method against the original on all measures.

    Returns:
        The rows, and the median standard error of these differences on the primary endpoint, as a
        share of the original's error; NaN where nothing can be judged.
    """
    judged = [n for n in case.ranked if case.names[n] != BASELINE]
    places: dict[int, int] = {}
    claims: Claims | None = None
    error = NAN
    if BASELINE in case.names and judged:
        original = case.names.index(BASELINE)
        pairs = [(n, original) for n in judged]
        claims = make_claims(run_tests(case.losses, pairs))
        claims = claims if leads is None else with_leads(claims, pairs, leads)
        places = {n: place for place, n in enumerate(judged)}
        known = claims.found.error[0][np.isfinite(claims.found.error[0])]
        error = float(np.median(known)) / _original_error(case, 0) if known.size else NAN
    rows = tuple(
        VerdictRow(
            method=name,
            title=case.evidence.methods[name],
            role=case.roles[name],
            cells=tuple(
                _cell(case, claims if number in places else None, measure, number, places)
                for measure in range(len(case.measures))
            ),
            chance_best=case.chance(name),
            failed=case.failed(name),
        )
        for number, name in enumerate(case.names)
    )
    return rows, error


def _original_error(case: Case, measure: int, number: int | None = None) -> float:
    """Mean error of the original, on the subjects that a method has too; NaN where unknown."""
    if BASELINE not in case.names:
        return NAN
    original = case.losses.array[measure][:, case.names.index(BASELINE)]
    both = np.isfinite(original)
    if number is not None:
        both &= np.isfinite(case.losses.array[measure][:, number])
    if not both.any():
        return NAN
    metric = case.metrics[measure]
    error = float(errors_of(original[both] * loss_sign(metric), metric).mean())
    return error if error > 0 else NAN


def _cell(
    case: Case, claims: Claims | None, measure: int, number: int, places: Mapping[int, int]
) -> Judged:
    values = case.losses.array[measure][:, number]
    sign = loss_sign(case.metrics[measure])
    known = values[np.isfinite(values)]
    mean = float(known.mean()) * sign if known.size else NAN
    if claims is None:
        reason = "" if known.size else "not measured"
        return Judged("not judged", reason, mean, NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0, 0)
    at = (measure, places[number])
    found = claims.found
    state, reason = _state(claims, at)
    low, high = float(found.low[at]) * sign, float(found.high[at]) * sign
    return Judged(
        state=state,
        reason=reason if known.size else "not measured",
        mean=mean,
        difference=float(found.value[at]) * sign,
        low=min(low, high),
        high=max(low, high),
        p=float(found.p[at]),
        p_adjusted=float(claims.p_adjusted[at]),
        effect_size=-float(found.effect[at]),
        change=-float(found.value[at]) / _original_error(case, measure, number),
        pairs=int(found.subjects[at]),
        folds=int(found.folds[at]),
    )


def _state(claims: Claims, at: tuple[int, int]) -> tuple[State, str]:
    """Return the state of a pair, and why where that needs a reason."""
    pairs, folds = int(claims.found.subjects[at]), int(claims.found.folds[at])
    if pairs < FEWEST_SUBJECTS:
        return "not judged", f"{pairs} subjects in common; at least {FEWEST_SUBJECTS} are needed"
    if folds < FEWEST_FOLDS:
        return "not judged", f"{folds} fold{'s' * (folds > 1)}; at least {FEWEST_FOLDS} are needed"
    if claims.better[at] or claims.worse[at]:
        small = "the difference is shown, but small" if claims.equivalent[at] else ""
        return "better" if claims.better[at] else "worse", small
    if claims.equivalent[at]:
        return "equivalent", ""
    undone = (
        "a difference on common subjects that does not hold with failed subjects counted as worst"
    )
    return "unclear", undone if claims.failures_decide[at] else ""


def _leads(case: Case) -> Leads | None:
    pairs = [*combinations(case.ranked, 2)]
    return find_leads(case.means, run_tests(case.losses, pairs)) if pairs else None


def _leaders(case: Case, leads: Leads | None) -> tuple[str, ...]:
    """Titles of the method that leads on each measure; empty where none is shown to."""
    if leads is None:
        return ("",) * len(case.measures)
    titles = [case.evidence.methods[name] for name in case.names]
    led = shown(leads.p_adjusted)
    return tuple(titles[best] if yes else "" for best, yes in zip(leads.best, led, strict=True))


def _comparisons(
    case: Case, pairs: list[tuple[int, int]], p_values: list[float] | None = None
) -> tuple[Comparison, ...]:
    """Compare pairs on the primary endpoint, with Holm's correction over all of them."""
    if not pairs:
        return ()
    tests = run_tests(case.primary, pairs)
    own = tests.p[0] if p_values is None else np.array(p_values)
    adjusted, equal = holm(own), shown(holm(tests.p_equal[0]))
    claims = Claims(
        found=tests.found,
        p_adjusted=adjusted[None],
        better=(shown(adjusted) & (tests.found.value[0] < 0))[None],
        worse=(shown(adjusted) & (tests.found.value[0] > 0))[None],
        equivalent=equal[None],
        failures_decide=(shown(holm(tests.found.p[0])) & ~shown(adjusted))[None],
    )
    titles = [case.evidence.methods[name] for name in case.names]
    sign = loss_sign(case.metrics[0])
    found = []
    for number, (first, second) in enumerate(pairs):
        at = (0, number)
        state, reason = _state(claims, at)
        bounds = sorted((float(tests.found.low[at]) * sign, float(tests.found.high[at]) * sign))
        found.append(
            Comparison(
                first=titles[first],
                second=titles[second],
                state=state,
                reason=reason,
                difference=float(tests.found.value[at]) * sign,
                low=bounds[0],
                high=bounds[1],
                p=float(own[number]),
                p_adjusted=float(adjusted[number]),
                effect_size=-float(tests.found.effect[at]),
                pairs=int(tests.found.subjects[at]),
            )
        )
    return tuple(found)


def _rivals(case: Case) -> tuple[Comparison, ...]:
    rivals = [n for n in case.on_endpoint if case.names[n] != BASELINE]
    return _comparisons(case, [*combinations(rivals, 2)])


def _against_corrections(case: Case) -> tuple[Comparison, ...]:
    """Compare methods that make images with the volume correction that has the smallest mean.

    Better than it means better than every correction (the largest p-value); worse means worse than
    one of them, which was chosen by its mean (its p-value times their number).
    """
    corrections = [n for n in case.on_endpoint if case.roles[case.names[n]] == "volume correction"]
    images = [n for n in case.on_endpoint if case.roles[case.names[n]] in {"method", "control"}]
    if not corrections or not images:
        return ()
    best = min(corrections, key=lambda n: float(case.means[0, n]))
    p_values = []
    for image in images:
        tests = run_tests(case.primary, [(image, other) for other in corrections])
        with_best = corrections.index(best)
        if tests.found.value[0, with_best] < 0:
            in_favour = tests.found.value[0] < 0
            p = float(np.where(in_favour, tests.p[0], 1.0).max())
        else:
            p = min(1.0, len(corrections) * float(tests.p[0, with_best]))
        p_values.append(p)
    return _comparisons(case, [(image, best) for image in images], p_values)


def _stability(case: Case) -> tuple[RankStability, ...]:
    if case.ranking is None:
        return ()
    found = [
        RankStability(
            method=case.evidence.methods[case.names[number]],
            rank=int(case.ranking.rank[place]),
            rank_by_ranks=int(case.ranking.rank_by_ranks[place]),
            low=int(case.ranking.low[place]),
            high=int(case.ranking.high[place]),
        )
        for place, number in enumerate(case.on_endpoint)
    ]
    return tuple(sorted(found, key=lambda one: one.rank))
