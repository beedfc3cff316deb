"""One comparison of image methods with the best volume correction, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from harmbench.statistics.differences import FEWEST_FOLDS, FEWEST_SUBJECTS

__all__ = ["Comparison", "plain_number"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The image methods against the best volume correction, in one direction and tissue.

    Attributes:
        direction: as text: `3T to 1.5T`.
        tissue: which volume.
        correction: name of the correction that training subjects chose.
        pairs, folds: the smallest numbers of subjects, and of their folds, that a comparison rests on.
        correction_ml: mean absolute error of the correction.
        untreated_ml: that of the untreated source; `None` where it was not scored.
        untreated_beaten: whether the correction is clearly better than the untreated source.
        errors_ml: image method's title to its mean absolute error, best first.
        networks: those of them that are networks; all, where none says how many parameters it has.
        better: those that are shown to be better than the correction, by the tests of the verdict, corrected
            for the number of image methods and tissues.
        worse: those that are shown to be worse.
        region_ml: the gain that a network must bring to be needed: a share of the untreated error.
        no_gain: whether every network is shown to bring less than that.
    """

    direction: str
    tissue: str
    correction: str
    pairs: int
    folds: int
    correction_ml: float
    untreated_ml: float | None
    untreated_beaten: bool
    errors_ml: Mapping[str, float]
    networks: tuple[str, ...]
    better: tuple[str, ...]
    worse: tuple[str, ...]
    region_ml: float = math.nan
    no_gain: bool = False

    @property
    def few(self) -> bool:
        """Whether there are too few subjects, or folds, to judge any difference."""
        return self.pairs < FEWEST_SUBJECTS or self.folds < FEWEST_FOLDS

    @property
    def needs_image(self) -> bool:
        """Whether an image method is clearly better than the best correction; a network, perhaps by much."""
        small = set(self.networks) if self.no_gain else set()
        return not self.few and not set(self.better) <= small

    @property
    def all_beaten(self) -> bool:
        """Whether the correction is shown to be better than every network."""
        return set(self.networks) <= set(self.worse) and not self.few

    @property
    def enough(self) -> bool:
        """Whether it is shown that no network is needed: none is better, or none by the region or more."""
        return not self.few and not self.needs_image and (self.all_beaten or self.no_gain)

    @property
    def ahead(self) -> bool:
        """Whether the correction has a smaller mean error than every network, shown or not."""
        return self.correction_ml < min(self.errors_ml[name] for name in self.networks)

    def sentence(self) -> str:
        """Say it in words."""
        title, error = next(iter(self.errors_ml.items()))
        numbers = (
            f"mean absolute error {plain_number(self.correction_ml)} ml ({self.correction}, chosen on "
            f"training subjects) against {plain_number(error)} ml ({title}, the best image method)"
        )
        if self.untreated_ml is not None:
            numbers += f" and {plain_number(self.untreated_ml)} ml (untreated)"
        return f"{self.tissue}: {self._verdict()} {numbers[0].upper()}{numbers[1:]}.{self._harm()}"

    def finding(self) -> str:
        """Say in few words how image methods stand against the correction."""
        if self.few:
            return f"too few subjects ({self.pairs}) or folds ({self.folds}) to judge"
        parts = [f"better: {', '.join(self.better)}"] if self.better else []
        parts += [f"worse: {', '.join(self.worse)}"] if self.worse else []
        if self.no_gain and not self.all_beaten:
            parts.append(f"no network is better by {plain_number(self.region_ml)} ml")
        return "; ".join(parts) or "none is clearly better or worse"

    def _verdict(self) -> str:
        count = len(self.errors_ml)
        if self.few:
            return (
                f"There are too few subjects ({self.pairs}) or folds ({self.folds}) to say whether a network "
                f"is needed; {FEWEST_SUBJECTS} subjects in {FEWEST_FOLDS} folds are the fewest."
            )
        names = ", ".join(self.better)
        verb = "is" if len(self.better) == 1 else "are"
        if self.needs_image:
            return f"{names} {verb} better than the best volume correction."
        if self.all_beaten:
            many = len(self.networks)
            all_of_them = {1: self.networks[0], 2: "both networks"}
            return (
                "No network is needed for this volume: a volume correction is better than "
                f"{all_of_them.get(many, f'all {many} networks')}."
            )
        if self.no_gain:
            by_little = f" {names} {verb} better, by less than that." if self.better else ""
            return (
                "No network is needed for this volume: none is better than a volume correction by "
                f"{plain_number(self.region_ml)} ml, a share of the untreated error.{by_little}"
            )
        return (
            "No network is shown to be needed for this volume: a volume correction is better than "
            f"{len(self.worse)} of {count} image method{'s' * (count > 1)}, and none is clearly better "
            "than it."
        )

    def _harm(self) -> str:
        if self.few or self.untreated_ml is None or self.untreated_beaten or self.better:
            return ""
        return " The correction is not clearly better than leaving the scans untreated."


def plain_number(value: float) -> str:
    """Return a positive number with two or three digits that count."""
    return f"{value:.{1 if value >= 10 else 2 if value >= 0.1 else 3}f}"
