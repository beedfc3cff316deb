"""One check of every segmenter's labels, and the spike in intensities that spoils them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harmbench.errors import ImplausibleLabelsError, SegmenterError, UnsegmentableError
from harmbench.segmentation import make_segmenter
from harmbench.segmentation.base import check_segmentable
from harmbench.segmentation.checked import segment, segment_batch
from harmbench.segmentation.plausible import check_plausible, has_repeated_value
from harmbench.volume import Volume, read

GOLDEN = Path(__file__).parents[2].parent / "shared" / "reference" / "fast"
MEANS = {"CSF": 0.25, "GM": 0.55, "WM": 0.85}


def brain(csf: float, gm: float, wm: float, spread: float = 0.05, side: int = 40):
    """Shells of WM, GM and CSF with these shares, and noise; returns intensities and labels."""
    axes = np.meshgrid(*(np.linspace(-1, 1, side),) * 3, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    inside = radius < 0.95
    edges = np.quantile(radius[inside], [wm, wm + gm])
    labels = np.where(inside, 3 - np.digitize(radius, edges), 0).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, spread, labels.shape)
    means = np.array([0, *MEANS.values()])
    data = np.where(inside, np.clip(means[labels] + noise, 0.01, 1), 0)
    return data.astype(np.float32), labels


USUAL = brain(0.18, 0.45, 0.37)


@pytest.mark.parametrize(
    "shares",
    [
        pytest.param((0.18, 0.45, 0.37), id="adult"),
        pytest.param((0.45, 0.30, 0.25), id="severe atrophy"),
        pytest.param((0.70, 0.16, 0.14), id="hydrocephalus"),
        pytest.param((0.01, 0.62, 0.37), id="child in a tight mask"),
        pytest.param((0.05, 0.78, 0.17), id="infant"),
    ],
)
def test_unusual_brains_pass(shares: tuple[float, float, float]) -> None:
    data, labels = brain(*shares)
    check_plausible(labels, data)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_coarse_volumes_pass(factor: int) -> None:
    data, _ = brain(0.18, 0.45, 0.37, side=40 * factor // 2)
    side = data.shape[0] // factor * factor
    blocks = data[:side, :side, :side].reshape(
        *[n for _ in "xyz" for n in (side // factor, factor)]
    )
    coarse = Volume(blocks.mean(axis=(1, 3, 5)), np.diag([factor, factor, factor, 1.0]))
    labels = segment(make_segmenter("hmrf"), coarse)
    assert set(np.unique(labels.data)) == {0, 1, 2, 3}


def test_lesions_and_low_contrast_pass() -> None:
    data, labels = brain(0.18, 0.45, 0.37, spread=0.16)
    check_plausible(labels, data)
    # Lesions in white matter are as dark as grey matter, and may be labelled either way.
    data, labels = brain(0.18, 0.45, 0.37)
    dark = (labels == 3) & (np.indices(labels.shape)[0] < 17)
    check_plausible(labels, np.where(dark, data - 0.3, data))


def _relabel(old: int, new: int) -> NDArray[np.uint8]:
    return np.where(USUAL[1] == old, new, USUAL[1]).astype(np.uint8)


def _spiked(tissue: int, share: float) -> NDArray[np.float32]:
    data = USUAL[0].copy()
    places = np.flatnonzero(USUAL[1] == tissue)
    data.flat[places[: int(share * places.size)]] = np.median(data[USUAL[1] == tissue])
    return data


@pytest.mark.parametrize(
    ("labels", "data", "message"),
    [
        (USUAL[1] * 0 + (USUAL[1] > 0), USUAL[0], "CSF has 100.0% of the brain, expected"),
        (_relabel(1, 2), USUAL[0], "CSF has 0.0% of the brain"),
        (_relabel(2, 1), USUAL[0], "GM has 0.0% of the brain"),
        (_relabel(3, 2), USUAL[0], "(GM|WM) has .* of the brain"),
        (_relabel(3, 0) * (np.indices(USUAL[1].shape)[0] < 15), USUAL[0], "of the brain has a label"),
        (np.where(np.indices(USUAL[1].shape)[1] < 20, USUAL[1], 0), USUAL[0], "brain has a label"),
        (np.roll(USUAL[1], 2, axis=1), USUAL[0], "of the labels lie outside the brain"),
        (np.where(USUAL[1] == 0, 3, USUAL[1]), USUAL[0], "of the labels lie outside the brain"),
        (USUAL[1] * 0, USUAL[0], "only 0.0% of the brain has a label"),
        (USUAL[1], _spiked(3, 0.6), "60% of the WM is the single value 0.8.*a spike"),
        (USUAL[1], _spiked(1, 0.9), "90% of the CSF is the single value"),
        (USUAL[1], _spiked(2, 1.0), "100% of the GM is the single value"),
        (np.choose(USUAL[1], [0, 1, 3, 2]).astype(np.uint8), USUAL[0], "WM is not brighter than GM"),
        (np.choose(USUAL[1], [0, 3, 2, 1]).astype(np.uint8), USUAL[0], "GM is not brighter than CSF"),
    ],
)  # fmt: skip
def test_degenerate_labels_do_not(labels, data, message: str) -> None:
    with pytest.raises(ImplausibleLabelsError, match=message):
        check_plausible(labels.astype(np.uint8), data)


def test_a_class_on_both_sides_of_another_does_not() -> None:
    # What a mixture with two near means and unlike variances gives: GM is the two tails of CSF.
    data, labels = USUAL
    grey = labels == 2
    middle = grey & (abs(data - 0.55) < 0.03)
    tails = np.where(middle, 1, np.where((labels == 1) | grey, 2, labels)).astype(np.uint8)
    with pytest.raises(ImplausibleLabelsError, match="GM is not brighter than CSF"):
        check_plausible(tails, data)


@pytest.mark.parametrize("value", [0.1, 0.5, 1.0])
def test_hmrf_on_a_spike_is_told(value: float) -> None:
    data, labels = USUAL
    spiked = data.copy()
    places = np.flatnonzero(labels > 0)
    spiked.flat[places[: int(0.3 * places.size)]] = value
    with pytest.raises(UnsegmentableError):
        segment(make_segmenter("hmrf"), Volume(spiked, np.eye(4)))


def test_the_order_follows_the_contrast() -> None:
    data, labels = USUAL
    inverted = np.where(labels > 0, 1.1 - data, 0).astype(np.float32)
    check_plausible(labels, inverted, "T2w")
    with pytest.raises(ImplausibleLabelsError, match="as it is in T1w"):
        check_plausible(labels, inverted, "T1w")


@pytest.mark.parametrize("name", ["hmrf", "atropos"])
def test_t2w_is_segmented_in_its_own_order(name: str) -> None:
    data, labels = USUAL
    inverted = np.where(labels > 0, 1.1 - data, 0).astype(np.float32)
    found = segment(make_segmenter(name, contrast="T2w"), Volume(inverted, np.eye(4)))
    assert (found.data == labels)[labels > 0].mean() > 0.99


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="FAST's label maps are not on this machine")
@pytest.mark.parametrize("case", ["ms07", "simulated"])
def test_labels_of_fast_on_real_and_simulated_scans_pass(case: str) -> None:
    data = read(GOLDEN / f"{case}_T1w.nii.gz").data
    check_plausible(read(GOLDEN / f"{case}_seg.nii.gz", kind="label").data, data)
    assert not has_repeated_value(data)


class _Odd:
    """A third-party segmenter that does what a test wants."""

    name, version = "odd", "1"

    def __init__(self, answer) -> None:
        self.answer = answer

    def segment(self, volume: Volume):
        return self.answer(volume)

    def segment_batch(self, volumes):
        return [self.answer(volume) for volume in volumes]


def _raise(error: Exception):
    raise error


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda v: v.data, "returned ndarray"),
        (lambda v: v, "expected a Volume of labels"),
        (lambda v: Volume(v.data[1:] > 0.1, v.affine, "label"), "another grid"),
        (lambda v: v.with_data(np.full(v.shape, 7), kind="label"), "label 7; allowed: 0 to 3"),
        (lambda _: _raise(MemoryError("no memory")), "MemoryError: no memory"),
        (lambda _: _raise(RuntimeError("CUDA error")), "RuntimeError: CUDA error"),
    ],
)
def test_whatever_a_segmenter_does_wrong_is_its_own_failure(answer, message: str) -> None:
    volume = Volume(USUAL[0], np.eye(4))
    with pytest.raises(SegmenterError, match=message):
        segment(_Odd(answer), volume)
    empty = Volume(USUAL[0] * 0, np.eye(4))
    first, second = segment_batch(_Odd(answer), [empty, volume])
    assert first.failure is not None
    assert second.failure is not None
    assert (first.failure.lasting, second.failure.lasting) == (True, False)


def test_a_batch_of_another_length_is_a_failure() -> None:
    odd = _Odd(None)
    odd.segment_batch = lambda _: []  # type: ignore[method-assign]  # a segmenter that is wrong
    (found,) = segment_batch(odd, [Volume(USUAL[0], np.eye(4))])
    assert found.failure is not None
    assert found.failure.reason == "odd: 0 segmentations of 1 volumes"
    assert segment_batch(odd, []) == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_told_as_what_it_is(axis: int) -> None:
    slice_ = np.take(USUAL[0], [20], axis=axis)
    with pytest.raises(UnsegmentableError, match="the brain is a single slice"):
        check_segmentable(Volume(slice_, np.eye(4)))
    alone = np.zeros_like(USUAL[0])
    alone[(slice(None),) * axis + (20,)] = slice_.squeeze(axis)
    with pytest.raises(UnsegmentableError, match="the brain is a single slice"):
        check_segmentable(Volume(alone, np.eye(4)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d, False),
        (lambda d: np.minimum(d, np.quantile(d[d > 0], 0.9)), True),
        (lambda d: np.where(d > 0, np.maximum(d, np.quantile(d[d > 0], 0.1)), 0), True),
        (lambda d: np.where(np.indices(d.shape)[0] < 12, (d > 0) * np.float32(0.5), d), True),
        (lambda d: np.minimum(d, np.quantile(d[d > 0], 0.99)), False),
        (lambda d: np.round(d * 255) / 255, False),
        (lambda d: np.ceil(d * 32) / 32, False),
        (lambda d: np.ceil(d * 12) / 12, False),
        (lambda d: d * 0, False),
    ],
)
def test_a_repeated_value_is_found_and_few_grey_levels_are_not(change, expected: bool) -> None:
    assert has_repeated_value(change(USUAL[0]).astype(np.float32)) is expected
