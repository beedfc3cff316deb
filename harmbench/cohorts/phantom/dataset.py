"""The simulated cohort on disk: names, sidecars, descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from harmbench.cohorts.phantom.physics import Protocol
from harmbench.cohorts.phantom.subjects import PhantomSettings, Product, Subject
from harmbench.cohorts.whole_subjects import read_record, record
from harmbench.errors import CohortError
from harmbench.storage import read_json, write_json, write_text

__all__ = [
    "CHANGES",
    "DERIVED",
    "RESCAN",
    "SESSION_FOLDERS",
    "TITLE",
    "beside",
    "lesions_path",
    "mask_path",
    "scan_path",
    "session_label",
    "sidecar",
    "transform_path",
    "truth_path",
    "write_description",
    "write_participants",
]

# BIDS labels are alphanumeric, so 1.5T cannot stand in a folder's name.
SESSION_FOLDERS = {"1.5T": "ses-1p5T", "3T": "ses-3T"}

TITLE = "harmbench phantom (SIMULATED scans, no real people)"

RESCAN = "2"
"""Label of the second visit; the first has none."""

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
CHANGES = "changes.tsv"
"""Table of true changes in a data set of follow-up visits."""

DERIVED = "derivatives"
"""Folder of data sets inside a data set, which its readers leave out."""


def session_label(scanner: str, visit: str = "") -> str:
    """Label of a scan within its subject: the scanner, and the visit where it is not the first."""
    return f"{scanner}-{visit}" if visit else scanner


def scan_path(subject: str, session: str, product: Product, visit: str = "") -> Path:
    """Path of a T1-weighted scan below the dataset's root.

    Args:
        subject: label of the subject.
        session: the scanner, a key of `SESSION_FOLDERS`.
        product: of the cohort.
        visit: label of a later visit.
    """
    middle = "_desc-prepared" if product == "prepared" else ""
    return _anat(subject, session, visit) / f"{_stem(subject, session, visit)}{middle}_T1w.nii.gz"


def beside(image: Path) -> Path:
    """Path of the JSON sidecar of an image."""
    return image.with_name(image.name.removesuffix(".nii.gz") + ".json")


def mask_path(subject: str, session: str, visit: str = "") -> Path:
    """Path of a prepared session's brain mask below the dataset's root."""
    stem = _stem(subject, session, visit)
    return _anat(subject, session, visit) / f"{stem}_desc-brain_mask.nii.gz"


def lesions_path(subject: str, session: str, visit: str = "") -> Path:
    """Path of a session's mask of lesions below the dataset's root; patients have one."""
    stem = _stem(subject, session, visit)
    return _anat(subject, session, visit) / f"{stem}_label-lesion_mask.nii.gz"


def truth_path(subject: str, name: str, session: str | None = None, visit: str = "") -> Path:
    """Path of a truth image below the dataset's root.

    Args:
        subject: label of the subject.
        name: `dseg`, `lesion`, `brain`, `biasfield`, or the tissue (`CSF`, `GM`, `WM`) whose share
            of each voxel is meant.
        session: session on whose grid it lies; `None` where the sessions share one.
        visit: label of a later visit, where the anatomy differs.
    """
    truth = f"desc-truth{visit}"
    endings = {
        "dseg": f"{truth}_dseg",
        "lesion": f"label-lesion_{truth}_mask",
        "brain": f"label-brain_{truth}_mask",
        "biasfield": f"{truth}_biasfield",
    }
    ending = endings.get(name, f"label-{name}_{truth}_probseg")
    return _anat(subject, session) / f"{_stem(subject, session)}_{ending}.nii.gz"


def transform_path(subject: str, session: str) -> Path:
    """Path of a raw session's true rigid transforms below the dataset's root."""
    return _anat(subject, session) / f"{_stem(subject, session)}_desc-truth_transforms.json"


def _anat(subject: str, session: str | None, visit: str = "") -> Path:
    return Path(subject, *([_folder(session, visit)] if session else []), "anat")


def _stem(subject: str, session: str | None, visit: str = "") -> str:
    return f"{subject}_{_folder(session, visit)}" if session else subject


def _folder(session: str, visit: str) -> str:
    return f"{SESSION_FOLDERS[session]}{'v' if visit.isdecimal() else ''}{visit}"


def _whose(session: str, visit: str) -> dict[str, str]:
    """Fields that say scanner and visit, as `harmbench prepare` writes them; none of a first visit."""
    if not visit:
        return {}
    scanner = SESSION_FOLDERS[session].removeprefix("ses-")
    return {"SessionLabel": session_label(scanner, visit), "Scanner": scanner, "Visit": visit}


def sidecar(protocol: Protocol, product: Product, visit: str = "") -> dict[str, object]:
    """Describe a simulated scan with the fields that BIDS has for real ones (times in seconds)."""
    return {
        **_whose(protocol.session, visit),
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


def write_description(root: Path, settings: PhantomSettings, key: str, title: str = TITLE) -> None:
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
    values = settings.identity()
    write_json(
        path,
        {
            "Name": title,
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
    if path.name.startswith(".") or path.name in (_DESCRIPTION, _PARTICIPANTS, CHANGES, DERIVED):
        return True
    return record(root, path.name).is_file()


def write_participants(root: Path, subjects: Iterable[Subject], key: str) -> None:
    """Write `participants.tsv` with one row per subject that is on disk."""
    lines = ["\t".join(_COLUMNS)]
    for subject in subjects:
        found = read_record(root, subject.label)
        if found is not None and found.key == key:
            lines.append("\t".join(str(found.participant[column]) for column in _COLUMNS))
    text = "\n".join(lines) + "\n"
    path = root / _PARTICIPANTS
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
