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
from harmbench.cohorts.phantom.scanner import (
    LATER_VISITS,
    SCANNERS,
    contrast,
    draw_tissues,
    prepared_scan,
)
from harmbench.cohorts.phantom.subjects import PATIENTS, PhantomSettings, Subject
from harmbench.storage import write_json
from harmbench.volume import Volume, write

__all__ = ["participant_row", "tissue_volumes_ml", "write_subject", "write_truth", "write_visit"]

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
    return participant_row(subject, anatomy)


def _write_prepared(subject: Subject, settings: PhantomSettings, folder: Path) -> Anatomy:
    grid = field_of_view(settings.spacing_mm)
    anatomy = make_anatomy(subject, load_atlas(), grid)
    write_visit(subject, anatomy, grid, folder)
    if settings.rescans:
        write_visit(subject, anatomy, grid, folder, dataset.RESCAN)
    write_truth(subject, anatomy, grid, folder)
    return anatomy


def write_visit(
    subject: Subject,
    anatomy: Anatomy,
    grid: PhantomGrid,
    folder: Path,
    visit: str = "",
    number: int = 1,
) -> None:
    """Scan a subject on every scanner and write the prepared scans with their masks.

    Args:
        subject: who.
        anatomy: at that visit.
        grid: of the volumes.
        folder: of the dataset.
        visit: label of the visit; empty for the first.
        number: of a later visit, from 1: each has noise and a receive field of its own.
    """
    for order, (session, protocol) in enumerate(PROTOCOLS.items()):
        tissues = draw_tissues(subject.tissue_generator(), session)
        image = contrast(anatomy, protocol, tissues)
        if visit:
            generator, scanner = subject.visit_generator(order, number), LATER_VISITS[session]
        else:
            generator, scanner = subject.session_generator(order), SCANNERS[session]
        scan, mask = prepared_scan(generator, anatomy, image, scanner)
        whole_mask = _embed(mask, anatomy, grid)
        volume = Volume(_embed(scan, anatomy, grid), grid.affine)
        path = folder / dataset.scan_path(subject.label, session, "prepared", visit)
        write(rescale_volume(volume, "percentile", whole_mask), path)
        write_json(dataset.beside(path), dataset.sidecar(protocol, "prepared", visit))
        path = folder / dataset.mask_path(subject.label, session, visit)
        write(Volume(whole_mask, grid.affine, kind="label"), path)
        if subject.group == PATIENTS:
            path = folder / dataset.lesions_path(subject.label, session, visit)
            write(Volume(_embed(anatomy.lesions, anatomy, grid), grid.affine, kind="label"), path)


def write_truth(
    subject: Subject, anatomy: Anatomy, grid: PhantomGrid, folder: Path, visit: str = ""
) -> None:
    """Write labels, lesions and the share of each tissue at a visit."""
    brain = anatomy.brain
    for name, labels in (("dseg", anatomy.labels * brain), ("lesion", anatomy.lesions)):
        volume = Volume(_embed(labels, anatomy, grid), grid.affine, kind="label")
        write(volume, folder / dataset.truth_path(subject.label, name, visit=visit))
    for name, share in anatomy.tissues.items():
        volume = Volume(_embed(_stepped(share * brain, _SHARE_STEPS), anatomy, grid), grid.affine)
        write(volume, folder / dataset.truth_path(subject.label, name, visit=visit))


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
        if subject.group == PATIENTS:
            path = folder / dataset.lesions_path(subject.label, session)
            write(Volume(scan.lesions, here.affine, kind="label", space=space), path)
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


def participant_row(subject: Subject, anatomy: Anatomy) -> dict[str, str | float]:
    """Return a subject's row of `participants.tsv`."""
    return {
        "participant_id": subject.label,
        "group": subject.group,
        "age": subject.age,
        "sex": subject.sex,
        "lesion_load_ml": round(_volume_ml(anatomy, anatomy.fractions["LESION"]), 2),
        "brain_ml": round(_volume_ml(anatomy, anatomy.brain), 1),
        **{f"{n.lower()}_ml": round(v, 1) for n, v in tissue_volumes_ml(anatomy).items()},
    }


def tissue_volumes_ml(anatomy: Anatomy) -> dict[str, float]:
    """Return the true volumes of CSF, GM and WM in the brain: sums of the voxels' shares, in ml."""
    return {name: _volume_ml(anatomy, share) for name, share in anatomy.tissues.items()}


def _volume_ml(anatomy: Anatomy, share: Array) -> float:
    total = float((share * anatomy.brain).sum(dtype=np.float64))
    return total * (anatomy.grid.spacing_mm**3 / 1000)


def _stepped(values: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    return np.asarray(np.round(values * np.float32(steps)) / steps, dtype=np.float32)


def _embed(values: Array, anatomy: Anatomy, grid: PhantomGrid) -> Array:
    """Put the values of the anatomy's box into a volume of zeros on the whole grid."""
    whole = np.zeros(grid.shape, dtype=values.dtype)
    place = tuple(slice(a, a + n) for a, n in zip(anatomy.offset, anatomy.grid.shape, strict=True))
    whole[place] = values
    return whole
