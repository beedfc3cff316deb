"""Whether volumes need a network, in words; and what limits every statement on volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import direction_title
from harmbench.report.tables.worth import chosen_names
from harmbench.report.volumes import chosen_corrections, worth_of
from harmbench.results import BASELINE
from harmbench.segmentation.base import TISSUES
from harmbench.statistics.claims import shown
from harmbench.statistics.differences import FEWEST_FOLDS, FEWEST_SUBJECTS

__all__ = [
    "Comparison",
    "comparisons",
    "volume_limits",
    "worth_lead",
    "worth_rows",
    "worth_sentences",
]

_NAMED = 6
_CORRECTION = "the best volume correction, a few numbers fitted on the training subjects' volumes"


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

    @property
    def few(self) -> bool:
        """Whether there are too few subjects, or folds, to judge any difference."""
        return self.pairs < FEWEST_SUBJECTS or self.folds < FEWEST_FOLDS

    @property
    def needs_image(self) -> bool:
        """Whether an image method is clearly better than the best correction."""
        return bool(self.better) and not self.few

    @property
    def all_beaten(self) -> bool:
        """Whether the correction is shown to be better than every network."""
        return set(self.networks) <= set(self.worse) and not self.few

    @property
    def ahead(self) -> bool:
        """Whether the correction has a smaller mean error than every network, shown or not."""
        return self.correction_ml < min(self.errors_ml[name] for name in self.networks)

    def sentence(self) -> str:
        """Say it in words."""
        title, error = next(iter(self.errors_ml.items()))
        numbers = (
            f"mean absolute error {_number(self.correction_ml)} ml ({self.correction}, chosen on training "
            f"subjects) against {_number(error)} ml ({title}, the best image method)"
        )
        if self.untreated_ml is not None:
            numbers += f" and {_number(self.untreated_ml)} ml (untreated)"
        return f"{self.tissue}: {self._verdict()} {numbers[0].upper()}{numbers[1:]}.{self._harm()}"

    def finding(self) -> str:
        """Say in few words how image methods stand against the correction."""
        if self.few:
            return f"too few subjects ({self.pairs}) or folds ({self.folds}) to judge"
        parts = [f"better: {', '.join(self.better)}"] if self.better else []
        parts += [f"worse: {', '.join(self.worse)}"] if self.worse else []
        return "; ".join(parts) or "none is clearly better or worse"

    def _verdict(self) -> str:
        count = len(self.errors_ml)
        if self.few:
            return (
                f"There are too few subjects ({self.pairs}) or folds ({self.folds}) to say whether a network "
                f"is needed; {FEWEST_SUBJECTS} subjects in {FEWEST_FOLDS} folds are the fewest."
            )
        if self.better:
            names = ", ".join(self.better)
            verb = "is" if len(self.better) == 1 else "are"
            return f"{names} {verb} better than the best volume correction."
        if self.all_beaten:
            many = len(self.networks)
            all_of_them = {1: self.networks[0], 2: "both networks"}
            return (
                "No network is needed for this volume: a volume correction is better than "
                f"{all_of_them.get(many, f'all {many} networks')}."
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


def _number(value: float) -> str:
    return f"{value:.{1 if value >= 10 else 2 if value >= 0.1 else 3}f}"


def comparisons(evidence: Evidence) -> list[Comparison]:
    """Compare in every direction and tissue; empty without volume corrections or image methods."""
    found, choices = worth_of(evidence), chosen_corrections(evidence)
    made = []
    for direction in evidence.directions:
        for tissue in TISSUES:
            rows = found[(found["direction"] == str(direction)) & (found["tissue"] == tissue)]
            rows = rows.set_index("method")
            methods = [name for name in evidence.candidates if name in rows.index]
            if methods:
                correction = chosen_names(evidence, choices, direction, tissue)
                titles = evidence.methods
                networks = [titles[name] for name in evidence.networks if name in methods]
                one = _comparison(rows, methods, titles, direction_title(direction), correction)
                made.append(replace(one, networks=tuple(networks)) if networks else one)
    return made


def _comparison(
    rows: pd.DataFrame,
    methods: Sequence[str],
    titles: Mapping[str, str],
    direction: str,
    correction: str,
) -> Comparison:
    images = rows.loc[list(methods)].sort_values("error_mm3", kind="stable")
    sure = shown(images["p_adjusted"].to_numpy(dtype=np.float64))
    untreated = rows.loc[[BASELINE]] if BASELINE in rows.index else None
    return Comparison(
        direction=direction,
        tissue=str(rows["tissue"].iloc[0]),
        correction=correction,
        pairs=int(images["n_pairs"].min()),
        folds=int(images["folds"].min()),
        correction_ml=float(images["correction_mm3"].iloc[0]) / 1e3,
        untreated_ml=None if untreated is None else float(untreated["error_mm3"].iloc[0]) / 1e3,
        untreated_beaten=untreated is not None and float(untreated["low_mm3"].iloc[0]) > 0,
        errors_ml={titles[str(n)]: float(e) / 1e3 for n, e in images["error_mm3"].items()},
        networks=tuple(titles[str(n)] for n in images.index),
        better=tuple(titles[str(n)] for n in images.index[sure & (images["difference_mm3"] < 0)]),
        worse=tuple(titles[str(n)] for n in images.index[sure & (images["difference_mm3"] > 0)]),
    )


def worth_lead(found: Sequence[Comparison]) -> str:
    """Sum up all directions and tissues in one sentence; empty where there is nothing to compare."""
    if not found:
        return ""
    judged = [one for one in found if not one.few]
    if not judged:
        few = "There are too few subjects or folds to say whether volumes need a network."
        return f"{few} {_ahead(found, _CORRECTION)}"
    parts = (_needed(judged), _unneeded(judged), _unjudged(found))
    return " ".join(part for part in parts if part)


def _ahead(found: Sequence[Comparison], correction: str) -> str:
    """Say where a correction has the smaller mean error, which is a description and no judgement."""
    ahead = [one for one in found if one.ahead]
    many = f"{len(ahead) or 'none'} of {len(found)} comparisons (tissue and direction)"
    where = f": {_places(ahead)}" if ahead else ""
    smaller = "has a smaller mean error than every network"
    return f"Among these subjects, {correction}, {smaller} in {many}{where}."


def _needed(judged: Sequence[Comparison]) -> str:
    """Say where an image method is shown to be better than the best correction."""
    needed = [one for one in judged if one.needs_image]
    many = f"{len(judged)} comparisons (tissue and direction)"
    if len(needed) == len(judged):
        return f"Volumes need an image method in all {many}."
    if needed:
        return (
            f"Volumes need an image method in {len(needed)} of {many}: {_places(needed)}. Elsewhere none "
            f"is shown to be better than {_CORRECTION}."
        )
    return f"No image method is shown to be better than {_CORRECTION}, in any of {many}."


def _unneeded(judged: Sequence[Comparison]) -> str:
    """Say where a correction is shown to be better than every network, and what is left open."""
    beaten = [one for one in judged if one.all_beaten]
    said = []
    if beaten:
        said.append(
            f"A volume correction is shown to be better than every network in {len(beaten)} of "
            f"{len(judged)}: {_places(beaten)}. These volumes need no network."
        )
    left = [one for one in judged if not one.all_beaten and not one.needs_image]
    if left:
        which = "the other volumes" if len(left) < len(judged) else "volumes"
        said.append(
            f"Whether {which} need a network is open: equivalence was not tested. "
            f"{_ahead(left, 'the correction, though this is not shown')}"
        )
    return " ".join(said)


def _unjudged(found: Sequence[Comparison]) -> str:
    few = sum(one.few for one in found)
    return f"In {few} more there are too few subjects or folds to judge." if few else ""


def _places(found: Sequence[Comparison]) -> str:
    named = ", ".join(f"{one.tissue} {one.direction}" for one in found[:_NAMED])
    return f"{named} and {len(found) - _NAMED} more" if len(found) > _NAMED else named


def worth_sentences(found: Sequence[Comparison]) -> dict[str, list[str]]:
    """Return direction to one sentence or two for each tissue."""
    said: dict[str, list[str]] = {}
    for one in found:
        said.setdefault(one.direction, []).append(one.sentence())
    return said


def worth_rows(found: Sequence[Comparison]) -> list[dict[str, str]]:
    """Return one row of texts for each direction and tissue, errors in ml."""
    rows = []
    for one in found:
        title, error = next(iter(one.errors_ml.items()))
        untreated = "" if one.untreated_ml is None else _number(one.untreated_ml)
        rows.append(
            {
                "direction": one.direction,
                "tissue": one.tissue,
                "untreated": untreated,
                "correction": _number(one.correction_ml),
                "image": _number(error),
                "title": title,
                "finding": one.finding(),
            }
        )
    return rows


def volume_limits(evidence: Evidence) -> list[str]:
    """Say what limits every statement on volumes of a report."""
    limits = []
    if evidence.corrections:
        limits.append(
            "Volume corrections mend volumes, not images: they give no harmonized scan, and nothing "
            "that is measured on one, such as a lesion, a surface or a voxel-wise map. They hold for "
            "this segmenter, these two scanners and people like the training subjects."
        )
    if _deformable(evidence):
        limits.append(
            "These scans were prepared with deformable registration, which brings a subject's two "
            "scans onto each other. It removes real differences between them with those of the "
            "scanners, and makes every method look better on volumes than it would be on scans that "
            "were aligned rigidly."
        )
    return limits


def _deformable(evidence: Evidence) -> bool:
    """Whether `harmbench prepare` registered the scans of any run deformably."""
    for record in evidence.records:
        registration = (record.cohort.preparation or {}).get("registration")
        if isinstance(registration, Mapping) and registration.get("transform") == "deformable":
            return True
    return False
