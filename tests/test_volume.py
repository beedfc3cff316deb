from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff

from harmbench.errors import VolumeError
from harmbench.volume import Step, Volume, read, require_same_grid, write

RANDOM = np.random.default_rng(0)
CODES = ["RAS", "LPS", "PIR", "SAL", "ASR", "ILA"]


def _image(codes: str = "RAS", dtype: type = np.float32) -> nib.Nifti1Image:
    values = RANDOM.random((5, 6, 7))
    data = (100 * values).astype(dtype)
    ras = np.array([[1.2, 0.05, 0, -3], [-0.05, 0.9, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1]])
    affine = ras @ np.linalg.inv(inv_ornt_aff(axcodes2ornt(codes), (5, 6, 7)))
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code=4)
    image.set_qform(affine, code=1)
    return image


@pytest.mark.parametrize("codes", CODES)
def test_reads_any_orientation_as_ras_and_writes_it_back(tmp_path: Path, codes: str) -> None:
    image = _image(codes)
    nib.save(image, tmp_path / "in.nii.gz")
    volume = read(tmp_path / "in.nii.gz")
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    # The same point in space has the same value, whatever the storage order.
    index = np.array([1, 2, 3])
    world = image.affine @ [*index, 1]
    place = np.rint(np.linalg.inv(volume.affine) @ world)[:3].astype(int)
    assert volume.data[tuple(place)] == image.get_fdata(dtype=np.float32)[tuple(index)]
    write(volume, tmp_path / "out.nii.gz")
    back = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(back.get_fdata(), image.get_fdata())
    assert np.allclose(back.affine, image.affine)
    assert back.get_data_dtype() == np.float32
    assert int(back.header["qform_code"]) == 1
    assert int(back.header["sform_code"]) == 4
    assert np.allclose(back.get_qform(), image.get_qform())


def test_scaled_integers_become_float_values(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, 1)
    nib.save(image, tmp_path / "a.nii")
    expected = nib.load(tmp_path / "a.nii").get_fdata()
    volume = read(tmp_path / "a.nii")
    assert volume.data.dtype == np.float32
    assert np.allclose(volume.data, expected)
    write(volume.with_data(volume.data + 0.25), tmp_path / "b.nii")
    assert np.allclose(nib.load(tmp_path / "b.nii").get_fdata(), expected + 0.25)


def test_missing_sform_stays_missing(tmp_path: Path) -> None:
    image = _image()
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "a.nii.gz")
    write(read(tmp_path / "a.nii.gz"), tmp_path / "b.nii.gz")
    assert int(nib.load(tmp_path / "b.nii.gz").header["sform_code"]) == 0


def test_reads_other_formats(tmp_path: Path) -> None:
    data = RANDOM.random((4, 5, 6)).astype(np.float32)
    nib.save(nib.MGHImage(data, np.diag([-1.0, 1, 1, 1])), tmp_path / "a.mgz")
    volume = read(tmp_path / "a.mgz")
    assert np.array_equal(volume.data, data[::-1])
    write(volume, tmp_path / "b.nii.gz")
    assert np.array_equal(nib.load(tmp_path / "b.nii.gz").get_fdata(dtype=np.float32), data)


def test_trailing_axis_of_one_is_dropped_and_4d_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3, 1)), np.eye(4)), tmp_path / "one.nii")
    assert read(tmp_path / "one.nii").shape == (3, 3, 3)
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3, 2)), np.eye(4)), tmp_path / "two.nii")
    with pytest.raises(VolumeError, match=r"two.nii: shape \(3, 3, 3, 2\), expected a single 3D"):
        read(tmp_path / "two.nii")


def test_broken_files_have_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "text.nii.gz").write_text("not an image")
    noise = RANDOM.random((30, 30, 30)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), tmp_path / "whole.nii.gz")
    whole = (tmp_path / "whole.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    for name, message in (
        ("text.nii.gz", "text.nii.gz: not an image that nibabel knows"),
        ("cut.nii.gz", "cut.nii.gz: damaged or truncated"),
        ("empty.nii.gz", "empty.nii.gz: an empty file"),
        ("absent.nii.gz", "absent.nii.gz: no such file"),
    ):
        with pytest.raises(VolumeError, match=message):
            read(tmp_path / name)


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.complex64), np.eye(4)), tmp_path / "c.nii")
    with pytest.raises(VolumeError, match="complex64, expected real numbers"):
        read(tmp_path / "c.nii")


def test_labels_are_whole_numbers(tmp_path: Path) -> None:
    write(Volume(np.full((2, 2, 2), 0.5), np.eye(4)), tmp_path / "half.nii.gz")
    with pytest.raises(VolumeError, match="whole numbers"):
        read(tmp_path / "half.nii.gz", kind="label")
    write(Volume(np.full((2, 2, 2), 3), np.eye(4), kind="label"), tmp_path / "three.nii.gz")
    assert read(tmp_path / "three.nii.gz", kind="label").data.dtype == np.uint8
    assert nib.load(tmp_path / "three.nii.gz").get_data_dtype() == np.uint8


def test_a_volume_cannot_be_changed() -> None:
    data = np.zeros((2, 2, 2), np.float32)
    volume = Volume(data, np.eye(4))
    data[0, 0, 0] = 1
    assert volume.data.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        volume.data[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 2


def test_history_grows_and_the_original_keeps_its_own() -> None:
    volume = Volume(np.zeros((2, 2, 2)), np.eye(4))
    changed = volume.with_data(np.ones((2, 2, 2)), Step("add", {"value": 1}))
    assert volume.history == ()
    assert [step.name for step in changed.history] == ["add"]
    replayed = volume.data + changed.history[0].parameters["value"]
    assert np.array_equal(replayed, changed.data)
    with pytest.raises(VolumeError, match="shape"):
        volume.with_data(np.ones((2, 2, 3)))


@pytest.mark.parametrize(
    ("data", "affine", "message"),
    [
        (np.zeros((2, 2)), np.eye(4), "three non-empty axes"),
        (np.zeros((2, 0, 2)), np.eye(4), "three non-empty axes"),
        (np.zeros((2, 2, 2), complex), np.eye(4), "real numbers"),
        (np.full((2, 2, 2), "1"), np.eye(4), "real numbers"),
        (np.zeros((2, 2, 2)), np.eye(3), "4x4"),
        (np.zeros((2, 2, 2)), np.diag([1, 1, 0, 1]), "cannot be inverted"),
        (np.zeros((2, 2, 2)), np.diag([1, np.nan, 1, 1]), "finite"),
    ],
)
def test_bad_volumes(data: np.ndarray, affine: np.ndarray, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        Volume(data, affine)


def test_spacing_and_grid() -> None:
    affine = np.array([[0, 2, 0, 0], [3, 0, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1]], float)
    one = Volume(np.zeros((2, 3, 4)), affine)
    assert one.spacing_mm == (3, 2, 0.5)
    moved = affine.copy()
    moved[0, 3] += 0.01
    with pytest.raises(VolumeError, match=r"a and b differ in affine by up to 0\.01 mm"):
        require_same_grid(one, Volume(np.zeros((2, 3, 4)), moved), ("a", "b"))
    with pytest.raises(VolumeError, match=r"a has shape \(2, 3, 4\), b has \(2, 3, 5\)"):
        require_same_grid(one, Volume(np.zeros((2, 3, 5)), affine), ("a", "b"))


def test_key_follows_values_grid_and_kind() -> None:
    base = Volume(np.zeros((2, 2, 2)), np.eye(4))
    same = Volume(np.zeros((2, 2, 2)), np.eye(4))
    other_value = Volume(np.full((2, 2, 2), 1e-7), np.eye(4))
    other_grid = Volume(np.zeros((2, 2, 2)), np.diag([2, 1, 1, 1]))
    other_kind = Volume(np.zeros((2, 2, 2)), np.eye(4), kind="label")
    assert base.key == same.key
    assert len({v.key for v in (base, other_value, other_grid, other_kind)}) == 4


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    codes=st.sampled_from(CODES),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 4)] * 3),
)
def test_round_trip_is_exact(tmp_path_factory, codes, shape, spacing) -> None:
    folder = tmp_path_factory.mktemp("trip")
    data = np.random.default_rng(1).random(shape).astype(np.float32)
    ornt = axcodes2ornt(codes)
    affine = np.diag([*spacing, 1]) @ np.linalg.inv(inv_ornt_aff(ornt, shape))
    nib.save(nib.Nifti1Image(data, affine), folder / "a.nii")
    write(read(folder / "a.nii"), folder / "b.nii")
    assert np.array_equal(nib.load(folder / "b.nii").get_fdata(dtype=np.float32), data)
    assert np.allclose(nib.load(folder / "b.nii").affine, affine, atol=1e-5)


def test_only_nifti_is_written(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=r"\.nii or \.nii\.gz"):
        write(Volume(np.zeros((2, 2, 2)), np.eye(4)), tmp_path / "a.mgz")
    assert not list(tmp_path.iterdir())
