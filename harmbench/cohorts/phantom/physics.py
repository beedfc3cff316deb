"""MR physics: the two protocols, tissue relaxation, and the MPRAGE signal by recursion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

__all__ = [
    "CLASSES",
    "INFLOW",
    "PROTOCOLS",
    "TISSUES",
    "Protocol",
    "Tissue",
    "mprage_signal",
    "tissue_signal",
]

CLASSES = ("CSF", "GM", "DGM", "WM", "LESION")
"""Tissues; deep grey matter and lesions have relaxation times of their own."""

INFLOW = 1.3
"""Signal of arterial blood relative to white matter: fresh spins are brighter than any steady state
of Mz; the number is an assumption."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """An MPRAGE protocol and the scanner it runs on.

    Attributes:
        session: label of the session.
        field_t: magnetic field strength in tesla.
        tr_ms, ti_ms, te_ms: repetition time, inversion time (to the centre of k-space), echo time.
        flip_deg: excitation flip angle.
        bandwidth_hz: readout bandwidth per pixel.
        dead_time_ms: what an echo takes beside its readout (excitation, encoding, spoiling).
        readouts: echoes per inversion.
        voxel_mm: acquired voxel along R, A, S: slice thickness, then field of view / matrix.
        matrix: voxels along R, A, S.
        model: manufacturer's name of the scanner.
        distortion_corrected: whether the scanner undoes the gradients' nonlinearity.
    """

    session: str
    field_t: float
    tr_ms: float
    ti_ms: float
    te_ms: float
    flip_deg: float
    bandwidth_hz: float
    dead_time_ms: float
    readouts: int
    voxel_mm: tuple[float, float, float]
    matrix: tuple[int, int, int]
    model: str
    distortion_corrected: bool

    @property
    def echo_spacing_ms(self) -> float:
        """Time between two excitations of one train: the readout plus the dead time."""
        return 1000 / self.bandwidth_hz + self.dead_time_ms


@dataclass(frozen=True, slots=True)
class Tissue:
    """Relaxation of one tissue at one field strength: times in ms, proton density relative to 1.

    `t1_sd_ms` and `pd_sd` are the spread between subjects.
    """

    t1_ms: float
    t1_sd_ms: float
    t2star_ms: float
    pd: float
    pd_sd: float


# Durrer et al. 2023, Table 4. Not in the table and assumed: 176 slices of 1 mm, one echo each, and
# the dead times, which put the echo spacing at 8.2 and 7.1 ms. It is short at 1.5 T, where the echo
# time is below half of the readout, so that only part of the echo is read.
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "1.5T": Protocol(
            session="1.5T",
            field_t=1.5,
            tr_ms=2080,
            ti_ms=1100,
            te_ms=3.1,
            flip_deg=15,
            bandwidth_hz=130,
            dead_time_ms=0.5,
            readouts=176,
            voxel_mm=(1.0, 250 / 256, 234 / 240),
            matrix=(176, 256, 240),
            model="Magnetom Avanto",
            distortion_corrected=False,
        ),
        "3T": Protocol(
            session="3T",
            field_t=3.0,
            tr_ms=2300,
            ti_ms=900,
            te_ms=2.94,
            flip_deg=9,
            bandwidth_hz=240,
            dead_time_ms=2.93,
            readouts=176,
            voxel_mm=(1.0, 256 / 256, 240 / 240),
            matrix=(176, 256, 240),
            model="Magnetom Skyra fit",
            distortion_corrected=True,
        ),
    }
)

# T1 after Wright et al. 2008, T2* after Peters et al. 2007, proton density and the ratio of lesion
# to white matter T1 after BrainWeb's tissue table. T2* of deep grey matter and CSF, and all lesion
# values at 3 T, are assumptions. The spread of lesion T1 scales with that of white matter.
TISSUES: Mapping[str, Mapping[str, Tissue]] = MappingProxyType(
    {
        "1.5T": MappingProxyType(
            {
                "CSF": Tissue(4160, 263, 1000, 0.985, 0.008),
                "GM": Tissue(1197, 134, 84, 0.79, 0.005),
                "DGM": Tissue(1096, 60, 60, 0.80, 0.005),
                "WM": Tissue(646, 32, 66.2, 0.675, 0.012),
                "LESION": Tissue(969, 48, 110, 0.79, 0.015),
            }
        ),
        "3T": MappingProxyType(
            {
                "CSF": Tissue(4163, 263, 1000, 0.985, 0.008),
                "GM": Tissue(1607, 112, 66, 0.79, 0.005),
                "DGM": Tissue(1364, 60, 45, 0.80, 0.005),
                "WM": Tissue(838, 50, 53.2, 0.675, 0.012),
                "LESION": Tissue(1257, 75, 85, 0.79, 0.015),
            }
        ),
    }
)


def mprage_signal(protocol: Protocol, t1_ms: float, t2star_ms: float, pd: float) -> float:
    """Signal of one tissue in the steady state of an MPRAGE train, at the centre of k-space.

    One period is: inversion; recovery for TA = TI - k_c*tau; N readouts, each tipping the
    longitudinal magnetization by cos(alpha) and recovering for the echo spacing tau; recovery for
    TD = TR - TA - N*tau. Each is an affine map of Mz, so the period is one too, and its fixed point
    is the steady state. The echo k_c = N/2 gives the signal PD * |Mz| * sin(alpha) * exp(-TE/T2*).

    Args:
        protocol: times and flip angle.
        t1_ms, t2star_ms: relaxation times.
        pd: proton density, which is the magnetization at rest.

    Returns:
        Signal in units of proton density, at least 0.

    Raises:
        ValueError: the train of readouts does not fit into TI and TR.
    """
    tau, centre = protocol.echo_spacing_ms, protocol.readouts // 2
    before = protocol.ti_ms - centre * tau
    after = protocol.tr_ms - before - protocol.readouts * tau
    if before < 0 or after < 0:
        raise ValueError(
            f"{protocol.session}: {protocol.readouts} readouts of {tau:.2f} ms do not fit into "
            f"TI {protocol.ti_ms:g} and TR {protocol.tr_ms:g} ms"
        )
    cosine = float(np.cos(np.deg2rad(protocol.flip_deg)))
    sine = float(np.sin(np.deg2rad(protocol.flip_deg)))

    def train(state: tuple[float, float], readouts: int) -> tuple[float, float]:
        for _ in range(readouts):
            state = _recover((state[0] * cosine, state[1] * cosine), tau, t1_ms)
        return state

    # Mz as slope * Mz(0) + offset, in units of the magnetization at rest.
    at_centre = train(_recover((-1.0, 0.0), before, t1_ms), centre)
    slope, offset = _recover(train(at_centre, protocol.readouts - centre), after, t1_ms)
    steady = offset / (1 - slope)
    magnetization = at_centre[0] * steady + at_centre[1]
    return float(pd * abs(magnetization) * sine * np.exp(-protocol.te_ms / t2star_ms))


def _recover(state: tuple[float, float], time_ms: float, t1_ms: float) -> tuple[float, float]:
    kept = float(np.exp(-time_ms / t1_ms))
    return state[0] * kept, state[1] * kept + 1 - kept


def tissue_signal(protocol: Protocol, tissue: Tissue, t1_scale: float = 1.0) -> float:
    """Signal of a tissue with its T1 multiplied by `t1_scale`."""
    return mprage_signal(protocol, tissue.t1_ms * t1_scale, tissue.t2star_ms, tissue.pd)
