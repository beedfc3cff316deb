"""Tissue volumes of a report: the methods' and the reference's, and what training subjects choose."""

from __future__ import annotations

import pandas as pd

from harmbench.metrics.volumetry import RELATIVE_VOLUME_DIFFERENCE, VOLUME
from harmbench.report.evidence import Evidence, declared_endpoint
from harmbench.results import CEILING, REAL_SCANS
from harmbench.study.annual import VISIT_COLUMNS
from harmbench.study.worth import Choices, choose, worth
from harmbench.task import Direction

__all__ = ["chosen_corrections", "dated_volumes", "paired_volumes", "reference_volumes", "worth_of"]


def reference_volumes(evidence: Evidence) -> pd.DataFrame:
    """Give the reference's volume per direction, tissue and subject, in mm³.

    It is the volume of the ceiling, or else follows from a method's volume v and its signed
    relative difference r in percent: v / (1 + r / 100).
    """
    rows = evidence.results[evidence.results["segmenter"] == evidence.segmenter]
    at = ["direction", "tissue", "subject"]
    volume = rows[(rows["metric"] == VOLUME.name) & rows["value"].notna()]
    ceiling = volume[volume["method"] == CEILING]
    if len(ceiling):
        known: pd.DataFrame = ceiling.groupby(at)["value"].mean().reset_index()
        return known
    relative = rows[(rows["metric"] == RELATIVE_VOLUME_DIFFERENCE.name) & (rows["value"] > -100)]
    keys = [*at, "visit", "method", "fold", "seed"]
    both = volume.merge(relative[[*keys, "value"]], on=keys, suffixes=("", "_relative"))
    both["value"] = both["value"] / (1 + both["value_relative"] / 100)
    derived: pd.DataFrame = both.groupby(at)["value"].mean().reset_index()
    return derived


def paired_volumes(evidence: Evidence, direction: Direction) -> pd.DataFrame:
    """Give each method's volumes beside the reference's.

    Returns:
        One row for each method, tissue and subject that has both: method, tissue, subject, group,
        value, and value_reference, in mm3. The ceiling is left out.
    """
    rows = evidence.results[evidence.results["segmenter"] == evidence.segmenter]
    rows = rows[(rows["metric"] == VOLUME.name) & (rows["method"] != CEILING)]
    rows = rows[(rows["direction"] == str(direction)) & rows["value"].notna()]
    names = ["method", "tissue", "subject", "group"]
    values = rows.groupby(names, sort=True)["value"].mean().reset_index()
    truth = reference_volumes(evidence)
    truth = truth[truth["direction"] == str(direction)].drop(columns="direction")
    both: pd.DataFrame = values.merge(truth, on=["tissue", "subject"], suffixes=("", "_reference"))
    return both


def dated_volumes(evidence: Evidence, direction: Direction) -> pd.DataFrame:
    """Give each method's volumes by visit with the dates of the scans; see `study.annual`.

    Returns:
        The columns of `VISIT_COLUMNS`, for all methods but the controls that are real scans. Values are
        means over seeds; what the reference has is NaN where it was not scored. Empty where no subject
        has two visits.
    """
    rows = evidence.results
    rows = rows[(rows["metric"] == VOLUME.name) & (rows["segmenter"] == evidence.segmenter)]
    rows = rows[(rows["direction"] == str(direction)) & rows["value"].notna()]
    dates = {
        (pair.subject, pair.visit): (
            evidence.date(pair.subject, pair.source),
            evidence.date(pair.subject, pair.target),
        )
        for (_, way), cells in evidence.cells.items()
        if way == direction
        for cell in cells
        for pair in cell.record.tested
        if pair.visit
    }
    if rows.empty or not dates:
        return pd.DataFrame(columns=list(VISIT_COLUMNS))
    keys = ["method", "direction", "segmenter", "tissue", "subject", "visit"]
    values = rows.groupby(keys, sort=True)["value"].mean().reset_index()
    reference = values[values["method"] == CEILING].rename(columns={"value": "target_value"})
    at = ["tissue", "subject", "visit"]
    own = values[~values["method"].isin(sorted(REAL_SCANS))]
    both = own.merge(reference[[*at, "target_value"]], on=at, how="left")
    places = [(str(s), str(v)) for s, v in zip(both["subject"], both["visit"], strict=True)]
    known = [dates.get(place, ("", "")) for place in places]
    both["date"] = [one for one, _ in known]
    both["target_date"] = [two for _, two in known]
    visits: pd.DataFrame = both[list(VISIT_COLUMNS)]
    return visits


def chosen_corrections(evidence: Evidence) -> Choices:
    """Say which volume correction training subjects choose, by direction, fold and tissue."""
    inner = {
        (name, str(direction), stored.cell.fold): stored.record.inner_error_mm3
        for name in evidence.corrections
        for direction in evidence.directions
        for stored in evidence.counted_cells(name, direction)
    }
    return choose(inner)


def worth_of(evidence: Evidence) -> pd.DataFrame:
    """Compare every method with the chosen correction, see `harmbench.study.worth.worth`.

    Claims are made of methods that give images. Whether a network is needed is asked of networks; of all
    of these methods, where none says how many parameters it has.
    """
    rows = evidence.results[evidence.results["segmenter"] == evidence.segmenter]
    images = evidence.candidates
    return worth(
        rows[rows["method"] != CEILING],
        chosen_corrections(evidence),
        images,
        evidence.networks or images,
        declared_endpoint(evidence).equivalence,
    )
