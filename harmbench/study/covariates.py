"""Covariates of subjects as a volume correction gets them: complete, and known from training subjects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmbench.volume_correction import Covariates

__all__ = ["NO_COVARIATES", "CovariateTable", "Value"]

Value = float | str | None
"""A number, the label of a category, or a missing value."""


@dataclass(frozen=True, slots=True)
class CovariateTable:
    """Covariates of all subjects of a study.

    Attributes:
        columns: name to subject to value; the known values of one name are all numbers, or all labels.
            A subject that is not listed has no value.
    """

    columns: Mapping[str, Mapping[str, Value]]

    def of(self, training: Sequence[str], subjects: Sequence[str]) -> Covariates | None:
        """Return the covariates of subjects for a correction that is fitted on others.

        What is filled in comes from the training subjects alone. A missing number becomes their mean; a
        missing label, or one that none of them has, their most frequent label. A covariate that is the
        same in all of them tells nothing and is left out.

        Args:
            training: the subject of each training pair.
            subjects: whose covariates; one value for each, in this order.

        Returns:
            `None` where no covariate is left.
        """
        found: dict[str, Sequence[float | str]] = {}
        for name, own in self.columns.items():
            known = [value for subject in training if (value := own.get(subject)) is not None]
            if len(set(known)) > 1:
                found[name] = _filled(known, [own.get(subject) for subject in subjects])
        return found or None


NO_COVARIATES = CovariateTable({})


def _filled(known: Sequence[float | str], values: Sequence[Value]) -> list[float | str]:
    """Fill in missing values, and labels that are not known."""
    numbers = [value for value in known if isinstance(value, float)]
    if len(numbers) == len(known):
        mean = math.fsum(numbers) / len(numbers)
        return [mean if value is None else value for value in values]
    counts = Counter(map(str, known))
    usual = min(counts, key=lambda label: (-counts[label], label))
    return [str(value) if value in counts else usual for value in values]
