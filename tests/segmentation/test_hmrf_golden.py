"""hmrf against label maps of FSL FAST 6.0.0."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from harmbench.segmentation.hmrf import hmrf
from harmbench.volume import read

GOLDEN = Path(__file__).parents[2].parent / "shared" / "reference" / "fast"
TEMPLATE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"

pytestmark = pytest.mark.skipif(
    not GOLDEN.is_dir(),
    reason="FAST's label maps (../shared/reference/fast) are not on this machine",
)


def scan(case):
    if case != "mni152":
        volume = read(GOLDEN / f"{case}_T1w.nii.gz")
        return volume.data, volume.spacing_mm
    volume = read(Path(str(files("nilearn.datasets") / "data" / TEMPLATE)))
    data = volume.data / np.float32(255)
    # The map was made in nilearn's brain mask, which begins above 0.2.
    return np.where(data > 0.2, data, 0), volume.spacing_mm


def dices(labels, golden):
    return [
        2 * np.sum((labels == k) & (golden == k)) / (np.sum(labels == k) + np.sum(golden == k))
        for k in (1, 2, 3)
    ]


@pytest.mark.parametrize("case", ["ms07", "mni152"])
def test_agrees_with_fast(case):
    data, spacing = scan(case)
    hard = read(GOLDEN / f"{case}_seg.nii.gz", kind="label").data
    soft = read(GOLDEN / f"{case}_pveseg.nii.gz", kind="label").data
    assert np.array_equal(data > 0, hard > 0)
    found = hmrf(data, spacing, partial_volumes=True)
    # A field from the mixture's last classes, not its last posteriors, would give .9999.
    assert min(dices(found.labels, hard)) > 0.99998
    assert np.bincount(found.labels.ravel()) == pytest.approx(np.bincount(hard.ravel()), rel=1e-3)
    shares = np.where(data > 0, found.partial_volumes.argmax(axis=0) + 1, 0)
    assert min(dices(shares, soft)) > 0.9995
