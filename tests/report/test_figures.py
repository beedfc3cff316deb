"""Figures: which slices and numbers they show, that they are repeatable, and that labels fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from harmbench.metrics.histogram import BINS
from harmbench.metrics.suite import METRICS
from harmbench.pages.style import method_colours, style, write_figure
from harmbench.pages.views import take_slice, views
from harmbench.report.evidence import Evidence
from harmbench.report.figures.agreement import agreement_plot
from harmbench.report.figures.curves import POINTS, loss_curves, training_plot
from harmbench.report.figures.panels import TISSUE_COLOURS, segmentation_panels, slice_panels
from harmbench.report.figures.plots import histogram_plot, subject_plot
from harmbench.report.figures.selection import all_figures, example_subjects
from harmbench.report.loading import load_evidence
from harmbench.report.volumes import reference_volumes
from harmbench.results import read_results, write_results
from harmbench.segmentation.base import TISSUES
from harmbench.task import Direction

MakeRun = Callable[..., Path]
FORTH = Direction("3T", "1.5T")


@pytest.fixture(scope="module")
def evidence(finished_run: Path) -> Evidence:
    return load_evidence([finished_run], METRICS)


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


def test_slices_lie_in_the_brain_and_are_cropped_to_it() -> None:
    brain = np.zeros((100, 120, 90), dtype=bool)
    brain[20:71, 30:101, 10:61] = True
    sagittal, coronal, axial = views(brain, (1.0, 1.0, 2.0))
    # 38 %, 45 % and 55 % of the way through indices 20-70, 30-100 and 10-60.
    assert [view.index for view in (sagittal, coronal, axial)] == [39, 62, 38]
    # 6 mm of margin: 6 voxels along x and y, 3 along z.
    assert sagittal.window == (slice(24, 107), slice(7, 64))
    assert coronal.window == (slice(14, 77), slice(7, 64))
    assert axial.window == (slice(14, 77), slice(24, 107))
    assert coronal.size_mm == (63, 114)


def test_a_slice_is_the_one_that_its_view_names() -> None:
    data = np.arange(8 * 9 * 10).reshape(8, 9, 10)
    sagittal, coronal, axial = views(np.ones(data.shape), (1, 1, 1))
    assert np.array_equal(take_slice(data, sagittal), data[sagittal.index].T)
    assert np.array_equal(take_slice(data, coronal), data[:, coronal.index].T)
    assert np.array_equal(take_slice(data, axial), data[:, :, axial.index].T)


def test_an_empty_mask_shows_the_whole_volume() -> None:
    assert views(np.zeros((5, 6, 7)), (1, 1, 1))[2].window == (slice(0, 5), slice(0, 6))


def test_left_is_left_and_up_is_up() -> None:
    data = np.zeros((8, 9, 10))
    data[0] = 1  # the subject's left
    data[:, :, -1] += 2  # the top
    data[:, -1] += 4  # the front
    sagittal, coronal, axial = (
        take_slice(data, view) for view in views(np.ones(data.shape), (1, 1, 1))
    )
    assert coronal.shape == (10, 8)
    assert (coronal[:-1, 0] == 1).all()
    assert (coronal[-1, 1:] == 2).all()
    assert (axial[:-1, 0] == 1).all()
    assert (axial[-1, 1:] == 4).all()
    assert (sagittal[:-1, -1] == 4).all()
    assert [view.letters for view in views(np.ones((3, 3, 3)), (1, 1, 1))] == [
        ("P", "A"),
        ("L", "R"),
        ("L", "R"),
    ]


def test_panels_show_every_volume_and_its_difference(evidence: Evidence) -> None:
    shown = slice_panels(evidence, FORTH, "s0")
    assert shown is not None
    panels = [axes for axes in shown.figure.axes if axes.images]
    # Reference: 3 images; original, pGAN and DM: 3 images and 3 differences; 2 colour bars.
    assert len([a for a in panels if a.images[0].get_cmap().name == "gray"]) == 12
    differences = [a.images[0] for a in panels if a.images[0].get_cmap().name == "RdBu_r"]
    assert len(differences) == 9
    limits = {image.get_clim() for image in differences}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high
    reference, original = evidence.scan("s0", "1.5T"), evidence.scan("s0", "3T")
    assert reference is not None
    assert original is not None
    view = views(reference.data > 0, reference.spacing_mm)[0]
    expected = take_slice(original.data - reference.data, view)
    assert np.allclose(np.asarray(differences[0].get_array()), expected)


def test_a_failed_method_keeps_its_row(evidence: Evidence) -> None:
    shown = slice_panels(evidence, FORTH, "s2")
    assert shown is not None
    assert "failed" in {text.get_text() for axes in shown.figure.axes for text in axes.texts}
    labelled = segmentation_panels(evidence, FORTH, "s2")
    assert labelled is not None
    assert "pGAN" in {axes.get_ylabel() for axes in labelled.figure.axes}


def test_without_volumes_there_are_no_images_but_plots(make_run: MakeRun) -> None:
    evidence = load_evidence([make_run(volumes=False)], METRICS)
    assert slice_panels(evidence, FORTH, "s1") is None
    assert segmentation_panels(evidence, FORTH, "s1") is None
    assert histogram_plot(evidence, FORTH, [("HC", "s1")]) is None
    sections = {figure.section for figure in all_figures(evidence)}
    assert sections == {"subjects", "agreement"}


def test_one_example_per_group(evidence: Evidence) -> None:
    examples = dict(example_subjects(evidence))
    assert set(examples) == {"HC", "MS"}
    assert evidence.lead in examples.values()
    assert all(examples[group] in evidence.groups[group] for group in examples)


def test_histograms_count_the_brain(evidence: Evidence) -> None:
    plot = histogram_plot(evidence, FORTH, [("HC", "s0")])
    assert plot is not None
    reference = evidence.scan("s0", "1.5T")
    assert reference is not None
    line = plot.figure.axes[0].lines[0]
    assert len(np.asarray(line.get_ydata())) == BINS == 255
    assert np.sum(line.get_ydata()) * 1000 == pytest.approx((reference.data > 0).sum())


def test_reference_volumes_follow_from_any_method(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    known = reference_volumes(load_evidence([run], METRICS))
    frame = read_results(run / "results.csv")
    write_results(frame[frame["method"] != "target"], run / "results.csv")
    derived = reference_volumes(load_evidence([run], METRICS))
    assert len(known) == 2 * 3 * 4
    np.testing.assert_allclose(derived["value"], known["value"], rtol=1e-6)


def test_agreement_shows_one_point_per_measured_subject(evidence: Evidence) -> None:
    plot = agreement_plot(evidence, FORTH)
    assert plot is not None
    points = [
        sum(len(np.asarray(part.get_offsets())) for part in a.collections) for a in plot.figure.axes
    ]
    assert points == [8] * 3 + [6] * 3 + [8] * 3  # original, pGAN (one fold failed), DM


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts of a figure whose boxes overlap by more than a pixel."""
    figure.canvas.draw()
    found = []
    for axes in figure.axes:
        if axes.axison:
            low, high = sorted(axes.get_ylim())
            ticks = axes.get_yticklabels()
            found += [label for label in ticks if low <= label.get_position()[1] <= high]
            found += [axes.yaxis.label, axes.title, axes.xaxis.label]
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in found
        if text.get_text() and text.get_visible()
    ]
    return [
        (one, other)
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


@pytest.mark.parametrize("count", [3, 8])
def test_labels_do_not_overlap(make_run: MakeRun, count: int) -> None:
    names = [f"a method with a long title {number}" for number in range(count - 1)]
    gammas = {"identity": 1.0, **{name: 0.6 + 0.02 * i for i, name in enumerate(names)}}
    run = make_run(subjects=("s1", "s2"), gammas=gammas, volumes=False)
    evidence = load_evidence([run], METRICS)
    plots = [
        subject_plot(evidence, "x", "X", [("mse", ""), *(("dice", tissue) for tissue in TISSUES)]),
        agreement_plot(evidence, FORTH),
    ]
    for plot in plots:
        assert plot is not None
        assert overlapping(plot.figure) == []


def test_eight_methods_have_eight_colours() -> None:
    colours = method_colours(["identity", *(f"m{i}" for i in range(8)), "target"])
    assert len(set(colours.values())) == 10
    assert list(TISSUE_COLOURS) == list(TISSUES)


def test_metrics_that_were_not_measured_make_no_plot(evidence: Evidence) -> None:
    assert subject_plot(evidence, "x", "X", [("psnr", "")]) is None


def write_curve(folder: Path, steps: int, scale: float = 1.0, name: str = "loss") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"{step},{scale * 100 / step},1" for step in range(1, steps + 1)]
    (folder / "loss.csv").write_text("\n".join([f"step,{name},other", *rows]) + "\n")


def cells_of(run: Path, method: str) -> list[Path]:
    return sorted(run.glob(f"cells/{method}/3T-to-1.5T/fold-*/seed-0"))


def test_training_curves_are_means_over_folds(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    for scale, cell in zip((1.0, 3.0), cells_of(run, "dm"), strict=True):
        write_curve(cell / "training", 2 * POINTS, scale)
    plot = training_plot(load_evidence([run], METRICS))
    assert plot is not None
    (panel,) = plot.figure.axes
    assert (panel.get_title(), panel.get_ylabel()) == ("DM", "Loss")
    steps, losses = map(np.asarray, panel.lines[0].get_data())
    # Two steps a point, two folds with the factors 1 and 3.
    assert list(steps) == pytest.approx(list(range(2, 2 * POINTS + 1, 2)))
    assert list(losses[:2]) == pytest.approx([2 * (100 + 50) / 2, 2 * (100 / 3 + 100 / 4) / 2])
    assert panel.get_yscale() == "log"


def test_each_network_and_each_method_has_its_curves(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    write_curve(cells_of(run, "dm")[0] / "training" / "sagittal", 7)
    write_curve(cells_of(run, "dm")[0] / "training" / "axial", 5)
    write_curve(cells_of(run, "pgan")[0] / "training", 1, name="generator")
    evidence = load_evidence([run], METRICS)
    curves = loss_curves(evidence, "dm")
    assert sorted(curves.groupby("curve").size()) == [5, 7]
    plot = training_plot(evidence)
    assert plot is not None
    assert [axes.get_ylabel() for axes in plot.figure.axes] == ["Loss (generator)", "Loss"]
    assert plot.figure.axes[0].lines[0].get_marker() == "o"  # a single point is seen
    assert overlapping(plot.figure) == []


@pytest.mark.parametrize(
    "text", ["", "step,loss\n", "step\n1\n", "step,loss\n1,much\n", '"', "step,loss\n0,1\n"]
)
def test_damaged_loss_curves_are_left_out(make_run: MakeRun, text: str) -> None:
    run = make_run(volumes=False)
    folder = cells_of(run, "dm")[0] / "training"
    folder.mkdir(parents=True)
    (folder / "loss.csv").write_text(text)
    assert training_plot(load_evidence([run], METRICS)) is None


def test_files_are_the_same_on_every_run(evidence: Evidence, tmp_path: Path) -> None:
    contents = []
    for folder in ("one", "two"):
        plot = subject_plot(evidence, "figure-x", "X", [("mse", "")])
        assert plot is not None
        paths = write_figure(plot, tmp_path / folder)
        assert [path.name for path in paths] == [
            "figure-x.png",
            "figure-x.pdf",
            "figure-x.svg",
        ]
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]


def test_a_stamp_has_a_strip_of_its_own(evidence: Evidence, tmp_path: Path) -> None:
    for name, stamp in (("plain", ""), ("stamped", "Simulated scans")):
        plot = subject_plot(evidence, "figure-x", "X", [("mse", "")])
        assert plot is not None
        write_figure(plot, tmp_path / name, stamp)
    plain, stamped = (
        np.asarray(Image.open(tmp_path / name / "figure-x.png").convert("L")).astype(int)
        for name in ("plain", "stamped")
    )
    rows = len(stamped) - len(plain)
    assert rows > 20
    assert np.abs(stamped[:-rows] - plain).mean() < 3, "the figure itself is the same"
    strip = stamped[-rows:]
    assert strip.min() < 128, "there is small print"
    assert (strip[[0, -1]] == 255).all(), "with white above and below it"
    assert "Simulated scans" not in (tmp_path / "plain" / "figure-x.svg").read_text()


def test_reports_need_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, harmbench.report\n"
        "print([name for name in ('torch', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
