"""The prepared data set on disk: a BIDS derivative."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from harmbench import __version__
from harmbench.cohorts.base import Cohort, Scan
from harmbench.errors import CohortError, PreparationError
from harmbench.external.antspy import SEED
from harmbench.files.names import image_name, same_on_disk
from harmbench.files.sidecars import sidecar_fields
from harmbench.notes import Note
from harmbench.preparation.align import PreparedScan
from harmbench.preparation.itk import write_linear
from harmbench.preparation.scan import CleanScan
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import SkullStripper, brain_volume_ml
from harmbench.storage import read_json, write_json
from harmbench.volume import Volume, write

__all__ = [
    "DESCRIPTION",
    "describe",
    "labels",
    "raw_spacing_mm",
    "scan_stem",
    "steps",
    "write_session",
]

DESCRIPTION = "dataset_description.json"
_OTHER_CONTRASTS = ("T2w", "FLAIR", "PDw", "T2starw")


def labels(names: Sequence[str], kind: str) -> dict[str, str]:
    """Turn names into BIDS labels, which are alphanumeric: `1.5T` becomes `1p5T`.

    Args:
        names: subjects or sessions; a `sub-` or `ses-` before a name is not part of it.
        kind: `subject` or `session`, for the message.

    Raises:
        CohortError: a name has no letter or digit, or two names become one label, or two that are the
            same to a disk that ignores case.
    """
    found: dict[str, str] = {}
    for name in names:
        bare = re.sub(r"^(sub|ses)-", "", name).replace(".", "p")
        label = re.sub(r"[^0-9A-Za-z]", "", bare)
        twin = next(
            (o for o, own in found.items() if same_on_disk(own) == same_on_disk(label)), None
        )
        if not label or twin is not None:
            why = f"it becomes the same as {twin}" if twin else "it has no letter or digit"
            raise CohortError(f"{kind} '{name}' cannot be a BIDS label: {why}; rename it")
        found[name] = label
    return found


def scan_stem(subject: str, session: str) -> Path:
    """Path below the root, without ending, of a session's files."""
    return Path(f"sub-{subject}", f"ses-{session}", "anat", f"sub-{subject}_ses-{session}")


def raw_spacing_mm(prepared: Path) -> tuple[float, float, float] | None:
    """Voxel size, along RAS axes, of the raw scan that a scan was prepared from.

    Args:
        prepared: a `*_desc-prepared_T1w.nii.gz`; its sidecar is read.

    Returns:
        `None` where the sidecar does not have it.
    """
    steps_done = sidecar_fields(prepared).get("Steps")
    for step in steps_done if isinstance(steps_done, list) else ():
        if isinstance(step, dict) and "raw_spacing_mm" in step:
            x, y, z = step["raw_spacing_mm"]
            return float(x), float(y), float(z)
    return None


def describe(
    root: Path, cohort: Cohort, settings: PrepareSettings, reference: str, *, overwrite: bool
) -> None:
    """Write `dataset_description.json` unless it is already there.

    Raises:
        PreparationError: the folder holds something else, or scans prepared in another way.
    """
    wanted = {"settings": settings.model_dump(mode="json"), "reference": reference}
    path = root / DESCRIPTION
    try:
        found = read_json(path)
    except ValueError:
        found = {}
    if found is None and root.is_dir() and any(not p.name.startswith(".") for p in root.iterdir()):
        raise PreparationError(f"{root}: neither empty nor a prepared data set; choose another")
    before = found.get("Preparation") if isinstance(found, dict) else None
    if found is not None and before is None:
        raise PreparationError(f"{root}: holds another data set; choose another folder")
    plain = json.loads(json.dumps(wanted, default=str))
    if before is not None and before != plain and not overwrite:
        changed = ", ".join(_differences(before, plain))
        raise PreparationError(
            f"{root}: holds scans prepared with other settings ({changed}); choose another folder, "
            "or prepare them anew with --overwrite"
        )
    write_json(
        path,
        {
            "Name": f"{cohort.title}, prepared",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "HowToAcknowledge": cohort.citation,
            "GeneratedBy": [{"Name": "harmbench", "Version": __version__}],
            "Preparation": plain,
        },
    )


def _differences(
    before: Mapping[str, object], after: Mapping[str, object], where: str = ""
) -> list[str]:
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, f"{where}{name}.")
        elif old != new:
            found.append(f"{where}{name} was {old}, is {new}".removeprefix("settings."))
    return found


def steps(
    clean: CleanScan,
    prepared: PreparedScan,
    stripper: SkullStripper,
    settings: PrepareSettings,
    reference: str,
) -> list[dict[str, object]]:
    """Describe each step that was applied to a scan, in order, with parameters and versions."""
    found: list[dict[str, object]] = [
        {
            "name": "reorient",
            "to": settings.orientation,
            "raw_spacing_mm": [round(mm, 6) for mm in clean.raw.spacing_mm],
        },
        *_cleaning_steps(clean, stripper, settings),
    ]
    if prepared.alignment is not None:
        found.append(
            {
                "name": "register",
                "transform": settings.registration.transform,
                "reference": reference,
                "linear": np.round(prepared.alignment.linear, 9).tolist(),
                "jacobian": [round(v, 4) for v in prepared.alignment.jacobian],
                "seed": SEED,
                "software": _ants(),
            }
        )
    found.append(
        {
            "name": "resample",
            "interpolation": settings.interpolation,
            "spacing_mm": [round(mm, 6) for mm in prepared.volume.spacing_mm],
            "space": settings.registration.space,
            "smoothing": _smoothing(settings, reference),
            "software": _ants(),
        }
    )
    limits = prepared.limits
    found.append(
        {
            "name": "normalize",
            **settings.normalize.model_dump(mode="json"),
            "limits": None if limits is None else [float(f"{v:.7g}") for v in limits],
        }
    )
    found.append({"name": "crop", "shape": list(prepared.volume.shape)})
    return found


def _cleaning_steps(
    clean: CleanScan, stripper: SkullStripper, settings: PrepareSettings
) -> list[dict[str, object]]:
    """Describe skull stripping, the shift of the intensities' zero, and the bias field."""
    inside = clean.bias[clean.brain]
    return [
        {
            "name": "strip",
            "method": stripper.name,
            "software": stripper.version,
            "mask_ml": round(brain_volume_ml(clean.brain, clean.raw), 1),
        },
        *([{"name": "subtract", "value": float(f"{clean.zero:.7g}")}] if clean.zero else ()),
        {
            "name": "bias",
            **settings.bias.model_dump(mode="json"),
            "software": _ants(),
            "field": [round(float(v), 4) for v in np.percentile(inside, (1, 99))],
        },
    ]


def _ants() -> str:
    return f"antspyx {version('antspyx')}"


def _smoothing(settings: PrepareSettings, reference: str) -> str:
    if settings.registration.space == "halfway":
        return "both sessions are interpolated once, each through half of the linear transform"
    return (
        f"every session is interpolated once; session {reference} on its own axes only, the others "
        "through their registration too, so that they may be smoother"
    )


def write_session(
    folder: Path,
    stem: Path,
    prepared: PreparedScan,
    done: Sequence[Mapping[str, object]],
    scan: Scan,
    session: str,
    notes: Sequence[Note] = (),
) -> None:
    """Write a session's volume, mask, transforms and sidecars below `folder`.

    The sidecar keeps `notes` on the raw scan, so that runs on the volume show them.
    """
    base = folder / stem
    name = f"{base.name}_desc-prepared_{_suffix(scan.path)}"
    image = write(prepared.volume, base.with_name(f"{name}.nii.gz"))
    kept = sidecar_fields(scan.path)
    own = {
        "SessionLabel": session,
        **({"Scanner": scan.scanner} if scan.scanner != session else {}),
        **({"Visit": scan.visit} if scan.visit else {}),
        **({"ScanTime": scan.when} if scan.when else {}),
        "SkullStripped": True,
        "Sources": [scan.path.name, *([scan.mask.name] if scan.mask else [])],
        "SpatialReference": "the common grid of this subject's sessions",
        "Steps": list(done),
        "Notes": [f"{note.kind}: {note.text}" for note in notes],
    }
    write_json(image.with_name(f"{name}.json"), {**kept, **own})
    mask = Volume(
        prepared.brain.astype(np.uint8),
        prepared.volume.affine,
        kind="label",
        space=prepared.volume.space,
    )
    write(mask, base.with_name(f"{base.name}_desc-brain_mask.nii.gz"))
    note = {"Type": "Brain", "Sources": [image.name]}
    write_json(base.with_name(f"{base.name}_desc-brain_mask.json"), note)
    _write_transforms(base, prepared)


def _suffix(raw: Path) -> str:
    """Return the suffix of a prepared scan: the raw one's where its contrast is not T1's."""
    # The last part of the name, or the one before it: `T2w_defaced`.
    parts = image_name(raw).split("_")[:-3:-1]
    return next((part for part in parts if part in _OTHER_CONTRASTS), "T1w")


def _write_transforms(base: Path, prepared: PreparedScan) -> None:
    """Write each transform of the chain in ANTs' format, and a JSON file with their order."""
    name = f"{base.name}_from-scan_to-prepared_mode-image"
    files: list[dict[str, object]] = []
    for place, link in enumerate(prepared.chain.links, start=1):
        if isinstance(link, Path):
            file = base.with_name(f"{name}_desc-step{place}_xfm.nii.gz")
            link.replace(file)
            files.append({"file": file.name, "kind": "displacement field"})
        else:
            file = write_linear(link, base.with_name(f"{name}_desc-step{place}_xfm.mat"))
            files.append({"file": file.name, "kind": "linear", "matrix_ras_mm": link.tolist()})
    write_json(
        base.with_name(f"{name}_xfm.json"),
        {
            "Transforms": files,
            "Use": "antsApplyTransforms -i SCAN -r PREPARED, then -t for each file in this order; an "
            "empty list: the scan's header is enough",
        },
    )
