"""Which volume correction is the best one, judged on training subjects alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harmbench.errors import MethodError
from harmbench.study.covariates import NO_COVARIATES, CovariateTable
from harmbench.volume_correction import VolumeCorrection, Volumes, checked_pairs

__all__ = ["INNER_FOLDS", "cross_corrected", "inner_errors"]

INNER_FOLDS = 10
"""Folds of the inner cross-validation; up to so many training subjects, each is left out alone."""


def cross_corrected(
    make: Callable[[], VolumeCorrection],
    source: Volumes,
    target: Volumes,
    subjects: Sequence[str] | None = None,
    folds: int = INNER_FOLDS,
    covariates: CovariateTable = NO_COVARIATES,
) -> Volumes:
    """Correct every subject by a fit that did not see it.

    Subject i, in the order of their first rows, belongs to the fold i modulo `folds`.

    Args:
        make: returns a new correction that is not fitted.
        source, target: volumes of pairs, shape (pairs, tissues), mm3.
        subjects: whose pairs they are; by default each is of another subject.
        folds: number of folds; at most one for each subject.
        covariates: of the subjects.

    Returns:
        Corrected volumes, shape (pairs, tissues), mm3; NaN where a fit failed, as with too few
        subjects.

    Raises:
        MethodError: the volumes are not usable; see `checked_pairs`.
    """
    one, two = checked_pairs(source, target)
    names = [*map(str, range(len(one)))] if subjects is None else list(subjects)
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    place = np.array([number[name] for name in names]) % min(folds, len(number))
    corrected = np.full_like(one, np.nan)
    for fold in np.unique(place):
        out = place == fold
        learned = [name for name, left in zip(names, out, strict=True) if not left]
        others = [name for name, left in zip(names, out, strict=True) if left]
        correction = make()
        known = covariates.of(learned, learned)
        if len(set(learned)) < correction.subjects_needed(known):
            continue
        try:
            correction.fit(one[~out], two[~out], known)
            corrected[out] = correction.correct(one[out], covariates.of(learned, others))
        except MethodError:
            # Without these subjects the others cannot be fitted: the correction cannot be judged.
            continue
    return corrected


def inner_errors(
    make: Callable[[], VolumeCorrection],
    source: Volumes,
    target: Volumes,
    subjects: Sequence[str] | None = None,
    folds: int = INNER_FOLDS,
    covariates: CovariateTable = NO_COVARIATES,
) -> Volumes:
    """Cross-validate a volume correction within the training subjects; see `cross_corrected`.

    Returns:
        Absolute errors in mm3, shape (pairs, tissues); NaN where there is no corrected volume.
    """
    corrected = cross_corrected(make, source, target, subjects, folds, covariates)
    return np.asarray(np.abs(corrected - np.asarray(target, dtype=np.float64)))
