"""How near N4 comes to the true field at several settings, and what it does to the contrast of tissues.

    python benchmarks/bias_field.py                    # simulated raw scans at 1 mm, whose field is known
    python benchmarks/bias_field.py --raw FOLDER       # the joint variation of real ones, named *_T1w.nii.gz

The joint variation of grey and white matter is (SD of GM + SD of WM) / |mean of WM - mean of GM|: a field
makes it larger. The tissues are those that `hmrf` finds in the corrected scan.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from harmbench.cohorts.base import Scan, rescale_volume
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.external.antspy import ants_module
from harmbench.preparation.bias import bias_field
from harmbench.preparation.scan import read_raw
from harmbench.preparation.settings import BiasSettings, PrepareSettings
from harmbench.preparation.strip import make_stripper
from harmbench.preparation.zero import count_from_zero
from harmbench.segmentation import TISSUES
from harmbench.segmentation.hmrf import hmrf
from harmbench.volume import Volume, read

SETTINGS: Mapping[str, BiasSettings] = {
    "default": BiasSettings(),
    "tolerance 1e-7": BiasSettings(tolerance=1e-7),
    "four resolutions": BiasSettings(iterations=(50, 50, 50, 50)),
    "four resolutions, tolerance 1e-7": BiasSettings(iterations=(50, 50, 50, 50), tolerance=1e-7),
    "none": BiasSettings(method="none"),
}


def stripped(scan: Scan) -> tuple[Volume, NDArray[np.bool_]]:
    """Return a raw scan, counted from its level of no signal, and its brain."""
    raw, given = read_raw(scan)
    brain = make_stripper(PrepareSettings().strip).mask(raw, given)
    counted, *_ = count_from_zero(raw, brain, True)
    return counted, brain


def joint_variation(scan: Volume, brain: NDArray[np.bool_]) -> float:
    volume = rescale_volume(scan, "percentile", brain)
    labels = hmrf(volume.data, volume.spacing_mm).labels
    grey, white = (scan.data[labels == TISSUES[tissue]] for tissue in ("GM", "WM"))
    return float((grey.std() + white.std()) / abs(white.mean() - grey.mean()))


def measure(scan: Scan, truth: Path | None) -> Iterator[dict[str, object]]:
    counted, brain = stripped(scan)
    known = None if truth is None else read(truth).data
    for name, settings in SETTINGS.items():
        start = time.process_time()
        found = bias_field(counted, brain, settings)
        seconds = time.process_time() - start
        row: dict[str, object] = {"scan": scan.path.name, "N4": name, "CPU s": seconds}
        if known is not None:
            left = (found / known)[brain]
            row["correlation"] = (
                np.corrcoef(found[brain], known[brain])[0, 1] if np.ptp(found) else 0
            )
            row["left of the field"] = left.std() / left.mean()
        corrected = counted.with_data(counted.data / found)
        yield {**row, "joint variation": joint_variation(corrected, brain)}


def simulated(subjects: int, spacing: float) -> Iterator[tuple[Scan, Path]]:
    phantom = PhantomSettings(subjects=subjects, spacing_mm=spacing, product="raw")
    for scan in make_phantom(phantom).scans.values():
        name = scan.path.name.replace("T1w", "desc-truth_biasfield")
        yield scan, scan.path.with_name(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--raw", type=Path, help="a folder of real raw scans")
    parser.add_argument("--subjects", type=int, default=2, help="simulated ones")
    parser.add_argument("--spacing", type=float, default=1.0, help="of the simulated scans, in mm")
    options = parser.parse_args()
    ants_module()  # takes a second to import
    scans: list[tuple[Scan, Path | None]]
    if options.raw is None:
        print(f"SIMULATED raw scans of {options.subjects} subjects, {options.spacing:g} mm")
        scans = list(simulated(options.subjects, options.spacing))
    else:
        files = sorted(options.raw.rglob("*_T1w.nii.gz"))
        scans = [(Scan(file.name, "raw", file), None) for file in files]
    rows = [row for scan, truth in scans for row in measure(scan, truth)]
    print(tabulate(rows, "keys", "github", floatfmt=(".3f",) * 6))


if __name__ == "__main__":
    main()
