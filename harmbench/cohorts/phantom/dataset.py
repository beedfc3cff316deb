"""The simulated cohort on disk: names, sidecars, checksums; subjects appear whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harmbench.cohorts.phantom.physics import Protocol
from harmbench.cohorts.phantom.subjects import PhantomSettings, Product, Subject
from harmbench.errors import CohortError
from harmbench.storage import file_key, read_json, write_json, write_text

__all__ = [
    "SESSION_FOLDERS",
    "beside",
    "discard",
    "intact",
    "mask_path",
    "publish",
    "record",
    "scan_path",
    "sidecar",
    "sweep",
    "transform_path",
    "truth_path",
    "write_description",
    "write_participants",
]

# BIDS labels are alphanumeric, so 1.5T cannot stand in a folder's name.
SESSION_FOLDERS = {"1.5T": "ses-1p5T", "3T": "ses-3T"}

_COLUMNS = (
    "participant_id",
    "group",
    "age",
    "sex",
    "lesion_load_ml",
    "brain_ml",
    "csf_ml",
    "gm_ml",
    "wm_ml",
)
_DESCRIPTION = "dataset_description.json"
_PARTICIPANTS = "participants.tsv"
_STALE_SECONDS = 24 * 3600


def scan_path(subject: str, session: str, product: Product) -> Path:
    """Path of a T1-weighted scan below the dataset's root."""
    middle = "_desc-prepared" if product == "prepared" else ""
    return _anat(subject, session) / f"{_stem(subject, session)}{middle}_T1w.nii.gz"


def beside(image: Path) -> Path:
    """Path of the JSON sidecar of an image."""
    return image.with_name(image.name.removesuffix(".nii.gz") + ".json")


def mask_path(subject: str, session: str) -> Path:
    """Path of a prepared session's brain mask below the dataset's root."""
    return _anat(subject, session) / f"{_stem(subject, session)}_desc-brain_mask.nii.gz"


def truth_path(subject: str, name: str, session: str | None = None) -> Path:
    """Path of a truth image below the dataset's root.

    Args:
        subject: label of the subject.
        name: `dseg`, `lesion`, `brain`, `biasfield`, or the tissue (`CSF`, `GM`, `WM`) whose share
            of each voxel is meant.
        session: session on whose grid it lies; `None` where the sessions share one.
    """
    endings = {
        "dseg": "desc-truth_dseg",
        "lesion": "label-lesion_desc-truth_mask",
        "brain": "label-brain_desc-truth_mask",
        "biasfield": "desc-truth_biasfield",
    }
    ending = endings.get(name, f"label-{name}_desc-truth_probseg")
    return _anat(subject, session) / f"{_stem(subject, session)}_{ending}.nii.gz"


def transform_path(subject: str, session: str) -> Path:
    """Path of a raw session's true rigid transforms below the dataset's root."""
    return _anat(subject, session) / f"{_stem(subject, session)}_desc-truth_transforms.json"


def _anat(subject: str, session: str | None) -> Path:
    return Path(subject, *([SESSION_FOLDERS[session]] if session else []), "anat")


def _stem(subject: str, session: str | None) -> str:
    return f"{subject}_{SESSION_FOLDERS[session]}" if session else subject


def sidecar(protocol: Protocol, product: Product) -> dict[str, Any]:
    """Describe a simulated scan with the fields that BIDS has for real ones (times in seconds)."""
    return {
        "Simulated": True,
        "Manufacturer": "none (simulated)",
        "ManufacturersModelName": f"simulation of {protocol.model}",
        "MagneticFieldStrength": protocol.field_t,
        "MRAcquisitionType": "3D",
        "PulseSequenceType": "MPRAGE",
        "RepetitionTime": protocol.tr_ms / 1000,
        "InversionTime": protocol.ti_ms / 1000,
        "EchoTime": protocol.te_ms / 1000,
        "FlipAngle": protocol.flip_deg,
        "PixelBandwidth": protocol.bandwidth_hz,
        "NonlinearGradientCorrection": protocol.distortion_corrected,
        "SkullStripped": product == "prepared",
    }


def write_description(root: Path, settings: PhantomSettings, key: str) -> None:
    """Write `dataset_description.json`, where it is not there.

    Raises:
        CohortError: the folder holds something else, which is left as it is.
    """
    path = root / _DESCRIPTION
    # Listed before the description is read: what another process adds meanwhile comes with one.
    foreign = [] if not root.is_dir() else [p for p in root.iterdir() if not _is_own(root, p)]
    try:
        found = read_json(path)
    except ValueError:
        found = None
    if isinstance(found, dict) and found.get("Key") == key:
        return
    if found is not None:
        name = found.get("Name", "unnamed") if isinstance(found, dict) else "unknown"
        raise CohortError(
            f"{root}: holds other data ({name}), or a cohort made with other settings or another "
            "version; a simulated cohort is made in an empty folder or in its own"
        )
    if foreign:
        names = ", ".join(sorted(p.name for p in foreign)[:5])
        raise CohortError(f"{root}: not empty ({names}); choose another folder")
    values = settings.model_dump(exclude={"subjects"})
    write_json(
        path,
        {
            "Name": "harmbench phantom (SIMULATED scans, no real people)",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative" if settings.product == "prepared" else "raw",
            "License": "CC0",
            "GeneratedBy": [
                {"Name": "harmbench", "Version": version("harmbench"), "Description": str(values)}
            ],
            "Key": key,
        },
    )


def _is_own(root: Path, path: Path) -> bool:
    if path.name.startswith(".") or path.name in (_DESCRIPTION, _PARTICIPANTS):
        return True
    return record(root, path.name).is_file()


def record(root: Path, subject: str) -> Path:
    """Path of the list of a subject's files with their SHA-256."""
    return root / subject / f"{subject}_record.json"


def intact(root: Path, subject: str, key: str) -> bool:
    """Whether all files of a subject are there, with the bytes that they were written with.

    Args:
        root: the dataset's folder.
        subject: label of the subject.
        key: what the subject must have been made with.
    """
    found = _read_record(root, subject)
    if found is None or found.get("key") != key:
        return False
    return all(
        (root / name).is_file() and file_key(root / name) == key
        for name, key in found["files"].items()
    )


def _read_record(root: Path, subject: str) -> dict[str, Any] | None:
    """Read a subject's record; `None` where it is missing or damaged."""
    try:
        found = read_json(record(root, subject))
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    parts = found.get("files"), found.get("participant")
    return found if all(isinstance(part, dict) and part for part in parts) else None


def publish(made: Path, root: Path, subject: Subject, row: Mapping[str, Any], key: str) -> None:
    """Move a finished subject from the folder `made` into the dataset, in one rename.

    Another process may have made the same subject meanwhile; the one that is there stays, unless it
    is damaged.
    """
    source = made / subject.label
    files = {
        str(path.relative_to(made)): file_key(path)
        for path in sorted(source.rglob("*"))
        if path.is_file()
    }
    write_json(record(made, subject.label), {"participant": dict(row), "files": files, "key": key})
    target = root / subject.label
    for _ in range(10):
        try:
            source.rename(target)
        except OSError:
            if intact(root, subject.label, key):
                return
            discard(target)
        else:
            return
    raise CohortError(f"{target}: cannot be replaced; another process keeps writing there")


def discard(folder: Path) -> None:
    """Take a folder out of the dataset in one rename, then delete it."""
    grave = Path(tempfile.mkdtemp(prefix=".old-", dir=folder.parent))
    try:
        folder.rename(grave / folder.name)
    except FileNotFoundError:
        pass
    finally:
        shutil.rmtree(grave, ignore_errors=True)


def sweep(root: Path) -> None:
    """Delete what killed processes left behind a day or more ago."""
    for pattern in (".new-*", ".old-*"):
        for path in root.glob(pattern):
            try:
                stale = time.time() - path.stat().st_mtime > _STALE_SECONDS
            except FileNotFoundError:
                continue
            if stale:
                shutil.rmtree(path, ignore_errors=True)


def write_participants(root: Path, subjects: Iterable[Subject], key: str) -> None:
    """Write `participants.tsv` with one row per subject that is on disk."""
    lines = ["\t".join(_COLUMNS)]
    for subject in subjects:
        found = _read_record(root, subject.label)
        if found is not None and found.get("key") == key:
            lines.append("\t".join(str(found["participant"][column]) for column in _COLUMNS))
    text = "\n".join(lines) + "\n"
    path = root / _PARTICIPANTS
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
