"""What a study asks of volumes that other tools made: agreement with the target scanner, cost of a switch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmbench.metrics.volumetry import RELATIVE_VOLUME_DIFFERENCE, VOLUME
from harmbench.runner.outside_corrections import CORRECTIONS, column_of, person_of
from harmbench.runner.score_summary import SOURCE_VALUE, short_number
from harmbench.segmentation import TISSUES
from harmbench.study.agreement import bland_altman, concordance, icc
from harmbench.study.switch import Trial, switch_cost

__all__ = ["FEWEST", "study_of_scores", "summarize_study"]

FEWEST = 3
"""People below which agreement is not computed."""

_ML = 1e-3
_COLUMNS = [
    *("volumes", "tissue", "n", "error_ml", "bias_ml", "limit_low_ml", "limit_high_ml"),
    *("icc_a1", "icc_a1_low", "icc_a1_high", "icc_c1", "concordance"),
    *("change_sd_percent", "change_sd_low", "change_sd_high", "smallest_change_percent", "arm"),
]

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Scans:
    """Volumes of one tissue with those of the references, shape (scans,), mm3.

    Attributes:
        people: whose each scan is, same shape.
        own: the volumes.
        wanted: those of the references.
    """

    people: tuple[str, ...]
    own: Values
    wanted: Values

    def of_people(self) -> tuple[Values, Values]:
        """Average the scans of each person: volumes and those of the references, shape (people,)."""
        scans = pd.DataFrame({"own": self.own, "wanted": self.wanted})
        means = scans.groupby(np.asarray(self.people), sort=True).mean()
        return means["own"].to_numpy(), means["wanted"].to_numpy()


def study_of_scores(scores: pd.DataFrame, trial: Trial | None = None) -> pd.DataFrame:
    """Compare volumes with the references', as a report does.

    Several scans of a person are averaged for error, agreement and bias. For the cost of a switch each
    scan counts on its own, since a trial measures one; its interval is over people.

    Args:
        scores: of `score_all`.
        trial: what a change of volume is measured for.

    Returns:
        One row for the scored volumes (`scored`), the sources and each volume correction, where there are
        any, and each tissue: people `n`; mean absolute error, bias and limits of agreement; ICC(A,1) with
        its interval, ICC(C,1), concordance; SD of the change that a switch of scanner adds, in percent of
        the volume, with its interval; the smallest change of one person that can be seen; subjects per arm
        of a trial. Empty with fewer than `FEWEST` people.
    """
    rows = [
        {"volumes": name, "tissue": tissue, **_numbers(scans, trial)}
        for name, tissue, scans in _by_method(scores)
        if len(set(scans.people)) >= FEWEST
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _by_method(scores: pd.DataFrame) -> Iterator[tuple[str, str, _Scans]]:
    """Go through what the volumes are of, tissue, and volumes with those of the references."""
    columns = {"scored": "value", "source": SOURCE_VALUE, **{c: column_of(c) for c in CORRECTIONS}}
    index = ["name", "tissue"]
    volume = scores[scores["metric"] == VOLUME.name].set_index(index)
    others = scores[scores["metric"] == RELATIVE_VOLUME_DIFFERENCE.name].set_index(index)
    relative = others["value"].where(others["value"] > -100)
    reference = volume["value"] / (1 + relative / 100)
    for name, column in columns.items():
        if column not in volume.columns:
            continue
        both = pd.DataFrame({"own": volume[column], "reference": reference}).dropna()
        both = both[both["reference"] > 0]
        for tissue in TISSUES:
            if tissue in both.index.get_level_values("tissue"):
                own = both.xs(tissue, level="tissue")
                people = tuple(person_of(str(one)) for one in own.index)
                yield (
                    name,
                    tissue,
                    _Scans(people, own["own"].to_numpy(), own["reference"].to_numpy()),
                )


def _numbers(scans: _Scans, trial: Trial | None) -> dict[str, float]:
    """Compute the numbers of one method and tissue."""
    own, wanted = scans.of_people()
    agreement, consistency = icc(np.column_stack([wanted, own]))
    altman = bland_altman(wanted, own)
    cost = switch_cost(scans.own, scans.wanted, trial, subjects=scans.people)
    return {
        "n": own.size,
        "error_ml": _ML * float(np.abs(own - wanted).mean()),
        "bias_ml": _ML * altman.bias.value,
        "limit_low_ml": _ML * altman.limits[0],
        "limit_high_ml": _ML * altman.limits[1],
        "icc_a1": agreement.value,
        "icc_a1_low": agreement.low,
        "icc_a1_high": agreement.high,
        "icc_c1": consistency.value,
        "concordance": concordance(wanted, own).value,
        "change_sd_percent": cost.sd_percent,
        "change_sd_low": cost.sd_low,
        "change_sd_high": cost.sd_high,
        "smallest_change_percent": cost.smallest_change_percent,
        "arm": cost.arm,
    }


def summarize_study(found: pd.DataFrame) -> list[dict[str, str]]:
    """Return the table in few columns, as text that fits a line of 80 characters.

    `SD %` is that of the change which a switch of scanner adds; `per arm` are subjects of a trial.
    """
    heads = {
        "error_ml": "error ml",
        "bias_ml": "bias ml",
        "icc_a1": "ICC(A,1)",
        "change_sd_percent": "SD %",
        "arm": "per arm",
    }
    return [
        {"volumes of": f"{row['volumes']} {row['tissue']}", "n": str(row["n"])}
        | {head: short_number(float(row[name])) for name, head in heads.items()}
        for row in found.to_dict("records")
    ]
