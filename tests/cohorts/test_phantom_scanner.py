from dataclasses import replace

import numpy as np
import pytest

from harmbench.cohorts.phantom.anatomy import Anatomy
from harmbench.cohorts.phantom.fields import PhantomGrid
from harmbench.cohorts.phantom.physics import CLASSES, PROTOCOLS, TISSUES, tissue_signal
from harmbench.cohorts.phantom.scanner import (
    SCANNERS,
    contrast,
    draw_tissues,
    gradient_distortion,
    log_bias,
    prepared_scan,
    rician,
)

GRID = PhantomGrid((24, 24, 24), 1.0, (-12.0, -12.0, -12.0))
PERFECT = replace(
    SCANNERS["3T"], snr=1e6, blur_voxels=0.0, bias_sd=0.0, registration_mm=0.0, distortion_mm=0.0
)


def uniform(**shares):
    fractions = {name: np.zeros(GRID.shape, np.float32) for name in (*CLASSES, "BLOOD")}
    for name, share in shares.items():
        fractions[name][:] = share
    nothing = np.zeros(GRID.shape, np.float32)
    return Anatomy(GRID, (0, 0, 0), fractions, nothing, nothing + 1, 1.0)


def test_contrast_adds_the_signals_of_a_mixed_voxel():
    protocol, tissues = PROTOCOLS["3T"], TISSUES["3T"]
    grey = tissue_signal(protocol, tissues["GM"]) / tissue_signal(protocol, tissues["WM"])
    image = contrast(uniform(GM=0.25, WM=0.75), protocol, tissues)
    assert image == pytest.approx(np.full(GRID.shape, 0.25 * grey + 0.75), rel=1e-5)


def test_contrast_follows_deviations_of_t1():
    protocol, tissues = PROTOCOLS["1.5T"], TISSUES["1.5T"]
    anatomy = replace(uniform(WM=1.0), t1_deviation=np.full(GRID.shape, 0.05, np.float32))
    white = tissue_signal(protocol, tissues["WM"])
    expected = tissue_signal(protocol, tissues["WM"], 1.05) / white
    assert contrast(anatomy, protocol, tissues).mean() == pytest.approx(expected, abs=2e-3)
    assert expected < 0.98


def test_a_person_has_the_same_deviations_on_both_scanners():
    one, three = (draw_tissues(np.random.default_rng(3), session) for session in ("1.5T", "3T"))
    for name in CLASSES:
        means = TISSUES["1.5T"][name], TISSUES["3T"][name]
        deviations = [
            (drawn[name].t1_ms - mean.t1_ms) / mean.t1_sd_ms
            for drawn, mean in zip((one, three), means, strict=True)
        ]
        assert deviations[0] == pytest.approx(deviations[1])
        assert abs(deviations[0]) <= 1.7 + 1e-9


def test_noise_is_rician():
    generator = np.random.default_rng(0)
    shape = (60, 60, 60)
    # Rayleigh where there is no signal: mean sd * sqrt(pi / 2).
    empty = rician(generator, np.zeros(shape, np.float32), 0.1)
    assert empty.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)
    # Nearly Gaussian where there is much: mean sqrt(A^2 + sd^2) to second order.
    bright = rician(generator, np.ones(shape, np.float32), 0.1)
    assert bright.std() == pytest.approx(0.1, rel=0.01)
    assert bright.mean() == pytest.approx(np.sqrt(1 + 0.1**2), rel=0.002)


def test_signal_to_noise_goes_with_field_strength():
    assert SCANNERS["3T"].snr / SCANNERS["1.5T"].snr == pytest.approx(3 / 1.5)


def test_perfect_scanner_sees_the_image_where_it_is():
    x, y, z = np.meshgrid(*(GRID.axis(a) for a in range(3)), indexing="ij")
    image = (0.5 + 0.01 * x - 0.005 * y + 0.002 * z).astype(np.float32)
    seen, mask = prepared_scan(np.random.default_rng(0), uniform(WM=1.0), image, PERFECT)
    # Off-grid sampling and linear resampling leave a linear function as it is, away from the ends.
    inner = (slice(6, -6),) * 3
    assert seen[inner] == pytest.approx(image[inner], abs=1e-3)
    assert mask.all()


def test_scanner_blurs_and_resampling_correlates_noise():
    flat = np.ones(GRID.shape, np.float32)
    noisy, _ = prepared_scan(
        np.random.default_rng(0), uniform(WM=1.0), flat, replace(PERFECT, snr=20)
    )
    noise = noisy[3:-3, 3:-3, 3:-3] - 1
    assert 0.2 < noise.std() * 20 < 1
    neighbours = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
    assert neighbours > 0.1


def test_distortion_grows_with_the_cube_of_distance():
    points = np.array([[100.0, 50.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    found = gradient_distortion(points, 2.0)
    assert found[0] == pytest.approx([2.0, 0.25, 0.0])
    assert not found[1:].any()


def test_distortion_is_left_at_1_5_tesla_only():
    for session, protocol in PROTOCOLS.items():
        assert protocol.distortion_corrected == (SCANNERS[session].distortion_mm == 0)


def test_receive_field_is_larger_at_3_tesla_and_new_in_every_session():
    box = PhantomGrid((150, 180, 150), 1.0, (-75.0, -90.0, -75.0))
    fields = {
        name: log_bias(np.random.default_rng(0), box, scanner).values
        for name, scanner in SCANNERS.items()
    }
    assert fields["1.5T"].std() == pytest.approx(0.05, rel=0.01)
    assert fields["3T"].std() == pytest.approx(0.10, rel=0.01)
    other = log_bias(np.random.default_rng(1), box, SCANNERS["3T"]).values
    assert abs(np.corrcoef(other.ravel(), fields["3T"].ravel())[0, 1]) < 0.9
