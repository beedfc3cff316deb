"""Skull stripping: one protocol, several tools behind it."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Mask
from harmbench.cohorts.intensities import brain_of
from harmbench.errors import PreparationError, ProgramError, UnavailableError, VolumeError
from harmbench.external.fsl import fsl_version, run_fsl
from harmbench.preparation.settings import StripSettings
from harmbench.volume import Volume, read, write

__all__ = [
    "STRIPPERS",
    "AlreadyStripped",
    "Bet",
    "DeepBet",
    "GivenMask",
    "HdBet",
    "SkullStripper",
    "brain_volume_ml",
    "check_plausible",
    "make_stripper",
]


# From the first to the ninth decile of a normal distribution, in standard deviations.
_DECILES_SD = 2.563
_LEAST_SPREAD, _LEAST_ALIKE = 0.05, 0.2


class SkullStripper(Protocol):
    """Finds the brain in a scan of a head.

    `name` and `version` are recorded with every mask.
    """

    name: str

    @property
    def version(self) -> str:
        """Software and version; raises `UnavailableError` where it is not installed."""
        ...

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return where the brain is, shape (x, y, z), on the grid of `scan`.

        Args:
            scan: the raw scan.
            given: the mask that came with the scan, if one did.

        Raises:
            PreparationError: no brain was found, or the tool failed.
        """
        ...


class DeepBet:
    """deepbet (Fisch et al., Computers in Biology and Medicine 2024); its weights are in its wheel."""

    name = "deepbet"

    def __init__(self, settings: StripSettings) -> None: ...

    @cached_property
    def version(self) -> str:
        """Version of deepbet."""
        return _installed("deepbet", "deepbet", "pip install deepbet")

    @cached_property
    def _network(self) -> Any:
        _ = self.version
        # What torch says of the format of deepbet's weights is none of the user's business.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from deepbet import BrainExtraction

            return BrainExtraction(no_gpu=True)

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return where the brain is; see `SkullStripper`."""
        image = nib.Nifti1Image(scan.data, scan.affine)
        try:
            found = self._network.run(image)[1]
        except Exception as error:
            # deepbet's own checks are assertions and index errors: there is nothing to strip.
            raise PreparationError(
                f"deepbet found no brain ({error or type(error).__name__})"
            ) from error
        return np.asarray(np.asarray(found.dataobj) > 0)


class HdBet:
    """HD-BET (Isensee et al., Human Brain Mapping 2019), which Durrer et al. 2023 used."""

    name = "hd-bet"

    def __init__(self, settings: StripSettings) -> None:
        self._folder = settings.hd_bet_weights

    @property
    def _weights(self) -> Path:
        # Where HD-BET 2 looks by itself.
        return self._folder or Path.home() / "hd-bet_params" / "release_2.0.0"

    @cached_property
    def version(self) -> str:
        """Version of HD-BET.

        Raises:
            UnavailableError: HD-BET or its weights are not there; the message says how to get them.
        """
        text = _installed("hd-bet", "HD_BET", "pip install 'harmbench[hd-bet]'")
        if not (self._weights / "fold_all" / "checkpoint_final.pth").is_file():
            raise UnavailableError(
                f"skull stripper hd-bet: no weights in {self._weights} (fold_all/checkpoint_final.pth); "
                "run `hd-bet -i SCAN -o OUT` once on a machine with a network, which downloads them "
                "(Zenodo record 14445620), and copy the folder, or set strip.hd_bet_weights"
            )
        return text

    @cached_property
    def _network(self) -> Any:
        _ = self.version
        import torch

        with contextlib.redirect_stdout(io.StringIO()):
            from HD_BET import hd_bet_prediction

            # HD-BET knows one folder; another is put in its place for the time of loading.
            before = hd_bet_prediction.folder_with_parameter_files
            hd_bet_prediction.folder_with_parameter_files = str(self._weights)
            try:
                device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
                return hd_bet_prediction.get_hdbet_predictor(use_tta=False, device=device)
            finally:
                hd_bet_prediction.folder_with_parameter_files = before

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return where the brain is; see `SkullStripper`."""
        network = self._network
        from HD_BET.hd_bet_prediction import hdbet_predict

        with _scan_file(scan) as path, contextlib.redirect_stdout(io.StringIO()):
            out = path.with_name("brain.nii.gz")
            try:
                hdbet_predict(
                    str(path),
                    str(out),
                    network,
                    keep_brain_mask=True,
                    compute_brain_extracted_image=False,
                )
            except Exception as error:
                raise PreparationError(f"HD-BET failed: {error}") from error
            return np.asarray(read(out.with_name("brain_bet.nii.gz"), kind="label").data > 0)


class Bet:
    """FSL BET (Smith, Human Brain Mapping 2002), called through fslpy."""

    name = "bet"

    def __init__(self, settings: StripSettings) -> None: ...

    @cached_property
    def version(self) -> str:
        """Version of the FSL installation; raises `UnavailableError` without one."""
        return fsl_version("bet", "skull stripper bet")

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return where the brain is; see `SkullStripper`."""
        _ = self.version
        with _scan_file(scan) as path:
            out = path.with_name("brain")
            try:
                run_fsl("bet", str(path), str(out), mask=True, robust=True)
            except ProgramError as error:
                raise PreparationError(f"BET failed: {error}") from error
            found = sorted(path.parent.glob("brain_mask.nii*"))
            if not found:
                raise PreparationError("BET ended without writing a mask")
            return np.asarray(read(found[0], kind="label").data > 0)


class GivenMask:
    """The mask that comes with each scan: a manifest's `mask` column, or a BIDS brain mask."""

    name = "mask"
    version = "given with the scans"

    def __init__(self, settings: StripSettings) -> None: ...

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return `given`; see `SkullStripper`."""
        if given is None:
            raise PreparationError(
                "it has no mask: strip.method=mask needs a manifest with a `mask` column, or BIDS "
                "files *_desc-brain_mask.nii.gz"
            )
        return given


class AlreadyStripped:
    """For scans without a skull: the brain is what differs from the background."""

    name = "none"
    version = "scans are skull-stripped"

    def __init__(self, settings: StripSettings) -> None: ...

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return what differs from the background; see `SkullStripper` and `brain_of`."""
        try:
            return brain_of(scan)[0]
        except VolumeError as error:
            raise PreparationError(str(error)) from error


STRIPPERS: Mapping[str, type[Any]] = MappingProxyType(
    {kind.name: kind for kind in (DeepBet, HdBet, Bet, GivenMask, AlreadyStripped)}
)


def make_stripper(settings: StripSettings) -> SkullStripper:
    """Return the skull stripper that the settings name, checked to be installed.

    Raises:
        UnavailableError: its software or weights are missing.
    """
    stripper: SkullStripper = STRIPPERS[settings.method](settings)
    _ = stripper.version
    return stripper


def brain_volume_ml(mask: Mask, volume: Volume) -> float:
    """Volume of a mask in ml."""
    return float(np.count_nonzero(mask) * abs(np.linalg.det(volume.affine[:3, :3])) / 1000)


def check_plausible(mask: Mask, scan: Volume, settings: StripSettings) -> None:
    """Refuse a mask that cannot be a brain's.

    Raises:
        PreparationError: its volume is not plausible, or what is in it is noise or uniform.
    """
    volume, (low, high) = brain_volume_ml(mask, scan), settings.plausible_ml
    if not low <= volume <= high or not mask.any():
        raise PreparationError(
            f"the brain mask has {volume:.0f} ml, expected {low:g} to {high:g} ml: not a scan of a "
            "whole head, or skull stripping failed; try another strip.method, or set "
            "strip.plausible_ml"
        )
    # A network finds a brain-shaped brain in anything: noise has no neighbours alike, and a bottle
    # of water no tissues.
    low, middle, high = (float(v) for v in np.percentile(scan.data[mask], (10, 50, 90)))
    # Of the percentiles: the mask may take in a rim of air. Brains in T1w have 0.2 or more.
    spread = (high - low) / (_DECILES_SD * max(abs(middle), 1e-12))
    if spread < _LEAST_SPREAD:
        raise PreparationError(
            "what should be the brain is uniform (robust coefficient of variation "
            f"{spread:.2g}): not a head"
        )
    alike = _neighbour_correlation(scan.data, mask)
    if alike < _LEAST_ALIKE:
        raise PreparationError(
            f"what should be the brain is noise (correlation of neighbouring voxels {alike:.2g}): "
            "not a head"
        )


def _neighbour_correlation(data: NDArray[np.float32], mask: Mask) -> float:
    """Largest correlation, over the three axes, of voxels of the mask with their neighbours."""
    found = [0.0]
    for axis in range(3):
        one, other = np.moveaxis(data, axis, 0)[:-1], np.moveaxis(data, axis, 0)[1:]
        both = np.moveaxis(mask, axis, 0)
        pairs = both[:-1] & both[1:]
        if np.count_nonzero(pairs) > 1:
            found.append(float(np.corrcoef(one[pairs], other[pairs])[0, 1]))
    return max(found)


def _installed(package: str, module: str, command: str) -> str:
    try:
        found = version(package)
    except PackageNotFoundError:
        found = ""
    if not found or find_spec(module) is None:
        raise UnavailableError(f"skull stripper {package}: not installed; {command}")
    return f"{package} {found}"


@contextlib.contextmanager
def _scan_file(scan: Volume) -> Iterator[Path]:
    """Write a scan for a tool that reads files, in RAS, in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"harmbench-strip-{os.getpid()}-") as folder:
        yield write(Volume(scan.data, scan.affine), Path(folder) / "scan.nii.gz")
