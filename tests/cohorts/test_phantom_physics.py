from dataclasses import replace

import numpy as np
import pytest

from harmbench.cohorts.phantom.physics import PROTOCOLS, TISSUES, mprage_signal, tissue_signal


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ("1.5T", {"GM": 0.71, "DGM": 0.77, "CSF": 0.29, "LESION": 0.87}),
        ("3T", {"GM": 0.54, "DGM": 0.66, "CSF": 0.19, "LESION": 0.76}),
    ],
)
def test_contrast_of_mean_tissues_is_that_of_the_specification(session, expected):
    signals = {name: tissue_signal(PROTOCOLS[session], t) for name, t in TISSUES[session].items()}
    relative = {name: signals[name] / signals["WM"] for name in expected}
    assert relative == pytest.approx(expected, abs=0.01)


def test_contrast_is_higher_at_3_tesla():
    def difference(session):
        grey, white = (tissue_signal(PROTOCOLS[session], TISSUES[session][n]) for n in ("GM", "WM"))
        return (white - grey) / white

    assert difference("3T") > difference("1.5T") + 0.1


@pytest.mark.parametrize("t1_ms", [300.0, 900.0, 4000.0])
def test_small_flip_angles_leave_plain_inversion_recovery(t1_ms):
    protocol = replace(PROTOCOLS["3T"], flip_deg=1e-3)
    signal = mprage_signal(protocol, t1_ms, t2star_ms=1e12, pd=1.0)
    # Mz before each inversion is (1 - E) / (1 + E) with E = exp(-TR/T1); it recovers for TI.
    steady = (1 - np.exp(-2300 / t1_ms)) / (1 + np.exp(-2300 / t1_ms))
    expected = abs(1 - (1 + steady) * np.exp(-900 / t1_ms)) * np.sin(np.deg2rad(1e-3))
    assert signal == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("session", ["1.5T", "3T"])
def test_fixed_point_is_where_a_simulation_in_time_ends(session):
    protocol, t1 = PROTOCOLS[session], 1400.0
    tau = protocol.echo_spacing_ms
    cosine = np.cos(np.deg2rad(protocol.flip_deg))
    before = protocol.ti_ms - protocol.readouts // 2 * tau
    after = protocol.tr_ms - before - protocol.readouts * tau

    def recover(m, time):
        return 1 + (m - 1) * np.exp(-time / t1)

    magnetization = 1.0
    for _ in range(40):
        magnetization = recover(-magnetization, before)
        for echo in range(protocol.readouts):
            if echo == protocol.readouts // 2:
                centre = magnetization
            magnetization = recover(magnetization * cosine, tau)
        magnetization = recover(magnetization, after)
    expected = abs(centre) * np.sin(np.deg2rad(protocol.flip_deg))
    assert mprage_signal(protocol, t1, 1e12, 1.0) == pytest.approx(expected, rel=1e-9)


def test_signal_follows_proton_density_and_decays_with_echo_time():
    protocol = PROTOCOLS["1.5T"]
    one = mprage_signal(protocol, 1000, 50, 0.4)
    assert mprage_signal(protocol, 1000, 50, 0.8) == pytest.approx(2 * one)
    late = replace(protocol, te_ms=protocol.te_ms + 50)
    assert mprage_signal(late, 1000, 50, 0.4) == pytest.approx(one / np.e)


def test_train_that_does_not_fit_is_refused():
    protocol = replace(PROTOCOLS["3T"], readouts=400)
    with pytest.raises(ValueError, match=r"400 readouts of 7\.10 ms do not fit into TI 900"):
        mprage_signal(protocol, 1000, 50, 1.0)


def test_protocols_are_those_of_the_paper():
    one, three = PROTOCOLS["1.5T"], PROTOCOLS["3T"]
    assert (one.tr_ms, one.ti_ms, one.te_ms, one.flip_deg, one.bandwidth_hz) == (
        2080,
        1100,
        3.1,
        15,
        130,
    )
    assert (three.tr_ms, three.ti_ms, three.te_ms, three.flip_deg, three.bandwidth_hz) == (
        2300,
        900,
        2.94,
        9,
        240,
    )
    assert not one.distortion_corrected
    assert three.distortion_corrected
    assert 7 <= three.echo_spacing_ms <= one.echo_spacing_ms <= 9
