"""A guess of left and right is treated alike by every command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harmbench.cohorts.bids import read_bids
from harmbench.cohorts.data import DataSettings
from harmbench.cohorts.manifest import read_manifest
from harmbench.cohorts.validation import Checked, validate
from harmbench.config import load_preparation
from harmbench.contract import tiny_pairs
from harmbench.errors import CohortError, VolumeError
from harmbench.notes import Note
from harmbench.preparation.cohort import prepare_cohort
from harmbench.preparation.summary import PrepareSummary
from harmbench.runner.outside import score_triple
from harmbench.runner.outside_files import Triple
from harmbench.runner.outside_labels import segment_scan
from harmbench.storage import read_json
from harmbench.trained import export_model, load_model
from harmbench.trained.apply import apply_model
from harmbench.volume import read, write

QUICK = [
    "strip.method=none",
    "strip.plausible_ml=[1, 3000]",
    "bias.method=none",
    "spacing_mm=2",
    "registration.transform=none",
    "crop.shape=null",
]

Store = Callable[[nib.Nifti1Image, Path], Path]


def _coded(image: nib.Nifti1Image, path: Path) -> Path:
    nib.save(image, path)
    return path


def _without_codes(image: nib.Nifti1Image, path: Path) -> Path:
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    return _coded(image, path)


def _analyze(image: nib.Nifti1Image, path: Path) -> Path:
    plain = nib.AnalyzeImage(np.asarray(image.dataobj), None)
    plain.header.set_zooms(image.header.get_zooms())
    made = path.with_name(path.name.replace(".nii.gz", ".img.gz"))
    nib.save(plain, made)
    return made


def _manifest(folder: Path, one: Store, two: Store) -> Path:
    """Two subjects; the sessions A and B are stored by `one` and `two`."""
    lines = ["subject,group,session,path"]
    for pair in tiny_pairs(2):
        for session, volume, store in (("A", pair.source, one), ("B", pair.target, two)):
            path = write(volume, folder / f"{pair.subject}_{session}.nii.gz")
            lines.append(f"{pair.subject},HC,{session},{store(nib.load(path), path)}")
    (folder / "scans.csv").write_text("\n".join(lines) + "\n")
    return folder / "scans.csv"


def _check(manifest: Path) -> Checked:
    cohort = read_manifest(manifest)
    return validate(cohort, cohort.sessions)


def _prepare(manifest: Path, said: list[str]) -> PrepareSummary:
    return prepare_cohort(
        DataSettings(path=manifest),
        manifest.parent / "prepared",
        load_preparation(None, QUICK).settings,
        jobs=1,
        say=said.append,
    )


@pytest.mark.parametrize("guess", [_without_codes, _analyze])
def test_a_guess_against_a_known_orientation_is_refused(tmp_path: Path, guess: Store) -> None:
    manifest = _manifest(tmp_path, _coded, guess)
    with pytest.raises(CohortError) as caught:
        _check(manifest)
    assert len(caught.value.problems) == 2
    message = "no orientation in the header, so that left and right would be a guess"
    assert all(message in problem for problem in caught.value.problems)
    summary = _prepare(manifest, [])
    assert not summary.prepared
    assert all(message in reason for reason in summary.failed.values())
    assert len(summary.failed) == 2


def _beside_size(notes: Iterable[Note]) -> list[Note]:
    """Return the notes that do not say that these tiny brains are tiny."""
    return [note for note in notes if note.kind != "small-foreground"]


@pytest.mark.parametrize("guess", [_without_codes, _analyze])
def test_guesses_alike_are_used_and_noted(tmp_path: Path, guess: Store) -> None:
    manifest = _manifest(tmp_path, guess, guess)
    notes = _beside_size(_check(manifest).notes)
    assert [note.kind for note in notes] == ["left-right-guessed"] * 4
    assert len({note.where for note in notes}) == 4
    said: list[str] = []
    summary = _prepare(manifest, said)
    assert not summary.failed
    assert any(line.startswith("note: left-right-guessed: its header has no") for line in said)
    assert "left and right are a guess and may be swapped" in summary.page.read_text()
    # What was a guess about the raw scans is said again where the prepared ones are used.
    prepared = read_bids(tmp_path / "prepared")
    found = _beside_size(validate(prepared, prepared.sessions).notes)
    assert [note.kind for note in found] == ["left-right-guessed"] * 4
    assert _prepare(manifest, []).page.read_text() == summary.page.read_text()


def test_a_broken_qform_passes_every_step(tmp_path: Path) -> None:
    def overlong(image: nib.Nifti1Image, path: Path) -> Path:
        plain = path.with_name(path.name.removesuffix(".gz"))
        _coded(image, plain)
        content = plain.read_bytes()
        header = nib.Nifti1Header(content[:348], check=False)
        header["quatern_c"] = 1.0000004
        plain.write_bytes(header.binaryblock + content[348:])
        return plain

    manifest = _manifest(tmp_path, _coded, overlong)
    notes = _beside_size(_check(manifest).notes)
    assert [note.kind for note in notes] == ["qform-broken"] * 2
    assert not _prepare(manifest, []).failed


@pytest.fixture
def three(tmp_path: Path) -> Triple:
    pair = tiny_pairs(1)[0]
    source = write(pair.source, tmp_path / "source.nii.gz")
    target = write(pair.target, tmp_path / "target.nii.gz")
    return Triple("a", source, target, source)


def test_score_refuses_a_guess_against_a_known_one(three: Triple, thresholds) -> None:
    _without_codes(nib.load(three.volume), three.volume)
    reference = read(three.reference)
    # The guess happens to have the grid of the known scan.
    moved = nib.Nifti1Image(reference.data, nib.load(three.volume).affine)
    nib.save(moved, three.reference)
    with pytest.raises(VolumeError, match=r"source\.nii\.gz has no orientation in the header"):
        score_triple(three, thresholds)
    _without_codes(nib.load(three.reference), three.reference)
    said: list[str] = []
    assert not score_triple(three, thresholds, say=said.append).empty
    assert said[0].startswith("note: left-right-guessed: ")
    assert "source.nii.gz" in said[0]
    assert "target.nii.gz" in said[0]


def test_segment_says_and_keeps_a_guess(three: Triple, tmp_path: Path, thresholds) -> None:
    path = _without_codes(nib.load(three.volume), three.volume)
    said: list[str] = []
    segment_scan(path, tmp_path / "labels.nii.gz", thresholds.name, say=said.append)
    assert sum(line.startswith("note: left-right-guessed: ") for line in said) == 1
    labels = nib.load(tmp_path / "labels.nii.gz")
    assert int(labels.header["sform_code"]) == int(labels.header["qform_code"]) == 0
    assert np.allclose(labels.affine, nib.load(path).affine)


def test_apply_says_and_records_a_guess(finished, three: Triple, tmp_path: Path) -> None:
    model = load_model(export_model(finished(), tmp_path / "model"))
    path = _without_codes(nib.load(three.volume), three.volume)
    said: list[str] = []
    (made,) = apply_model(model, [path], tmp_path / "new", say=said.append)
    assert said[0].startswith("note: left-right-guessed: ")
    sidecar = json.loads(made.with_name("source_harmonized.json").read_text())
    assert any(line.startswith("left-right-guessed: ") for line in sidecar["Notes"])
    assert read(made).same_grid(read(path))
    assert read_json(made.with_name("source_harmonized.json"))["Sources"] == ["source.nii.gz"]
