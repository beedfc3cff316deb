"""The picture of a subject: what is in it, at which scale, and that nothing overlaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from PIL import Image

from harmbench.pages.style import Illustration, style, write_figure
from harmbench.pages.views import View
from harmbench.preparation.qc.figure import SQUARE_MM, checkerboard, qc_figure
from harmbench.preparation.qc.histograms import share_curve

MakeSubject = Callable[..., Any]


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


def draw(subject: Any) -> Illustration:
    return qc_figure("s1", subject.scans, subject.prepared, subject.reference)


def headers(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def images(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.images]


def boards(figure: Figure) -> list[Axes]:
    return [axes for axes in images(figure) if np.asarray(axes.images[0].get_array()).ndim == 3]


def histograms(figure: Figure) -> tuple[Axes, Axes]:
    before, after = (axes for axes in figure.axes if axes.lines)
    return before, after


def outlines(axes: Axes) -> list[QuadContourSet]:
    return [part for part in axes.collections if isinstance(part, QuadContourSet)]


def test_a_pair_shows_masks_checkerboards_and_histograms(make_subject: MakeSubject) -> None:
    shown = draw(make_subject("3T", "1p5T"))
    assert headers(shown.figure) == [
        "Brain mask: session 3T (reference)",
        "Brain mask: session 1p5T",
        "Before registration: session 3T (grey), 1p5T (tinted)",
        "After registration: session 3T (grey), 1p5T (tinted)",
    ]
    assert len(images(shown.figure)) == 12
    assert len(boards(shown.figure)) == 6
    assert sum(len(outlines(axes)) for axes in images(shown.figure)) == 6
    before, after = histograms(shown.figure)
    assert len(before.lines) == len(after.lines) == 2
    assert [text.get_text() for text in after.get_legend().get_texts()] == ["3T", "1p5T"]
    assert shown.name == "qc-s1"
    assert "Reference session 3T." in shown.caption
    assert "checkerboards" in shown.alt


def test_letters_say_where_left_is(make_subject: MakeSubject) -> None:
    figure = draw(make_subject("3T", "1p5T")).figure
    letters = [[text.get_text() for text in axes.texts] for axes in images(figure)[:3]]
    assert letters == [["P", "A"], ["L", "R"], ["L", "R"]]
    assert [[t.get_text() for t in axes.texts] for axes in boards(figure)[:3]] == letters


def test_all_images_have_one_scale_in_mm(make_subject: MakeSubject) -> None:
    # The second session has slices twice as thick: its voxels are not square, its head is round.
    figure = draw(make_subject("3T", "1p5T")).figure
    figure.canvas.draw()
    scales = []
    for axes in images(figure):
        box = axes.get_window_extent()
        scales += [box.width / np.ptp(axes.get_xlim()), box.height / np.ptp(axes.get_ylim())]
    assert np.ptp(scales) < 0.01 * np.mean(scales)
    for axes in images(figure)[3:6:2]:
        shown = axes.images[0]
        rows, columns = shown.get_array().shape[:2]
        left, right, low, high = shown.get_extent()
        thick = axes is images(figure)[3]
        assert (right - left) / columns == pytest.approx(5)
        assert (high - low) / rows == pytest.approx(10 if thick else 5)


def test_outlines_follow_the_mask(make_subject: MakeSubject) -> None:
    subject = make_subject("3T")
    axial = images(draw(subject).figure)[2]
    (outline,) = outlines(axial)
    points = np.concatenate([path.vertices for path in outline.get_paths()])
    brain = subject.scans["3T"].brain
    widest = brain.any(axis=(1, 2)).sum() * 5
    assert widest - 20 <= np.ptp(points[:, 0]) <= widest
    assert points[:, 0].mean() == pytest.approx(np.mean(axial.get_xlim()), abs=2.5)


def test_registration_shows_in_the_checkerboards(make_subject: MakeSubject) -> None:
    figure = draw(make_subject("3T", "1p5T")).figure
    before, after = (np.asarray(boards(figure)[place].images[0].get_array()) for place in (2, 5))
    assert np.abs(before - after).max() > 0.3


def test_without_registration_there_is_one_checkerboard(make_subject: MakeSubject) -> None:
    figure = draw(make_subject("3T", "1p5T", registered="none")).figure
    assert headers(figure)[2:] == ["Not registered: session 3T (grey), 1p5T (tinted)"]
    assert len(boards(figure)) == 3


def test_every_other_session_has_its_rows(make_subject: MakeSubject) -> None:
    figure = draw(make_subject("a", "b", "c")).figure
    assert len(headers(figure)) == 3 + 4
    assert [text for text in headers(figure) if text.endswith("c (tinted)")] == [
        "Before registration: session a (grey), c (tinted)",
        "After registration: session a (grey), c (tinted)",
    ]
    assert len(histograms(figure)[1].lines) == 3


def test_long_names_stay_different(make_subject: MakeSubject) -> None:
    figure = draw(make_subject("scanner-20240101", "scanner-20240102")).figure
    assert headers(figure)[:2] == [
        "Brain mask: session scann…40101 (reference)",
        "Brain mask: session scann…40102",
    ]


def test_one_session_has_no_checkerboard(make_subject: MakeSubject) -> None:
    shown = draw(make_subject("only"))
    assert headers(shown.figure) == ["Brain mask: session only (reference)"]
    assert len(images(shown.figure)) == 3
    assert len(shown.figure.axes) == 5
    assert "checkerboards" not in shown.alt


def test_histograms_count_the_brain(make_subject: MakeSubject) -> None:
    subject = make_subject("3T", "1p5T")
    _, after = histograms(draw(subject).figure)
    prepared = subject.prepared["3T"]
    inner = 100 * np.mean(prepared.volume.data[prepared.brain] > 0.7)
    x, y = (np.asarray(part) for part in after.lines[0].get_data())
    assert 0 < inner < 100
    # Percent per hundredth of the range, in bins of a thousandth.
    assert np.sum(y[x > 0.7]) / 10 == pytest.approx(inner, rel=1e-6)
    assert after.get_xlim() == (0, 1)
    assert len({line.get_color() for line in after.lines}) == 2
    assert len({line.get_linestyle() for line in after.lines}) == 2


def test_intensities_that_were_not_scaled_have_their_own_axis(make_subject: MakeSubject) -> None:
    _, after = histograms(draw(make_subject("3T", "1p5T", scaled=False)).figure)
    assert after.get_xlim() == pytest.approx((350, 560))
    assert "not scaled" in after.get_xlabel()


def test_whole_numbers_make_no_comb() -> None:
    # 151 storable values, as often each: in 100 equal bins some would hold two and some one.
    _, share = share_curve(np.repeat(np.arange(151.0), 10), 0.0, 150.0)
    middle = share[100:-100]
    assert np.ptp(middle) < 0.05 * middle.mean()
    # A 151st part of all values in each 150th part of the range.
    assert middle.mean() == pytest.approx(100 / 151 * 1.5, rel=0.01)
    assert share.mean() * 100 == pytest.approx(100), "all values are in the curve"


def test_a_checkerboard_by_hand() -> None:
    # Voxels of 10 mm: squares of two by two.
    view = View("axial", 0, (slice(0, 4), slice(0, 4)), (40.0, 40.0))
    mixed = checkerboard(np.full((4, 4), 0.5), np.full((4, 4), 1.5), view)
    assert SQUARE_MM == 20
    grey = (mixed == 0.5).all(axis=-1)
    assert np.array_equal(grey, np.kron([[1, 0], [0, 1]], np.ones((2, 2))).astype(bool))
    red, green, blue = mixed[0, 2]
    assert red == 1
    assert 1 > green > blue > 0


@pytest.mark.parametrize(
    "sessions", [("only",), ("3T", "1p5T"), ("20190312-base-3T-long", "b", "20240101-follow-up")]
)
def test_texts_lie_inside_and_nothing_overlaps(
    make_subject: MakeSubject, sessions: tuple[str, ...]
) -> None:
    figure = draw(make_subject(*sessions)).figure
    figure.canvas.draw()
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    for axes in histograms(figure):
        texts += [
            axes.xaxis.label,
            axes.yaxis.label,
            getattr(axes, "_left_title"),  # noqa: B009 - matplotlib has no public name for it
            *axes.get_xticklabels(),
        ]
        texts += axes.get_yticklabels()[:-1]
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t.get_text()]
    assert len(boxes) > 15
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
    panels = [("panel", axes.get_window_extent()) for axes in figure.axes]
    for group in (boxes, panels):
        for (one, a), (other, b) in combinations(group, 2):
            wide, tall = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert wide <= 1 or tall <= 1, (one, other)


def test_files_are_narrow_and_the_same_on_every_run(
    make_subject: MakeSubject, tmp_path: Path
) -> None:
    contents = []
    for folder in ("one", "two"):
        paths = write_figure(draw(make_subject("3T", "1p5T")), tmp_path / folder)
        assert [path.suffix for path in paths] == [".png", ".pdf"]
        contents.append([path.read_bytes() for path in paths])
        with Image.open(paths[0]) as image:
            assert image.width <= 1500
    assert contents[0] == contents[1]
