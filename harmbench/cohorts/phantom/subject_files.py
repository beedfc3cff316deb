"""One subject from its seed to its files: anatomy, both sessions, truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Array
from harmbench.cohorts.base import rescale_volume
from harmbench.cohorts.phantom import dataset
from harmbench.cohorts.phantom.anatomy import Anatomy, field_of_view, make_anatomy
from harmbench.cohorts.phantom.atlas import load_atlas
from harmbench.cohorts.phantom.fields import PhantomGrid
from harmbench.cohorts.phantom.physics import PROTOCOLS
from harmbench.cohorts.phantom.raw import (
    HEAD_MARGIN_MM,
    Placement,
    head,
    head_grid,
    place,
    raw_scan,
)
from harmbench.cohorts.phantom.scanner import SCANNERS, contrast, draw_tissues, prepared_scan
from harmbench.cohorts.phantom.subjects import PhantomSettings, Subject
from harmbench.storage import write_json
from harmbench.volume import Volume, write

__all__ = ["write_subject"]

# Truth is rounded to steps: further digits have no meaning and compress badly.
_SHARE_STEPS = 250
_BIAS_STEPS = 1000


def write_subject(
    subject: Subject, settings: PhantomSettings, folder: Path
) -> dict[str, str | float]:
    """Make a subject and write its files below `folder`.

    Returns:
        The subject's row of `participants.tsv`.
    """
    make = _write_prepared if settings.product == "prepared" else _write_raw
    anatomy = make(subject, settings, folder)
    return _row(subject, anatomy)


def _write_prepared(subject: Subject, settings: PhantomSettings, folder: Path) -> Anatomy:
    grid = field_of_view(settings.spacing_mm)
    anatomy = make_anatomy(subject, load_atlas(), grid)
    for number, (session, protocol) in enumerate(PROTOCOLS.items()):
        tissues = draw_tissues(subject.tissue_generator(), session)
        image = contrast(anatomy, protocol, tissues)
        generator = subject.session_generator(number)
        scan, mask = prepared_scan(generator, anatomy, image, SCANNERS[session])
        whole_mask = _embed(mask, anatomy, grid)
        volume = Volume(_embed(scan, anatomy, grid), grid.affine)
        path = folder / dataset.scan_path(subject.label, session, "prepared")
        write(rescale_volume(volume, "percentile", whole_mask), path)
        write_json(dataset.beside(path), dataset.sidecar(protocol, settings.product))
        path = folder / dataset.mask_path(subject.label, session)
        write(Volume(whole_mask, grid.affine, kind="label"), path)
    brain = anatomy.brain
    lesion = (anatomy.fractions["LESION"] > 0.5) & brain
    for name, labels in (("dseg", anatomy.labels * brain), ("lesion", lesion)):
        volume = Volume(_embed(labels, anatomy, grid), grid.affine, kind="label")
        write(volume, folder / dataset.truth_path(subject.label, name))
    for name, share in anatomy.tissues.items():
        volume = Volume(_embed(_stepped(share * brain, _SHARE_STEPS), anatomy, grid), grid.affine)
        write(volume, folder / dataset.truth_path(subject.label, name))
    return anatomy


def _write_raw(subject: Subject, settings: PhantomSettings, folder: Path) -> Anatomy:
    grid = head_grid(settings.spacing_mm)
    anatomy = make_anatomy(subject, load_atlas(), grid, HEAD_MARGIN_MM)
    generators = [subject.session_generator(number) for number in range(len(PROTOCOLS))]
    placements = {
        session: place(generator, protocol, settings.spacing_mm)
        for generator, (session, protocol) in zip(generators, PROTOCOLS.items(), strict=True)
    }
    for generator, (session, protocol) in zip(generators, PROTOCOLS.items(), strict=True):
        tissues = draw_tissues(subject.tissue_generator(), session)
        image = head(subject.head_generator(), anatomy, contrast(anatomy, protocol, tissues))
        here = placements[session]
        scan = raw_scan(generator, anatomy, image, here, protocol, SCANNERS[session])
        path = folder / dataset.scan_path(subject.label, session, "raw")
        space = here.file_space
        write(Volume(scan.image, here.affine, space=space), path)
        write_json(dataset.beside(path), dataset.sidecar(protocol, settings.product))
        for name, labels in (("brain", scan.brain), ("dseg", scan.labels)):
            path = folder / dataset.truth_path(subject.label, name, session)
            write(Volume(labels, here.affine, kind="label", space=space), path)
        path = folder / dataset.truth_path(subject.label, "biasfield", session)
        write(Volume(_stepped(scan.bias, _BIAS_STEPS), here.affine, space=space), path)
        path = folder / dataset.transform_path(subject.label, session)
        write_json(path, _transforms(session, placements))
    return anatomy


def _transforms(session: str, placements: dict[str, Placement]) -> dict[str, object]:
    """Rigid truth of a session: matrices (4, 4) between spaces in RAS millimetres."""
    here = placements[session]
    return {
        "SubjectToSession": here.pose.tolist(),
        "SessionToOther": {
            other: (there.pose @ np.linalg.inv(here.pose)).tolist()
            for other, there in placements.items()
            if other != session
        },
        "GradientDistortionAt100mm": 0.0
        if PROTOCOLS[session].distortion_corrected
        else SCANNERS[session].distortion_mm,
    }


def _row(subject: Subject, anatomy: Anatomy) -> dict[str, str | float]:
    millilitres = anatomy.grid.spacing_mm**3 / 1000
    brain = anatomy.brain

    def volume(share: Array) -> float:
        return float((share * brain).sum(dtype=np.float64)) * millilitres

    return {
        "participant_id": subject.label,
        "group": subject.group,
        "age": subject.age,
        "sex": subject.sex,
        "lesion_load_ml": round(volume(anatomy.fractions["LESION"]), 2),
        "brain_ml": round(volume(brain), 1),
        **{f"{name.lower()}_ml": round(volume(s), 1) for name, s in anatomy.tissues.items()},
    }


def _stepped(values: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    return np.asarray(np.round(values * np.float32(steps)) / steps, dtype=np.float32)


def _embed(values: Array, anatomy: Anatomy, grid: PhantomGrid) -> Array:
    """Put the values of the anatomy's box into a volume of zeros on the whole grid."""
    whole = np.zeros(grid.shape, dtype=values.dtype)
    place = tuple(slice(a, a + n) for a, n in zip(anatomy.offset, anatomy.grid.shape, strict=True))
    whole[place] = values
    return whole
