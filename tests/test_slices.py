import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harmbench.errors import TrainingError, VolumeError
from harmbench.slices import Window, round_up, training_slices
from harmbench.task import Pair
from harmbench.volume import Volume

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
MASKS = SHAPES.flatmap(lambda shape: arrays(np.bool_, shape))


def volume(data):
    return Volume(np.asarray(data, dtype=np.float32), np.eye(4))


def pair(source, target, subject="a"):
    return Pair(subject, "HC", volume(source), volume(target))


@settings(max_examples=150, deadline=None)
@given(
    mask=MASKS,
    axis=st.integers(0, 2),
    margin=st.integers(0, 3),
    multiple=st.sampled_from([1, 2, 4, 8]),
    at_least=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_a_window_around_a_mask_holds_all_of_it_and_the_way_back_is_exact(
    mask, axis, margin, multiple, at_least
):
    window = Window.around(mask, axis, margin=margin, multiple=multiple, at_least=at_least)
    data = mask * np.arange(1, mask.size + 1, dtype=np.float32).reshape(mask.shape)

    slices = window.cut(data)

    assert slices.shape == (mask.shape[axis], *window.size)
    assert all(side % multiple == 0 for side in window.size)
    assert all(side >= smallest for side, smallest in zip(window.size, at_least, strict=True))
    np.testing.assert_array_equal(window.paste(slices, mask.shape), data)


@settings(max_examples=150, deadline=None)
@given(
    shape=SHAPES,
    axis=st.integers(0, 2),
    start=st.tuples(st.integers(-12, 12), st.integers(-12, 12)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_any_window_gives_back_what_it_covers_and_zero_elsewhere(shape, axis, start, size):
    data = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    window = Window(axis, start, size)

    back = window.paste(window.cut(data), shape)

    covered = np.ones(shape, dtype=bool)
    others = [a for a in range(3) if a != axis]
    for other, first, extent in zip(others, start, size, strict=True):
        along = np.arange(shape[other])
        inside = (along >= first) & (along < first + extent)
        covered &= inside.reshape([-1 if a == other else 1 for a in range(3)])
    np.testing.assert_array_equal(back, np.where(covered, data, 0))


def test_a_window_is_centred_on_the_mask_and_padded_with_zeros():
    data = np.zeros((2, 4, 6), dtype=np.float32)
    data[:, 0, 2:4] = 1  # one row at the border, two columns

    window = Window.around(data > 0, axis=0, margin=1, multiple=4)

    assert window == Window(axis=0, start=(-1, 1), size=(4, 4))
    expected = np.zeros((4, 4))
    expected[1, 1:3] = 1
    np.testing.assert_array_equal(window.cut(data)[0], expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_run_along_the_chosen_axis(axis):
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    window = Window.around(np.ones_like(data, dtype=bool), axis)
    np.testing.assert_array_equal(window.cut(data)[1], data.take(1, axis))


def test_paste_refuses_slices_of_another_shape():
    with pytest.raises(VolumeError, match=r"\(2, 3, 3\), the window holds \(2, 4, 4\)"):
        Window(0, (0, 0), (4, 4)).paste(np.zeros((2, 3, 3)), (2, 4, 4))


@pytest.mark.parametrize(("axis", "size"), [(3, (4, 4)), (0, (0, 4))])
def test_impossible_windows_are_refused(axis, size):
    with pytest.raises(VolumeError):
        Window(axis, (0, 0), size)


@given(number=st.integers(0, 1000), multiple=st.integers(1, 64))
def test_round_up_gives_the_next_multiple(number, multiple):
    up = round_up(number, multiple)
    assert up % multiple == 0
    assert 0 <= up - number < multiple


def test_training_slices_are_the_brains_of_all_subjects_at_one_size():
    small, large = np.zeros((3, 8, 8)), np.zeros((4, 10, 6))
    small[1, 2:4, 3:6] = 0.25  # one slice, brain of 2 x 3
    large[1:3, 4:9, 1:5] = 0.5  # two slices, brain of 5 x 4
    pairs = [pair(small, 2 * small, "a"), pair(large, large / 2, "b")]

    slices = training_slices(pairs, axis=0, multiple=4, margin=1)

    assert len(slices) == 3
    assert slices.plane == (8, 8)  # 5 + 2 and 4 + 2, rounded up
    assert slices.source.dtype == slices.target.dtype == np.float32
    np.testing.assert_array_equal((slices.source > 0).sum(axis=(1, 2)), [6, 20, 20])
    np.testing.assert_array_equal(slices.source[0], slices.target[0] / 2)
    np.testing.assert_array_equal(slices.source[1:], slices.target[1:] * 2)


def test_training_slices_hold_voxels_that_only_the_target_has():
    source, target = np.zeros((2, 1, 6, 6))
    source[0, 1:3, 1:3] = 1
    target[0, 1:5, 1:5] = 1
    slices = training_slices([pair(source, target)], axis=0)
    assert slices.plane == (4, 4)
    assert slices.target.min() == 1


def test_without_cropping_whole_slices_are_kept():
    data = np.zeros((3, 5, 6))
    data[1, 2, 2] = 1
    slices = training_slices([pair(data, data)], axis=0, multiple=4, crop=False, skip_empty=False)
    assert slices.source.shape == (3, 8, 8)


def test_the_key_of_training_slices_depends_on_values_and_on_the_cut():
    data = np.ones((2, 4, 4))
    key = training_slices([pair(data, data)], axis=0).key
    assert training_slices([pair(data, data)], axis=0).key == key
    assert training_slices([pair(data, data / 2)], axis=0).key != key
    assert training_slices([pair(data, data)], axis=1).key != key


@pytest.mark.parametrize("pairs", [[], [pair(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)))]])
@pytest.mark.parametrize("skip_empty", [True, False])
def test_nothing_to_learn_from_is_an_error(pairs, skip_empty):
    with pytest.raises(TrainingError, match="nothing to learn from"):
        training_slices(pairs, axis=0, skip_empty=skip_empty)


def test_a_pair_on_two_grids_is_an_error():
    source, target = volume(np.ones((2, 4, 4))), volume(np.ones((2, 4, 5)))
    with pytest.raises(VolumeError, match="source of s1"):
        training_slices([Pair("s1", "HC", source, target)], axis=0)
