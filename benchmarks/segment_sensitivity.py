"""How much each decision of `hmrf` that FAST's description leaves open changes its labels.

    python benchmarks/segment_sensitivity.py                              # the ICBM152 template
    python benchmarks/segment_sensitivity.py A_T1w.nii.gz ... --golden FOLDER --narrow

Scans are skull-stripped T1-weighted ones in [0, 1], or `template`; for `--golden` see `segment.py`.
Each is segmented by `hmrf` and by variants with one decision changed; with `--narrow` it is segmented
again with its white-matter peak narrowed in several ways. There are no labels of FAST for the
narrowed scans: there the table tells how far variants are apart, not which one is right.

A cell has the lowest Dice of the three tissues between a variant and `hmrf`, and the largest relative
difference of a tissue's volume.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from segment import find_case
from tabulate import tabulate

from harmbench.metrics.overlap import dice
from harmbench.segmentation import TISSUES
from harmbench.segmentation.hmrf import HmrfResult, estimation, hmrf
from harmbench.segmentation.hmrf.sweeps import sweeps
from harmbench.volume import Volume, read, write

SPIKE_WIDTH = 0.1
"""A spike's width over that of the peak that it is made of."""

Labels = NDArray[np.uint8]


class OnceMore(estimation._Model):
    """Classes are estimated once more between the mixture and the first bias field."""

    first = True

    def estimate_bias(self) -> None:
        if self.first:
            self.first = False
            self.estimate_classes()
        super().estimate_bias()


class Kept(estimation._Model):
    """The sweeps begin with the posteriors of the step before."""

    def segment(self, beta: float) -> None:
        self.first_posteriors()
        brain = (self.values, self.inside, self.region.first, self.region.last)
        w = (beta * self.neighbours).astype(np.float32)
        sweeps(self.workers, estimation.SWEEPS, self.p, *brain, w, self.mean, self.var)

    def first_posteriors(self) -> None:
        """Keep the posteriors of the step before."""


class Random(Kept):
    """The sweeps begin with random posteriors, the same in each step."""

    def first_posteriors(self) -> None:
        p = np.random.default_rng(0).random(self.p.shape, dtype=np.float32)
        self.p[:] = p / p.sum(axis=0) * self.inside


class AboutFormer(estimation._Model):
    """Variances are taken about the means of the step before."""

    def _set_classes(self, voxels: Any, mean: Any, var: Any) -> None:
        moved = (mean - self.mean) ** 2 if self.mean.any() else 0
        super()._set_classes(voxels, mean, var + moved)


class Floor(estimation._Model):
    """No standard deviation falls below 0.01."""

    def _set_classes(self, voxels: Any, mean: Any, var: Any) -> None:
        super()._set_classes(voxels, mean, np.maximum(var, 1e-4))


VARIANTS: dict[str, dict[str, Any]] = {
    "classes once more before the first bias field": {"_Model": OnceMore},
    "18 steps of the mixture": {"_MIXTURE_STEPS": 18},
    "20 steps of the mixture": {"_MIXTURE_STEPS": 20},
    "variances about the former means": {"_Model": AboutFormer},
    "standard deviations of at least 0.01": {"_Model": Floor},
    "sweeps from random posteriors": {"_Model": Random},
    "sweeps from the former posteriors": {"_Model": Kept},
    "4 sweeps": {"SWEEPS": 4},
    "6 sweeps": {"SWEEPS": 6},
}
AS_IT_IS = "as it is"
REVERSED = "sweeps in the reverse order"

Narrow = Callable[[NDArray[np.float32], float, float], NDArray[np.float32]]


def drawn(scale: float) -> Narrow:
    """Draw log intensities near the peak to its mean, by `scale` at the mean, in order."""

    def narrow(y: NDArray[np.float32], mean: float, sd: float) -> NDArray[np.float32]:
        gap = y - mean
        moved: NDArray[np.float32] = y - (1 - scale) * gap * np.exp(-((gap / (2 * sd)) ** 2) / 2)
        return moved

    return narrow


def spike(share: float) -> Narrow:
    """Draw a `share` of the voxels within 2 SD of the peak to its mean, in patches of some mm."""

    def narrow(y: NDArray[np.float32], mean: float, sd: float) -> NDArray[np.float32]:
        noise = np.random.default_rng(0).standard_normal(y.shape, dtype=np.float32)
        patches = gaussian_filter(noise, 1)
        near = np.abs(y - mean) < 2 * sd
        taken = near & (patches < np.quantile(patches[near], share))
        return np.where(taken, mean + SPIKE_WIDTH * (y - mean), y)

    return narrow


NARROWED: dict[str, Narrow] = {
    "drawn to 1/10": drawn(0.1),
    **{f"{share:.0%} in a spike": spike(share) for share in (0.4, 0.45)},
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", nargs="*", help="NIfTI files, or `template`")
    parser.add_argument("--golden", type=Path, help="folder with FAST's label maps")
    parser.add_argument("--narrow", action="store_true", help="narrow the white-matter peak, too")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="keep the narrowed scans")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="harmbench-segment-") as folder:
        for scan in options.scans or ["template"]:
            case = find_case(scan, options.golden, Path(folder))
            volume = read(case.path)
            golden = case.golden.get("hard")
            fast = read(golden, kind="label").data if golden else None
            narrowings = NARROWED if options.narrow else {}
            scans = narrowed(volume, narrowings)
            if options.write is not None:
                keep(scans, case.name, options.write)
            rows = table(scans, fast)
            print(f"\n{case.name}\n\n{tabulate(rows, 'firstrow', tablefmt='github')}", flush=True)
    return 0


def narrowed(volume: Volume, narrowings: dict[str, Narrow]) -> dict[str, Volume]:
    """Return the scan as it is and with its white-matter peak narrowed, by name."""
    plain = hmrf(volume.data, volume.spacing_mm)
    mean, sd = plain.means[-1], np.sqrt(plain.variances[-1])
    scans = {AS_IT_IS: volume}
    for name, narrow in narrowings.items():
        data = np.expm1(narrow(np.log1p(volume.data), mean, sd))
        scans[name] = volume.with_data(np.where(volume.data > 0, data, 0).astype(np.float32))
    return scans


def keep(scans: dict[str, Volume], case: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, scan in enumerate(scans.values()):
        write(scan, folder / f"{case}-{number}_T1w.nii.gz")


def table(scans: dict[str, Volume], fast: Labels | None) -> list[list[str]]:
    """Return the rows of a scan's table, its head first and then `hmrf` as it is."""
    names = ["hmrf", *VARIANTS, REVERSED]
    rows = {name: [name] for name in names}
    head = ["variant"]
    for title, scan in scans.items():
        found = {name: segmented(name, scan) for name in names}
        width = np.sqrt(found["hmrf"].variances[-1])
        if title == AS_IT_IS and fast is not None:
            head.append("voxels unlike FAST's")
            for name in names:
                rows[name].append(f"{np.sum(found[name].labels != fast):,}")
        head.append(f"{title} (WM SD {width:.4f})")
        for name in names:
            rows[name].append(apart(found[name].labels, found["hmrf"].labels))
    return [head, *rows.values()]


def segmented(name: str, scan: Volume) -> HmrfResult:
    if name == REVERSED:
        found = hmrf(np.flip(scan.data), scan.spacing_mm)
        return HmrfResult(
            np.flip(found.labels), None, found.bias_field, found.means, found.variances
        )
    with patch.multiple(estimation, **VARIANTS.get(name, {"SWEEPS": estimation.SWEEPS})):
        return hmrf(scan.data, scan.spacing_mm)


def apart(labels: Labels, others: Labels) -> str:
    """Return the lowest Dice and the largest relative difference of a tissue's volume."""
    pairs = [(labels == k, others == k) for k in TISSUES.values()]
    volume = max((np.sum(one) / np.sum(other) - 1 for one, other in pairs), key=abs)
    return f"{min(dice(*pair) for pair in pairs):.5f}, {100 * volume:+.2f} %"


if __name__ == "__main__":
    sys.exit(main())
