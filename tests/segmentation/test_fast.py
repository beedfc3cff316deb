"""The wrapper of FAST, against a stand-in executable with FAST's file interface."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from harmbench.contract import tiny_pairs
from harmbench.errors import SegmentationError, UnavailableError
from harmbench.segmentation import AUTO, make_segmenter
from harmbench.segmentation.fast import Fast
from harmbench.volume import Volume

# Labels by thirds of the intensity range, written the way FAST names its output.
STAND_IN = """#!{python}
import sys
import nibabel as nib
import numpy as np
arguments = sys.argv[1:]
open({log!r}, "a").write(" ".join(arguments) + "\\n")
if {fails}:
    sys.exit("FAST: out of memory")
out = next(a.split("=", 1)[1] for a in arguments if a.startswith("--out="))
image = nib.load(arguments[-1])
data = image.get_fdata()
labels = np.digitize(data, [1e-6, 1 / 3, 2 / 3]).astype(np.uint8)
nib.save(nib.Nifti1Image(labels, image.affine), out + "_seg.nii.gz")
"""


@pytest.fixture
def fsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make a folder that looks like FSL's; returns the log of its calls."""

    def make(*, fails: bool = False) -> Path:
        folder, log = tmp_path / "fsl", tmp_path / "calls.txt"
        program = folder / "bin" / "fast"
        program.parent.mkdir(parents=True)
        text = STAND_IN.format(python=sys.executable, log=str(log), fails=fails)
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        (folder / "etc").mkdir()
        (folder / "etc" / "fslversion").write_text("6.0.0:abc\n")
        monkeypatch.setenv("FSLDIR", str(folder))
        monkeypatch.setenv("FSLOUTPUTTYPE", "")
        from fsl.utils.platform import platform

        monkeypatch.setattr(platform, "fsldir", str(folder))
        return log

    return make


@pytest.fixture
def volume() -> Volume:
    affine = np.array([[2, 0.3, 0, 9], [-0.3, 1, 0, 8], [0, 0, 1, 7], [0, 0, 0, 1]], float)
    return Volume(tiny_pairs(1)[0].source.data, affine)


def test_labels_lie_on_an_oblique_volume(fsl, volume: Volume) -> None:
    log = fsl()
    labels = Fast().segment(volume)
    assert np.array_equal(labels.data, np.digitize(volume.data, [1e-6, 1 / 3, 2 / 3]))
    assert labels.kind == "label"
    assert labels.same_grid(volume)
    (call,) = log.read_text().splitlines()
    assert "--class=3" in call
    assert "--nopve" in call
    assert "-t 1" in call


def test_version_and_choice(fsl, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_segmenter("auto").name == AUTO[1]
    with pytest.raises(UnavailableError, match="FSLDIR is not set"):
        make_segmenter("fast")
    fsl()
    assert make_segmenter("fast").version == "FSL 6.0.0:abc"
    assert make_segmenter("auto").name == "fast"
    monkeypatch.setenv("FSLDIR", "/nowhere")
    with pytest.raises(UnavailableError, match="holds no bin/fast"):
        make_segmenter("fast")


def test_a_failure_is_one_error(fsl, volume: Volume) -> None:
    fsl(fails=True)
    with pytest.raises(SegmentationError, match="FAST failed"):
        Fast().segment(volume)


def test_unknown_segmenter() -> None:
    with pytest.raises(SegmentationError, match="unknown segmenter 'fats'; did you mean 'fast'"):
        make_segmenter("fats")
