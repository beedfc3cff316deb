"""The same scan under two names, however it is stored."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harmbench.cohorts.manifest import read_manifest
from harmbench.cohorts.repeats import Fingerprint, fingerprint, repeated
from harmbench.cohorts.validation import validate
from harmbench.errors import CohortError
from harmbench.volume import Volume, read


def _store(path: Path, data: np.ndarray, affine: np.ndarray, how: str) -> None:
    if how == "int16 with slope":
        image = nib.Nifti1Image(np.zeros(data.shape, np.int16), affine)
        image.header.set_slope_inter(1 / 30000, 0)
        image = nib.Nifti1Image(data, affine, image.header)
        image.set_data_dtype(np.int16)
    else:
        image = nib.Nifti1Image(data.astype(np.float64 if how == "float64" else np.float32), affine)
    if how == "turned":
        image = image.as_reoriented(nib.orientations.axcodes2ornt("PIL"))
    if how == "renamed":
        image.header["descrip"] = b"another"
    nib.save(image, path)


@pytest.mark.parametrize("how", ["renamed", "float64", "int16 with slope", "turned"])
def test_the_same_voxels_are_the_same_scan(make_manifest, how: str) -> None:
    manifest = make_manifest(3)
    own = read(manifest.parent / "s0_A.nii.gz")
    # float64 and slopes round: what is stored is near, not equal.
    _store(manifest.parent / "s2_A.nii.gz", np.asarray(own.data), own.affine, how)
    with pytest.raises(CohortError) as caught:
        validate(read_manifest(manifest), ("A", "B"))
    places = f"{manifest.parent / 's2_A.nii.gz'}, {manifest.parent / 's0_A.nii.gz'}"
    assert list(caught.value.problems) == [
        f"subject s2, session A is the same scan as subject s0, session A ({places})"
    ]


def _repeated(prints: dict[tuple[str, str], Fingerprint]) -> list[str]:
    return repeated(prints, {key: Path(f"{key[0]}.nii") for key in prints})


def _volume(seed: int, noise: float = 0.0) -> Volume:
    ball = np.zeros((40, 44, 48), np.float32)
    ball[8:32, 8:36, 8:40] = np.random.default_rng(9).random((24, 28, 32))
    ball[ball > 0] += noise * np.random.default_rng(seed).standard_normal(np.count_nonzero(ball))
    return Volume(ball, np.eye(4))


def test_scans_of_one_head_with_other_noise_are_not_the_same() -> None:
    prints = {(str(n), "A"): fingerprint(_volume(n, 0.005)) for n in range(4)}
    assert _repeated(prints) == []


def test_one_spike_does_not_make_scans_alike() -> None:
    one, two = (_volume(n, 0.01).data.copy() for n in (0, 1))
    one[20, 20, 20] = two[21, 21, 21] = 1e9
    prints = {(s, "A"): fingerprint(Volume(d, np.eye(4))) for s, d in (("1", one), ("2", two))}
    assert _repeated(prints) == []


def test_every_copy_is_named_after_the_first() -> None:
    prints = {(name, "A"): fingerprint(_volume(1)) for name in ("c", "a", "b")}
    assert _repeated(prints) == [
        f"subject {name}, session A is the same scan as subject c, session A ({name}.nii, c.nii)"
        for name in "ab"
    ]
    other = fingerprint(Volume(_volume(1).data[1:], np.eye(4)))
    assert _repeated({("x", "A"): other, **dict(list(prints.items())[:1])}) == []
