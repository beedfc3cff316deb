"""Scores of volume corrections, in columns of the table of scores of volumes that other tools made.

There are no training subjects: each person is corrected by a fit on the other persons that are scored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harmbench.discovery import load_correction
from harmbench.guard import method_call
from harmbench.metrics.volumetry import RELATIVE_VOLUME_DIFFERENCE, VOLUME
from harmbench.runner.score_summary import SOURCE_VALUE
from harmbench.runner.tissue_volumes import volume_rows
from harmbench.segmentation import TISSUES
from harmbench.study.choice import INNER_FOLDS, cross_corrected
from harmbench.volume_correction import Volumes

__all__ = ["CORRECTIONS", "column_of", "correction_note", "person_of", "with_corrections"]

CORRECTIONS = ("volume_offset", "volume_ratio", "volume_linear", "volume_combat")
"""The corrections that have a column."""


_LABEL = re.compile(r"sub-[^_]+")


def column_of(correction: str) -> str:
    """Return the column of a table of scores that holds what a correction scores."""
    return f"{correction}_value"


def person_of(name: str) -> str:
    """Return whose a file of this name is: its `sub-` label, or else the whole name.

    Tools put prefixes before the label, as in SPM's `wsub-01_T1w` and `mwc1sub-01_T1w`.
    """
    found = _LABEL.search(name)
    return found[0] if found else name


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Volumes of sources and references, shape (names, tissues), mm3, of names that have all of them."""

    names: tuple[str, ...]
    source: Volumes
    target: Volumes

    @property
    def people(self) -> tuple[str, ...]:
        """Who each is of."""
        return tuple(map(person_of, self.names))


def with_corrections(scores: pd.DataFrame) -> pd.DataFrame:
    """Add what volume corrections of the sources score: columns such as `volume_ratio_value`.

    They are fitted by cross-validation over the persons that are scored: each left out alone up to
    `INNER_FOLDS` persons, else in as many folds. They have values for the metrics of volumes alone, and
    none where there are too few persons.

    Args:
        scores: of `score_all`; without `SOURCE_VALUE`, or with fewer than two persons, it is
            returned as it is.
    """
    pairs = _pairs_of(scores)
    if pairs is None:
        return scores
    known: dict[str, dict[tuple[str, str, str], float]] = {}
    for correction in CORRECTIONS:
        kind = load_correction(correction)
        with method_call():
            found = cross_corrected(kind, pairs.source, pairs.target, pairs.people)
        known[correction] = {
            (name, row["metric"], row["tissue"]): row["value"]
            for name, volumes, wanted in zip(pairs.names, found, pairs.target, strict=True)
            if np.isfinite(volumes).all()
            for row in volume_rows(volumes.tolist(), wanted.tolist())
        }
    places = list(zip(scores["name"], scores["metric"], scores["tissue"], strict=True))
    return scores.assign(
        **{
            column_of(correction): [own.get(place, np.nan) for place in places]
            for correction, own in known.items()
        }
    )


def _pairs_of(scores: pd.DataFrame) -> _Pairs | None:
    """Return the volumes of sources and references; `None` with fewer than two persons."""
    if SOURCE_VALUE not in scores.columns:
        return None
    rows = scores[scores["metric"].isin([VOLUME.name, RELATIVE_VOLUME_DIFFERENCE.name])]
    wide = rows.pivot_table(index="name", columns=["metric", "tissue"], values=SOURCE_VALUE)
    columns = [(metric.name, t) for metric in (VOLUME, RELATIVE_VOLUME_DIFFERENCE) for t in TISSUES]
    if not set(columns) <= set(wide.columns):
        return None
    known = wide[columns].dropna()
    found = known.to_numpy(dtype=np.float64)
    source, relative = found[:, : len(TISSUES)], found[:, len(TISSUES) :]
    # A source without a tissue does not say how much of it the reference has.
    usable = np.asarray((relative > -100).all(axis=1))
    names = tuple(str(name) for name, kept in zip(known.index, usable, strict=True) if kept)
    pairs = _Pairs(names, source[usable], source[usable] / (1 + relative[usable] / 100))
    return pairs if len(set(pairs.people)) > 1 else None


def correction_note(scores: pd.DataFrame) -> str:
    """Say how the corrections of a table were fitted, or why it has none."""
    pairs = _pairs_of(scores)
    if pairs is None:
        return "no volume corrections: they need --source, and volumes of two or more people"
    count = len(set(pairs.people))
    how = (
        "the others"
        if count <= INNER_FOLDS
        else f"the other {INNER_FOLDS - 1} of {INNER_FOLDS} parts"
    )
    text = (
        f"volume corrections: of the sources, each of {count} people corrected by a fit on {how} "
        "(cross-validation over the scored people themselves)"
    )
    if not any(map(_LABEL.search, pairs.names)):
        text += "; no name has a sub- label, so that each file was taken for another person"
    none = [c for c in CORRECTIONS if scores[column_of(c)].isna().all()]
    return f"{text}; no value for {', '.join(none)}" if none else text
