"""Headers that say where the voxels lie well, badly, twice or not at all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.io import savemat

from harmbench.errors import VolumeError
from harmbench.files.geometry import some_guessed
from harmbench.volume import Volume, read, read_space, require_same_sides, write

SHAPE = (3, 4, 5)
RAS = np.arange(60, dtype=np.float32).reshape(SHAPE)
AFFINE = np.array([[2.0, 0, 0, -3], [0, 3, 0, -4], [0, 0, 4, -5], [0, 0, 0, 1]])

Change = Callable[[Any], object]


def _nifti(path: Path, change: Change = lambda header: None, affine: Any = AFFINE) -> Path:
    """Write RAS as it stands in memory; `change` may edit the header's fields, checked by nobody."""
    image = nib.Nifti1Image(RAS, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)
    content = path.read_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    change(header)
    path.write_bytes(header.binaryblock + content[348:])
    return path


def _set(**fields: Any) -> Change:
    def change(header: Any) -> None:
        for name, value in fields.items():
            place, _, index = name.partition("__")
            if index:
                header[place][int(index)] = value
            else:
                header[place] = value

    return change


def _kinds(volume: Volume) -> list[str]:
    return sorted(note.kind for note in volume.notes)


@pytest.mark.parametrize("endian", ["<", ">"])
def test_all_orientations_are_read_right(tmp_path: Path, endian: str) -> None:
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        # Axis i of the file runs along axis order[i] of the anatomy, in the direction of signs[i].
        stored: np.ndarray = RAS.transpose(order)
        affine = np.eye(4)
        affine[:3, :3] = AFFINE[:3, :3][:, order]
        affine[:3, 3] = AFFINE[:3, 3]
        for axis in np.flatnonzero(np.array(signs) < 0):
            affine[:3, 3] += affine[:3, axis] * (stored.shape[axis] - 1)
            affine[:3, axis] *= -1
            stored = np.flip(stored, axis)
        image = nib.Nifti1Image(stored, affine, nib.Nifti1Header(endianness=endian))
        image.set_qform(affine, code=1)
        nib.save(image, tmp_path / "a.nii.gz")
        volume = read(tmp_path / "a.nii.gz")
        assert np.array_equal(volume.data, RAS)
        assert np.allclose(volume.affine, AFFINE, atol=1e-5)
        assert volume.notes == ()
        write(volume, tmp_path / "b.nii")
        back = nib.load(tmp_path / "b.nii")
        assert np.array_equal(back.get_fdata(dtype=np.float32), stored)
        assert np.allclose(back.affine, affine, atol=1e-5)


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_all_data_types_are_read_right(tmp_path: Path, endian: str, kind: Any) -> None:
    for name in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
        values = (np.arange(60) - 30 * (name[0] != "u")).reshape(SHAPE).astype(name)
        header = kind.header_class(endianness=endian)
        header.set_data_dtype(values.dtype)
        nib.save(kind(values, AFFINE, header), tmp_path / "plain.nii")
        content = (tmp_path / "plain.nii").read_bytes()
        for slope, intercept in [(0, 0), (1, 0), (0.5, 3), (-2, 0), (1, -7)]:
            head = kind.header_class(content[: header.sizeof_hdr], check=False)
            assert head.endianness == endian
            assert head.get_data_dtype() == np.dtype(f"{endian}{name}")
            head["scl_slope"], head["scl_inter"] = slope, intercept
            path = tmp_path / "a.nii"
            path.write_bytes(head.binaryblock + content[header.sizeof_hdr :])
            scaled = values.astype(np.float64) * (slope or 1) + intercept
            assert np.array_equal(read(path).data, scaled.astype(np.float32)), (name, slope)


@pytest.mark.parametrize("code", [0, 1, 32, 128, 777, 1536, 1792, 2048, 2304])
def test_other_data_types_are_refused_by_name(
    tmp_path: Path, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(VolumeError, match=f"data code {code} not|expected real numbers"):
        read(_nifti(tmp_path / "a.nii", _set(datatype=code)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_slope_that_is_none_leaves_values_as_they_are(tmp_path: Path, slope: float) -> None:
    path = _nifti(tmp_path / "a.nii", _set(scl_slope=slope, scl_inter=7))
    assert np.array_equal(read(path).data, RAS)


def test_an_intercept_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "a.nii", _set(scl_slope=2, scl_inter=np.nan))
    with pytest.raises(VolumeError, match=r"a\.nii: .*intercept"):
        read(path)


# The qform of AFFINE has the quaternion 0, 0, 0.
ACCEPTED = {
    "as it should be": (_set(), []),
    "sform only": (_set(qform_code=0), []),
    "qform only": (_set(sform_code=0), []),
    "overlong by rounding": (_set(quatern_b=1e-8), []),
    "qfac of 0 is 1": (_set(pixdim__0=0), []),
    "overlong": (_set(quatern_c=1.0000004), ["qform-broken"]),
    "far too long": (_set(quatern_b=0.9, quatern_c=0.9, quatern_d=0.9), ["qform-broken"]),
    "quaternion NaN": (_set(quatern_d=np.nan), ["qform-broken"]),
    "offset infinite": (_set(qoffset_x=np.inf), ["qform-broken"]),
    "pixdim 0": (_set(pixdim__2=0), ["qform-broken"]),
    "pixdim below 0": (_set(pixdim__1=-2), ["qform-broken"]),
    "pixdim NaN": (_set(pixdim__3=np.nan), ["qform-broken"]),
    "qfac of -2": (_set(pixdim__0=-2), ["qform-broken"]),
    "pixdim 0, no qform": (_set(pixdim__2=0, qform_code=0), ["voxel-size-differs"]),
    "sform 0": (_set(srow_x=0, srow_y=0, srow_z=0), ["sform-broken"]),
    "sform NaN": (_set(srow_y__1=np.nan), ["sform-broken"]),
    "sform singular": (_set(srow_x=[0, 3, 0, 0]), ["sform-broken"]),
    "moved": (_set(qoffset_x=2), ["qform-sform-differ"]),
    "other size": (_set(pixdim__1=2.2), ["qform-sform-differ"]),
    "unknown code": (_set(sform_code=42, qform_code=0), []),
    "negative code": (_set(sform_code=-1), []),
    "unit unknown": (_set(xyzt_units=0), []),
    "unit that no scan has": (_set(xyzt_units=1), ["units-not-believed"]),
    "micrometres that no scan has": (_set(xyzt_units=3), ["units-not-believed"]),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_header_leaves_clear_is_followed(tmp_path: Path, name: str) -> None:
    change, kinds = ACCEPTED[name]
    path = _nifti(tmp_path / "a.nii", change)
    volume = read(path)
    assert np.allclose(volume.affine, AFFINE, atol=1e-5)
    assert np.array_equal(volume.data, RAS)
    assert _kinds(volume) == kinds
    assert all(note.where == str(path) for note in volume.notes)
    space, notes = read_space(path)
    assert notes == volume.notes
    # What is written lies on it, and has no broken transform.
    header = nib.load(write(volume, tmp_path / "b.nii")).header
    assert np.allclose(header.get_best_affine(), AFFINE, atol=1e-5)
    assert int(header["qform_code"]) == space.qform_code
    assert int(header["sform_code"]) == space.sform_code
    if space.qform is not None:
        assert np.allclose(header.get_qform(), space.qform, atol=1e-5)
    again = read(tmp_path / "b.nii")
    assert again.same_grid(volume)
    assert set(_kinds(again)) <= {"qform-sform-differ"}


REFUSED = {
    "overlong, no sform": (_set(quatern_c=1.0000004, sform_code=0), "longer than 1"),
    "both broken": (_set(quatern_c=2, srow_x=0), "its sform cannot be inverted.*longer than 1"),
    "pixdim 0, no sform": (_set(pixdim__1=0, sform_code=0), "voxel sizes .pixdim. of 0 x 3 x 4"),
    "pixdim below 0, no sform": (_set(pixdim__2=-3, sform_code=0), "expected numbers above 0"),
    "pixdim NaN, nothing": (_set(pixdim__2=np.nan, sform_code=0, qform_code=0), "neither qform"),
    "pixdim 0, nothing": (_set(pixdim__3=0, sform_code=0, qform_code=0), "expected numbers above"),
    "sform NaN, no qform": (_set(srow_z__3=np.nan, qform_code=0), "NaN or infinite"),
    "qform turned": (_set(quatern_c=1), "disagree on left and right"),
    "qform mirrored": (_set(pixdim__0=-1), "disagree on left and right"),
    "sform mirrored": (_set(srow_x=[-2, 0, 0, 1]), "disagree on left and right"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_right_reading_is_refused_by_name(tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    path = _nifti(tmp_path / "a.nii", change)
    for reader in (read, read_space):
        with pytest.raises(VolumeError, match=message) as caught:
            reader(path)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("code", "size_mm"), [(1, 1000.0), (3, 0.001)])
def test_other_units_become_millimetres(tmp_path: Path, code: int, size_mm: float) -> None:
    stored = np.diag([1 / size_mm] * 3 + [1]) @ AFFINE
    volume = read(_nifti(tmp_path / "a.nii", _set(xyzt_units=code), stored))
    assert np.allclose(volume.affine, AFFINE, rtol=1e-5)
    assert volume.spacing_mm == pytest.approx((2, 3, 4))
    assert _kinds(volume) == ["units-converted"]
    back = nib.load(write(volume, tmp_path / "b.nii"))
    assert int(back.header["xyzt_units"]) == code
    assert np.allclose(back.affine, stored, rtol=1e-5)
    assert np.allclose(back.get_qform(), stored, rtol=1e-5)
    assert read(tmp_path / "b.nii").same_grid(volume)


def test_without_codes_left_and_right_are_a_guess(tmp_path: Path) -> None:
    volume = read(_nifti(tmp_path / "a.nii", _set(qform_code=0, sform_code=0)))
    assert _kinds(volume) == ["left-right-guessed"]
    assert "qform and sform codes are 0" in volume.notes[0].text
    assert np.array_equal(volume.data, RAS[::-1])
    assert volume.spacing_mm == pytest.approx((2, 3, 4))
    header = nib.load(write(volume, tmp_path / "b.nii")).header
    assert int(header["qform_code"]) == int(header["sform_code"]) == 0
    again = read(tmp_path / "b.nii")
    assert _kinds(again) == ["left-right-guessed"]
    assert again.same_grid(volume)
    assert np.array_equal(again.data, volume.data)


def _analyze(folder: Path, kind: Any = nib.AnalyzeImage, **fields: Any) -> Path:
    image = kind(RAS, None)
    image.header.set_zooms((2, 3, 4))
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, folder / "a.img")
    return folder / "a.img"


@pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Spm99AnalyzeImage, nib.Spm2AnalyzeImage])
def test_analyze_has_no_orientation(tmp_path: Path, kind: Any) -> None:
    path = _analyze(tmp_path, kind)
    volume = read(path)
    assert _kinds(volume) == ["left-right-guessed"]
    assert np.array_equal(volume.data, RAS[::-1])
    assert read(path.with_suffix(".hdr")).same_grid(volume)
    again = read(write(volume, tmp_path / "b.nii"))
    assert _kinds(again) == ["left-right-guessed"]
    assert again.same_grid(volume)


def test_spm_keeps_an_origin(tmp_path: Path) -> None:
    volume = read(_analyze(tmp_path, nib.Spm99AnalyzeImage, origin=[1, 1, 1, 0, 0]))
    assert _kinds(volume) == ["left-right-guessed"]
    assert read(write(volume, tmp_path / "b.nii")).same_grid(volume)


def test_an_spm_matrix_says_which_side_is_left(tmp_path: Path) -> None:
    path = _analyze(tmp_path, nib.Spm99AnalyzeImage)
    # Voxels count from 1 in it.
    one = np.eye(4)
    one[:3, 3] = -1
    savemat(tmp_path / "a.mat", {"mat": AFFINE @ one}, format="4")
    volume = read(path)
    assert volume.notes == ()
    assert np.array_equal(volume.data, RAS)
    assert np.allclose(volume.affine, AFFINE)
    # `M` leaves out the flip that SPM99 made by its defaults.
    savemat(tmp_path / "a.mat", {"M": AFFINE @ one}, format="4")
    assert _kinds(read(path)) == ["left-right-guessed"]
    (tmp_path / "a.mat").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(VolumeError, match=r"a\.img: "):
        read(path)


@pytest.mark.parametrize("size", [0, -2, np.nan])
def test_analyze_without_voxel_sizes_is_refused(tmp_path: Path, size: float) -> None:
    path = _analyze(tmp_path)
    header = nib.AnalyzeHeader(path.with_suffix(".hdr").read_bytes(), check=False)
    header["pixdim"][1] = size
    path.with_suffix(".hdr").write_bytes(header.binaryblock)
    with pytest.raises(VolumeError, match="voxel sizes"):
        read(path)


def test_mgh_without_orientation_is_a_guess(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(RAS, AFFINE), tmp_path / "a.mgh")
    assert read(tmp_path / "a.mgh").notes == ()
    content = bytearray((tmp_path / "a.mgh").read_bytes())
    content[28:30] = b"\0\0"
    (tmp_path / "a.mgh").write_bytes(content)
    volume = read(tmp_path / "a.mgh")
    assert _kinds(volume) == ["left-right-guessed"]
    assert read(write(volume, tmp_path / "b.nii")).same_grid(volume)


def test_minc2_says_where_it_lies(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.mnc", "w") as file:
        for place, (name, step, start) in enumerate(
            [("zspace", 4, -5), ("yspace", 3, -4), ("xspace", 2, -3)]
        ):
            data = file.create_dataset(f"minc-2.0/dimensions/{name}", data=0)
            data.attrs.update({"step": float(step), "start": float(start)})
            data.attrs["spacing"] = np.bytes_("regular__")
            data.attrs["length"] = SHAPE[2 - place]
            data.attrs["direction_cosines"] = np.eye(3)[2 - place]
        image = file.create_dataset("minc-2.0/image/0/image", data=RAS.T.astype(np.float32))
        image.attrs["dimorder"] = np.bytes_("zspace,yspace,xspace")
        file.create_dataset("minc-2.0/image/0/image-max", data=1.0)
        file.create_dataset("minc-2.0/image/0/image-min", data=0.0)
    volume = read(tmp_path / "a.mnc")
    assert np.array_equal(volume.data, RAS)
    assert np.allclose(volume.affine, AFFINE)
    assert volume.notes == ()


def test_a_shear_is_kept_and_noted(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.5
    path = _nifti(tmp_path / "a.nii", _set(qform_code=0), sheared)
    volume = read(path)
    assert _kinds(volume) == ["sheared"]
    assert np.allclose(volume.affine, sheared)
    back = nib.load(write(volume, tmp_path / "b.nii"))
    assert np.allclose(back.affine, sheared)
    # A qform cannot hold it, and one that says something else is not written.
    plain = nib.load(write(Volume(RAS, sheared), tmp_path / "c.nii"))
    assert np.allclose(plain.affine, sheared)
    assert int(plain.header["qform_code"]) == 0


def test_a_small_head_is_invertible_whatever_the_unit(tmp_path: Path) -> None:
    tiny = np.diag([0.0001, 0.0001, 0.0001, 1])
    assert read(_nifti(tmp_path / "a.nii", _set(xyzt_units=1), tiny)).spacing_mm[0] == (
        pytest.approx(0.1)
    )


@pytest.mark.parametrize(
    ("dim", "shape"), [((3, 3, 4, 0), r"\(3, 4, 0\)"), ((3, 3, -4, 5), r"\(3, -4, 5\)")]
)
def test_axes_without_voxels_are_refused(tmp_path: Path, dim: Any, shape: str) -> None:
    def change(header: Any) -> None:
        header["dim"][: len(dim)] = dim

    with pytest.raises(VolumeError, match=f"shape {shape}"):
        read(_nifti(tmp_path / "a.nii", change))


def test_scans_of_one_pair_must_agree_on_left_and_right(tmp_path: Path) -> None:
    known = read(_nifti(tmp_path / "known.nii"))
    guess = read(_nifti(tmp_path / "guess.nii", _set(qform_code=0, sform_code=0)))
    made = Volume(RAS, AFFINE)
    require_same_sides({"a": known, "b": known, "c": made})
    require_same_sides({"a": guess, "b": guess, "c": made})
    with pytest.raises(VolumeError, match=r"two has no orientation in the header.*those of one; "):
        require_same_sides({"one": known, "two": guess})
    assert some_guessed({"a": guess.space, "b": guess.space, "c": known.space}).startswith(
        "a, b have no orientation"
    )
    assert some_guessed({}) is None
