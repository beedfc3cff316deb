"""The skull stripping tools behind the protocol of `harmbench.preparation.strip`."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from harmbench.arrays import Mask
from harmbench.cohorts.intensities import brain_of
from harmbench.errors import PreparationError, ProgramError, UnavailableError, VolumeError
from harmbench.external.fsl import fsl_version, run_fsl
from harmbench.preparation.settings import StripSettings
from harmbench.volume import Volume, read, write

__all__ = ["AlreadyStripped", "Bet", "DeepBet", "GivenMask", "HdBet"]


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
        # torch deprecates the format of deepbet's weights; users cannot change it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from deepbet import BrainExtraction

            return BrainExtraction(no_gpu=True)

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return where the brain is, shape (x, y, z); see `SkullStripper`."""
        image = nib.Nifti1Image(scan.data, scan.affine)
        try:
            found = self._network.run(image)[1]
        except Exception as error:
            # Where there is no head, deepbet raises assertion and index errors.
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
        # The default folder of HD-BET 2.
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

            # HD-BET reads its folder from a module variable: set it while loading.
            before = hd_bet_prediction.folder_with_parameter_files
            hd_bet_prediction.folder_with_parameter_files = str(self._weights)
            try:
                device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
                return hd_bet_prediction.get_hdbet_predictor(use_tta=False, device=device)
            finally:
                hd_bet_prediction.folder_with_parameter_files = before

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return where the brain is, shape (x, y, z); see `SkullStripper`."""
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
        """Return where the brain is, shape (x, y, z); see `SkullStripper`."""
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
        """Return `given`, shape (x, y, z); see `SkullStripper`."""
        if given is None:
            raise PreparationError(
                "it has no mask: strip.method=mask needs a manifest with a `mask` column, or BIDS "
                "files *_desc-brain_mask.nii.gz"
            )
        return given


class AlreadyStripped:
    """For skull-stripped scans: the brain is every voxel that differs from the background."""

    name = "none"
    version = "scans are skull-stripped"

    def __init__(self, settings: StripSettings) -> None: ...

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return the voxels that differ from the background, shape (x, y, z); see `brain_of`."""
        try:
            return brain_of(scan)[0]
        except VolumeError as error:
            raise PreparationError(str(error)) from error


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
    """Write a scan in RAS for a tool that reads files; its folder is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"harmbench-strip-{os.getpid()}-") as folder:
        yield write(Volume(scan.data, scan.affine), Path(folder) / "scan.nii.gz")
