"""The verdict on one direction: what a page's first screen shows, as data.

`harmbench.report.answer.verdict(evidence, direction)` makes it. Nothing here computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harmbench.metrics.base import Better
from harmbench.task import Direction

__all__ = [
    "Comparison",
    "Harm",
    "Judged",
    "JudgedMeasure",
    "RankStability",
    "Role",
    "State",
    "Verdict",
    "VerdictRow",
]

State = Literal["better", "equivalent", "unclear", "worse", "not judged"]
"""How a method stands against another, or against the original where no other is named.

- `better`, `worse`: the difference is shown, after correction for the number of comparisons.
- `equivalent`: the difference is shown to lie inside the region of equivalence.
- `unclear`: neither is shown.
- `not judged`: the design or the data allow no judgement; `reason` says why.
"""

Role = Literal["method", "original", "control", "volume correction", "rescan floor", "ceiling"]
"""What a row of the grid is.

- `original`: the untreated source, which every other row is judged against.
- `control`: an untrained control, such as histogram matching.
- `volume correction`: it maps volumes and makes no images.
- `rescan floor`: the error between two scans on the target scanner. It is shown, never ranked.
- `ceiling`: the reference scored against itself. It is shown, never ranked.
"""


@dataclass(frozen=True, slots=True)
class JudgedMeasure:
    """A column of the grid.

    Attributes:
        metric: name of the metric.
        tissue: empty for metrics of the image.
        title: such as `Volume difference GM`.
        unit: as declared by the metric; `1` without a unit.
        better: which way is better, as declared by the metric.
        primary: whether it is the declared primary endpoint.
        region: the region of equivalence, as text: `within ±10 % of the original's error`.
    """

    metric: str
    tissue: str
    title: str
    unit: str
    better: Better
    primary: bool
    region: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A cell of the grid: one method on one measure, against the original.

    Numbers are NaN where there is none. `difference`, `low` and `high` are in the unit of the
    measure, method minus original; for a signed measure they are differences of magnitudes.

    Attributes:
        state: see `State`.
        reason: why it is not judged, or why it is unclear although a test says otherwise (a failed
            subject); otherwise empty.
        mean: mean over subjects of the method's own values.
        difference: mean difference to the original.
        low, high: 95 % interval of the difference, which accounts for folds, for this cell alone.
        p: two-sided, of this cell alone.
        p_adjusted: corrected for all cells of the grid.
        effect_size: standardized mean difference of the pairs (Hedges' g); positive is better.
        change: reduction of the error as a share of the original's: 0.25 is a quarter less error,
            below 0 is more error.
        pairs: subjects that both were measured on.
        folds: folds that these subjects are in.
    """

    state: State
    reason: str
    mean: float
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    effect_size: float
    change: float
    pairs: int
    folds: int


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A row of the grid.

    Attributes:
        method: name in the results table.
        title: name to show.
        role: see `Role`.
        cells: one for each of the verdict's measures, in their order. In the row of the original
            all are `not judged`, with its own means; `ceiling` and `rescan floor` likewise.
        chance_best: probability from 0 to 1 that it is the best on the primary endpoint; NaN for
            rows that are never ranked.
        failed: subjects without a value of the primary endpoint that another method has.
    """

    method: str
    title: str
    role: Role
    cells: tuple[Judged, ...]
    chance_best: float
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two methods on the primary endpoint; the fields are those of `Judged`.

    Attributes:
        first, second: titles. `difference` is first minus second; `state` is that of `first`.
        p_adjusted: Holm's, over all pairs of methods.
    """

    first: str
    second: str
    state: State
    reason: str
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    effect_size: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Harm:
    """A method that is worse than the original on a measure.

    Attributes:
        method: title.
        measure: title.
        certain: whether the cell of the grid is `worse`; otherwise only its own 95 % interval
            excludes 0, without correction for the number of comparisons.
        more: how much more error than the original, as a share of the original's: 0.1 is 10 % more.
        text: one sentence.
    """

    method: str
    measure: str
    certain: bool
    more: float
    text: str


@dataclass(frozen=True, slots=True)
class RankStability:
    """The rank of a method on the primary endpoint, and how stable it is.

    Attributes:
        method: title.
        rank: by the mean over subjects; 1 is best.
        rank_by_ranks: by the mean of the ranks within each subject.
        low, high: 95 % interval of `rank` under resampling of folds and subjects.
    """

    method: str
    rank: int
    rank_by_ranks: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known about one direction.

    Attributes:
        direction: source to target.
        endpoint: the declared primary endpoint; one of `measures` where it was measured.
        sentence: the answer in one sentence.
        leader: title of the method that is shown to be better than every rival on the primary
            endpoint; empty where none is.
        measures: columns of the grid, the primary endpoint first.
        rows: rows of the grid: methods, then controls and volume corrections, the original, the
            rescan floor and the ceiling.
        rivals: every pair of ranked methods on the primary endpoint, without the original.
        corrections: every method that makes images against the best volume correction, on the
            primary endpoint; empty without volume corrections. `better` means better than each of
            them; `p_adjusted` is Holm's over the methods.
        secondary_leads: titles of a measure and of the method that is shown to lead on it.
        harms: certain ones first.
        stability: of the ranked rows, best first.
        subjects, folds: of this direction; other directions may have other subjects.
        judgeable: whether the design allows any test at all.
        limits: the design in one line: subjects, folds, seeds, and the smallest difference that it
            detects with a power of 80 %.
        enough: what would be enough to judge, in one line; empty where the design can judge.
        failures: sentences that name failed subjects or cells; these belong in the headline.
        incomplete: sentences on what was planned and is absent; if there are any, the page has a
            banner.
        notes: further sentences: how the tests work, agreement of both orders of aggregation.
    """

    direction: Direction
    endpoint: JudgedMeasure
    sentence: str
    leader: str
    measures: tuple[JudgedMeasure, ...]
    rows: tuple[VerdictRow, ...]
    rivals: tuple[Comparison, ...]
    corrections: tuple[Comparison, ...]
    secondary_leads: tuple[tuple[str, str], ...]
    harms: tuple[Harm, ...]
    stability: tuple[RankStability, ...]
    subjects: int
    folds: int
    judgeable: bool
    limits: str
    enough: str
    failures: tuple[str, ...]
    incomplete: tuple[str, ...]
    notes: tuple[str, ...]
