"""The files that `apply` writes, and which of those that are there it may replace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harmbench.cohorts.base import Scan
from harmbench.errors import VolumeError
from harmbench.files.sidecars import own_fields
from harmbench.storage import file_key
from harmbench.trained import ModelRecord

__all__ = ["check_free", "outputs"]


def outputs(out: Path, name: str) -> tuple[Path, Path, Path]:
    """The harmonized volume, its sidecar, and the spread."""
    stem = out / f"{name}_harmonized"
    sd = out / f"{name}_desc-sd.nii.gz"
    return stem.with_name(f"{stem.name}.nii.gz"), stem.with_name(f"{stem.name}.json"), sd


def check_free(record: ModelRecord, jobs: Sequence[tuple[str, Scan]], out: Path) -> None:
    """Refuse to replace anything but an earlier result of the same model on the same scan.

    Args:
        record: of the model that is applied.
        jobs: name of the outputs, and scan.
        out: where the outputs go.

    Raises:
        VolumeError: lists every output that is there already and is something else.
    """
    problems = []
    for name, scan in jobs:
        there = [path for path in outputs(out, name) if path.exists() or path.is_symlink()]
        # A scan that is missing gets its message where it is read.
        if not there or not scan.path.is_file():
            continue
        reason = _why_foreign(record, scan, outputs(out, name)[1])
        if reason:
            problems.append(f"{there[0]}: {reason}")
    if problems:
        lines = "\n  - ".join(problems)
        raise VolumeError(
            "outputs would replace other results, nothing was written; choose another --out for "
            f"each, or move these away:\n  - {lines}"
        )


def _why_foreign(record: ModelRecord, scan: Scan, sidecar: Path) -> str | None:
    fields = own_fields(sidecar)
    sources, model = fields.get("SourcesSHA256"), fields.get("Model")
    if not isinstance(sources, list) or not isinstance(model, dict):
        return f"is there, and {sidecar.name} does not say what it was made from"
    if sources != [file_key(scan.path)]:
        named = fields.get("Sources")
        made_from = ", ".join(map(str, named)) if isinstance(named, list) else ""
        return f"was made from another scan ({made_from or 'another file'}), not from {scan.path}"
    if model.get("SHA256") != record.key:
        return f"was made by another model ({model.get('Name', 'unknown')}), not by {record.name}"
    return None
