"""Models on disk: loading one from a cell or an exported folder, and exporting one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from harmbench.discovery import available_methods, load_method, saved_settings
from harmbench.errors import ConfigError, HarmbenchError, MethodError, RunError
from harmbench.guard import method_call
from harmbench.method import Method
from harmbench.plugins import Reference
from harmbench.runner.cell_folder import CellFolder
from harmbench.settings import validated
from harmbench.storage import read_json, whole_folder, write_json, write_text
from harmbench.task import NoProgress, Progress, Task
from harmbench.trained.card import model_card
from harmbench.trained.describe import describe_cell
from harmbench.trained.record import ModelRecord, check_files

__all__ = ["CARD", "MODEL", "RECORD", "Model", "export_model", "load_model", "read_model_record"]

MODEL = "model"
"""Folder of the model's files in an exported folder."""
RECORD = "model.json"
"""The record in an exported folder."""
CARD = "README.md"
"""The model card in an exported folder."""


@dataclass(frozen=True, slots=True)
class Model:
    """A trained method, ready to harmonize.

    Attributes:
        record: what is known of it.
        method: the fitted method.
        task: direction, fold, seed of training, device and progress for `method.harmonize`.
    """

    record: ModelRecord
    method: Method
    task: Task


def load_model(
    folder: Path,
    device: str = "cpu",
    progress: Progress | None = None,
    *,
    method: str | None = None,
) -> Model:
    """Load a trained model from a cell's folder in its run, or from an exported folder.

    Both give the same record. Nothing is unpickled: a model consists of safetensors and JSON files,
    and an exported one whose files are not those of its record is refused.

    Args:
        folder: `OUT/cells/METHOD/DIRECTION/fold-F/seed-S`, or what `export_model` wrote.
        device: torch device name.
        progress: told about long work.
        method: where to find the method, `FILE.py:CLASS`, if it is not an installed one. No folder
            says itself which code to run.

    Raises:
        RunError: neither of the two, damaged or changed files, files that could hold code, or a
            method that is not installed and was not given.
        MethodError: the method is not installed, or does not understand its files.
    """
    progress = progress or NoProgress()
    if (folder / RECORD).is_file():
        record, files = read_model_record(folder), folder / MODEL
    else:
        (record, _), files = describe_cell(folder, progress), CellFolder(folder).model
    kind = load_method(_known_method(folder, record, method))
    settings = saved_settings(kind, record.settings, record.label)
    task = Task(record.direction, record.fold, record.seed, device, None, progress)
    return Model(record, _loaded(kind, files, settings), task)


def _known_method(folder: Path, record: ModelRecord, method: str | None) -> str:
    """Return what code to run: an installed method, or what the caller names; never a model's file."""
    if method is not None:
        return method
    if record.uses not in available_methods():
        in_file = Reference.parse(record.uses).file is not None
        what = "a file that does" if in_file else "a method that is not installed and does"
        raise RunError(
            f"{folder}: the model is one of {record.uses}, {what} not come with it: name yours with "
            "--method FILE.py:CLASS. A model's folder never says which code to run"
        )
    return record.uses


def _loaded(kind: type[Method], files: Path, settings: BaseModel) -> Method:
    try:
        with method_call():
            return kind.load(files, settings)
    except HarmbenchError:
        raise
    except Exception as error:
        raise MethodError(f"{files}: {kind.__name__} cannot read its files ({error})") from error


def read_model_record(folder: Path) -> ModelRecord:
    """Read the record of an exported folder, and check the model's files against it.

    Raises:
        RunError: the record is not readable, or files are missing, added, changed or unsafe.
    """
    path = folder / RECORD
    try:
        values = read_json(path)
    except ValueError as error:
        raise RunError(f"{path}: not JSON ({error})") from error
    if not isinstance(values, dict) or "key" not in values:
        raise RunError(f"{path}: not the record of an exported model")
    key = values.pop("key")
    try:
        record = validated(ModelRecord, values)
    except ConfigError as error:
        raise RunError(f"{path}: not the record of an exported model:\n{error}") from error
    found = check_files(folder / MODEL) if (folder / MODEL).is_dir() else {}
    changed = sorted(
        name for name in {*found, *record.files} if found.get(name) != record.files.get(name)
    )
    if changed:
        raise RunError(
            f"{folder}: not the model that was exported, these files are changed, added or missing: "
            f"{', '.join(f'{MODEL}/{name}' for name in changed)}; export it again"
        )
    if record.key != key:
        raise RunError(f"{path}: changed since the model was exported; export it again")
    if _names_weights(record.preparation):
        raise RunError(
            f"{path}: its preparation names a file of weights (strip.hd_bet_weights), which could hold "
            "code; a model takes them from where HD-BET keeps them. Export it again"
        )
    return record


def _names_weights(preparation: Mapping[str, object] | None) -> bool:
    strip = (preparation or {}).get("strip")
    return isinstance(strip, Mapping) and strip.get("hd_bet_weights") is not None


def export_model(cell: Path, out: Path, progress: Progress | None = None) -> Path:
    """Write the model of a finished cell into a folder that stands alone.

    ```
    OUT/
      model/       what the method saved: safetensors and JSON
      model.json   the record, with the SHA-256 of each file
      README.md    the model card
    ```

    The folder is there complete or not at all.

    Args:
        cell: such as `OUT/cells/dm/3T-to-1.5T/fold-0/seed-0`, in its run folder.
        out: a folder that is new or empty.
        progress: told about the reading of the training scans.

    Raises:
        RunError: no cell with a fitted model, its training scans are gone, a file of the model is
            neither safetensors nor JSON, or `out` is taken.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out}: is there already; choose another --out, or remove it")
    if (cell / RECORD).is_file():
        raise RunError(f"{cell}: is an exported model already; copy the folder")
    record, _ = describe_cell(cell, progress or NoProgress())
    if record.training is None:
        raise RunError(
            f"{cell}: the run's training scans cannot be read any more, and a model without a "
            "description of them is not exported"
        )
    with whole_folder(out) as fresh:
        (fresh / MODEL).mkdir()
        for name in record.files:
            target = fresh / MODEL / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CellFolder(cell).model / name, target)
        write_json(fresh / RECORD, {**record.model_dump(mode="json"), "key": record.key})
        write_text(fresh / CARD, model_card(record))
        read_model_record(fresh)
    return out
