"""Skull strippers: the real one on a simulated head, and stand-ins for what is not installed."""

from __future__ import annotations

import stat
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from harmbench.cohorts.base import Scan
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.errors import PreparationError, UnavailableError
from harmbench.preparation.scan import clean_scan, read_raw
from harmbench.preparation.settings import PrepareSettings, StripSettings
from harmbench.preparation.strip import brain_volume_ml, check_plausible, make_stripper
from harmbench.volume import Volume, read

RAW = Path(__file__).parents[2].parent / "shared" / "data" / "open_ms_raw"


def _dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A simulated head at 2 mm and its true brain."""
    settings = PhantomSettings(subjects=1, spacing_mm=2.0, product="raw")
    cohort = make_phantom(settings, tmp_path_factory.mktemp("head") / "c", jobs=1)
    return read_raw(cohort.scans["sub-01", "3T"])


def test_deepbet_finds_the_simulated_brain(head):
    scan, truth = head
    found = make_stripper(StripSettings()).mask(scan)
    assert _dice(found, truth) > 0.95
    check_plausible(found, scan, StripSettings())


@pytest.mark.skipif(not RAW.is_dir(), reason="needs the scans in ../shared/data/open_ms_raw")
def test_deepbet_finds_a_real_brain():
    scan = read(RAW / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    found = make_stripper(StripSettings()).mask(scan)
    assert brain_volume_ml(found, scan) == pytest.approx(1350, rel=0.03)


def test_what_is_no_head_is_refused():
    x, y, z = np.indices((40, 40, 40)) - 20
    mask = x**2 + y**2 + z**2 < 17**2
    noise = np.random.default_rng(0).random(mask.shape)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    with pytest.raises(PreparationError, match=r"is noise .*not a head"):
        check_plausible(mask, Volume(noise, affine), StripSettings())
    with pytest.raises(PreparationError, match=r"is uniform .*not a head"):
        check_plausible(mask, Volume(500 + noise, affine), StripSettings())
    bottle = np.where(x**2 + y**2 + z**2 < 16.7**2, 500 + noise, 0)  # the mask takes in some air
    with pytest.raises(PreparationError, match=r"is uniform .*not a head"):
        check_plausible(mask, Volume(bottle, affine), StripSettings())
    tissue = Volume(500 + 100 * np.sin(x / 3) + 10 * noise, affine)
    check_plausible(mask, tissue, StripSettings())


def test_implausible_volumes_are_refused(ball):
    volume, mask = ball
    with pytest.raises(PreparationError, match="the brain mask has 33 ml, expected 700 to 2300"):
        check_plausible(mask, volume, StripSettings())
    check_plausible(mask, volume, StripSettings(plausible_ml=(10, 50)))


def test_given_masks_and_stripped_scans(ball):
    volume, mask = ball
    assert np.array_equal(make_stripper(StripSettings(method="mask")).mask(volume, mask), mask)
    with pytest.raises(PreparationError, match="needs a manifest with a `mask` column"):
        make_stripper(StripSettings(method="mask")).mask(volume)
    stripped = volume.with_data(volume.data * mask)
    assert np.array_equal(make_stripper(StripSettings(method="none")).mask(stripped), mask)


def test_hd_bet_says_how_to_get_it_and_its_weights(home, monkeypatch):
    with pytest.raises(UnavailableError, match=r"hd-bet: not installed; pip install 'harmbench\["):
        make_stripper(StripSettings(method="hd-bet"))
    _stand_in_hd_bet(monkeypatch)
    with pytest.raises(UnavailableError, match=r"no weights in .*release_2.0.0 .*Zenodo"):
        make_stripper(StripSettings(method="hd-bet"))
    with pytest.raises(UnavailableError, match=r"no weights in /nowhere"):
        make_stripper(StripSettings(method="hd-bet", hd_bet_weights="/nowhere"))


def test_hd_bet_is_called_with_the_weights_asked_for(ball, tmp_path, monkeypatch):
    calls = _stand_in_hd_bet(monkeypatch)
    weights = tmp_path / "weights"
    (weights / "fold_all").mkdir(parents=True)
    (weights / "fold_all" / "checkpoint_final.pth").write_bytes(b"")
    stripper = make_stripper(StripSettings(method="hd-bet", hd_bet_weights=weights))
    assert stripper.version == "hd-bet 9.9"
    volume, _ = ball
    assert np.array_equal(stripper.mask(volume), volume.data > 50)
    assert calls == [str(weights)]
    assert sys.modules["HD_BET.hd_bet_prediction"].folder_with_parameter_files == "default"


def _stand_in_hd_bet(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a package with HD-BET 2's functions in its place; returns the folders it loaded from."""
    calls: list[str] = []
    package, module = types.ModuleType("HD_BET"), types.ModuleType("HD_BET.hd_bet_prediction")
    package.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    module.folder_with_parameter_files = "default"  # type: ignore[attr-defined]

    def get_hdbet_predictor(use_tta, device):
        calls.append(module.folder_with_parameter_files)
        return "network"

    def hdbet_predict(source, out, network, *, keep_brain_mask, compute_brain_extracted_image):
        assert network == "network"
        assert keep_brain_mask
        import nibabel as nib

        image = nib.load(source)
        mask = (np.asarray(image.dataobj) > 50).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, image.affine), out[:-7] + "_bet.nii.gz")

    module.get_hdbet_predictor = get_hdbet_predictor  # type: ignore[attr-defined]
    module.hdbet_predict = hdbet_predict  # type: ignore[attr-defined]
    package.hd_bet_prediction = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "HD_BET", package)
    monkeypatch.setitem(sys.modules, "HD_BET.hd_bet_prediction", module)
    real = __import__("importlib.metadata").metadata.version
    monkeypatch.setattr(
        "harmbench.preparation.strippers.version",
        lambda name: "9.9" if name == "hd-bet" else real(name),
    )
    return calls


BET = """#!{python}
import sys
import nibabel as nib
import numpy as np
source, out, *options = sys.argv[1:]
assert "-m" in options and "-R" in options, options
image = nib.load(source)
mask = (image.get_fdata() > 50).astype(np.uint8)
nib.save(nib.Nifti1Image(mask, image.affine), out + "_mask.nii.gz")
"""


def test_bet_is_called_through_fslpy(ball, tmp_path: Path, monkeypatch):
    with pytest.raises(UnavailableError, match="skull stripper bet: FSLDIR is not set"):
        monkeypatch.delenv("FSLDIR", raising=False)
        make_stripper(StripSettings(method="bet"))
    program = tmp_path / "fsl" / "bin" / "bet"
    program.parent.mkdir(parents=True)
    program.write_text(BET.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FSLDIR", str(tmp_path / "fsl"))
    from fsl.utils.platform import platform

    monkeypatch.setattr(platform, "fsldir", str(tmp_path / "fsl"))
    volume, _ = ball
    found = make_stripper(StripSettings(method="bet")).mask(volume)
    assert np.array_equal(found, volume.data > 50)


def test_unusable_scans_are_named(ball, tmp_path, scans, monkeypatch):
    import nibabel as nib

    volume, _ = ball
    plain = nib.Nifti1Image(volume.data, volume.affine)

    def stored(name, data, codes=1):
        image = nib.Nifti1Image(data, volume.affine, plain.header)
        image.set_qform(volume.affine, code=codes)
        image.set_sform(volume.affine, code=codes)
        nib.save(image, tmp_path / name)
        return Scan("a", "b", tmp_path / name)

    hole = volume.data.copy()
    hole[0, 0, 0] = np.nan
    for scan, message in (
        (stored("nan.nii.gz", hole), "1 voxel is NaN"),
        (stored("flat.nii.gz", volume.data * 0 + 3), "all its voxels have the value 3"),
    ):
        with pytest.raises(PreparationError, match=message) as caught:
            clean_scan(scan, make_stripper(StripSettings()), PrepareSettings())
        assert str(scan.path) in str(caught.value)
