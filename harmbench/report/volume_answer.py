"""Whether volumes need a network, in words; and what limits every statement on volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import direction_title
from harmbench.report.tables.worth import chosen_names
from harmbench.report.volume_comparison import Comparison, plain_number
from harmbench.report.volumes import chosen_corrections, worth_of
from harmbench.results import BASELINE
from harmbench.segmentation.base import TISSUES
from harmbench.statistics.claims import shown

__all__ = [
    "Comparison",
    "comparisons",
    "volume_limits",
    "worth_lead",
    "worth_rows",
    "worth_sentences",
]

_NAMED = 6
_BY_LESS = ", or by less than the region of equivalence, a share of the untreated error"
_CORRECTION = "the best volume correction, a few numbers fitted on the training subjects' volumes"


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
        region_ml=float(images["region_mm3"].iloc[0]) / 1e3,
        no_gain=bool(shown(images["p_unneeded"].to_numpy(dtype=np.float64))[0]),
    )


def worth_lead(found: Sequence[Comparison]) -> str:
    """Sum up all directions and tissues in one sentence; empty where there is nothing to compare."""
    if not found:
        return ""
    judged = [one for one in found if not one.few]
    if not judged:
        few = "There are too few subjects or folds to say whether volumes need a network."
        return f"{few} {_ahead(found, f'{_CORRECTION},')}"
    parts = (_needed(judged), _unneeded(judged), _unjudged(found))
    return " ".join(part for part in parts if part)


def _ahead(found: Sequence[Comparison], correction: str, end: str = "") -> str:
    """Say where a correction has the smaller mean error, which is a description and no judgement."""
    ahead = [one for one in found if one.ahead]
    many = f"{len(ahead) or 'none'} of {len(found)} comparisons (tissue and direction)"
    where = f": {_places(ahead)}{end}" if ahead else ""
    smaller = "has a smaller mean error than every network"
    return f"Among these subjects, {correction} {smaller} in {many}{where}."


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
    """Say where it is shown that no network is needed, and what is left open."""
    enough = [one for one in judged if one.enough]
    said = []
    if enough:
        by_less = _BY_LESS if any(not one.all_beaten for one in enough) else ""
        said.append(
            f"A volume correction is shown to be enough in {len(enough)} of {len(judged)}: "
            f"{_places(enough)}. No network is better there{by_less}."
        )
    left = [one for one in judged if not one.enough and not one.needs_image]
    if left:
        which = "the other volumes" if len(left) < len(judged) else "volumes"
        said.append(
            f"Whether {which} need a network is open. "
            f"{_ahead(left, 'the correction', '; this is not shown')}"
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
        untreated = "" if one.untreated_ml is None else plain_number(one.untreated_ml)
        rows.append(
            {
                "direction": one.direction,
                "tissue": one.tissue,
                "untreated": untreated,
                "correction": plain_number(one.correction_ml),
                "image": plain_number(error),
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
