"""Labels on disk: computed once and found by their key; or the reason why a volume has none."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import harmbench.segmentation
from harmbench.code_keys import own_code, stage_code
from harmbench.errors import HarmbenchError, VolumeError
from harmbench.segmentation import BatchSegmenter, Segmenter
from harmbench.segmentation.checked import contrast_of, segment_batch, try_segment
from harmbench.segmentation.result import Segmented, Unsegmented
from harmbench.storage import key_of, read_json, write_json
from harmbench.volume import Volume, read, write

__all__ = ["segment_to_file", "segment_to_files", "segmenter_key"]

_NOTE_FORMAT = 2
"""Format of the note beside labels. Notes of the first format are ignored: they did not distinguish
failures of the segmenter from volumes that cannot be segmented."""

_LASTING = ("segmentation_failed", "segmentation_implausible")

log = logging.getLogger(__name__)


def segment_to_file(
    volume: Volume, path: Path, segmenter: Segmenter, same_as: Sequence[Path] = ()
) -> Segmented:
    """Segment a volume into `path` unless that is done already; a JSON file beside it has the key.

    That file also records that the volume itself cannot be segmented. A failure of the segmenter leaves
    no file.

    Args:
        volume: what to segment.
        path: where the labels go.
        segmenter: what segments.
        same_as: other label files; one with the same key is copied instead of computed again.

    Returns:
        The labels, or the reason why there are none.
    """
    key = key_of("segment", volume.key, segmenter_key(segmenter))
    known = _known_labels(key, volume, path, same_as)
    if known is None:
        known = try_segment(segmenter, volume)
        _keep_labels(known, key, path, segmenter)
    return known


def segment_to_files(
    volumes: Sequence[Volume], paths: Sequence[Path], segmenter: Segmenter
) -> list[Segmented]:
    """Segment volumes into `paths` as `segment_to_file` does, in one call where the segmenter can."""
    if not isinstance(segmenter, BatchSegmenter):
        pairs = zip(volumes, paths, strict=True)
        return [segment_to_file(volume, path, segmenter) for volume, path in pairs]
    keys = [key_of("segment", volume.key, segmenter_key(segmenter)) for volume in volumes]
    known = [_known_labels(*item) for item in zip(keys, volumes, paths, strict=True)]
    open_ = [i for i, labels in enumerate(known) if labels is None]
    for i, found in zip(open_, segment_batch(segmenter, [volumes[i] for i in open_]), strict=True):
        _keep_labels(found, keys[i], paths[i], segmenter)
        known[i] = found
    return [one for one in known if one is not None]


def _note_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".nii.gz") + ".json")


def _read_note(path: Path) -> Mapping[str, object]:
    """Return the note beside labels; empty where it is absent, damaged or of another format."""
    try:
        note = read_json(_note_of(path))
    except (ValueError, OSError, HarmbenchError):
        return {}
    return note if isinstance(note, dict) and note.get("format") == _NOTE_FORMAT else {}


def _known_labels(
    key: str, volume: Volume, path: Path, same_as: Sequence[Path] = ()
) -> Segmented | None:
    """Return the labels with this key in `path` or one of `same_as`, and copy them to `path`."""
    for file in (path, *same_as):
        note = _read_note(file)
        if note.get("key") != key:
            continue
        if note.get("status") in _LASTING and "reason" in note:
            failure = Unsegmented(str(note["reason"]), str(note["status"]), lasting=True)
            return Segmented(failure=failure)
        try:
            labels = read(file, kind="label")
        except VolumeError as error:
            log.warning("%s; it is made again", error)
            continue
        if not labels.same_grid(volume):
            log.warning("%s: labels of another grid; they are made again", file)
            continue
        if file != path:
            _write_labels(labels, path, note)
        return Segmented(labels)
    return None


def _keep_labels(found: Segmented, key: str, path: Path, segmenter: Segmenter) -> None:
    """Write labels, or the reason why the volume has none, with their key."""
    note: dict[str, object] = {"format": _NOTE_FORMAT, "key": key, "segmenter": segmenter.name}
    if found.labels is not None:
        note |= {"version": segmenter.version, "contrast": contrast_of(segmenter)}
        device = getattr(segmenter, "device", "cpu")
        _write_labels(found.labels, path, {**note, "status": "ok", "device": device})
        return
    # Remove labels of an earlier volume.
    path.unlink(missing_ok=True)
    _note_of(path).unlink(missing_ok=True)
    if found.failure is not None and found.failure.lasting:
        note |= {"status": found.failure.status, "reason": found.failure.reason}
        write_json(_note_of(path), note)


def _write_labels(labels: Volume, path: Path, note: Mapping[str, object]) -> None:
    # Labels without a note are ignored: a process killed in between leaves no wrong pair.
    _note_of(path).unlink(missing_ok=True)
    write(labels, path)
    write_json(_note_of(path), note)


def segmenter_key(segmenter: Segmenter) -> str:
    """SHA-256 of what a segmenter's labels depend on: name, version, contrast, and the code."""
    name = type(segmenter).__module__
    # A segmenter in a package of its own counts with the whole package.
    package = sys.modules[name].__package__ or ""
    if package not in {"", harmbench.segmentation.__name__}:
        name = package
    code = own_code(name), stage_code("segment")
    return key_of(segmenter.name, segmenter.version, contrast_of(segmenter), *code)
