"""What is marked in image panels: bright regions and offset slices, and nothing in a good output."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import Circle

from harmbench.metrics.structure import stripe_index
from harmbench.pages.style import new_figure
from harmbench.pages.views import blank_panel, views
from harmbench.report.figures.artefacts import find_artefacts, mark_artefacts, slice_offsets
from harmbench.volume import Volume


@pytest.fixture
def reference() -> Volume:
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*(np.linspace(-1, 1, 32),) * 3, indexing="ij")
    inside = sum(part**2 for part in grid) < 0.8
    data = inside * (0.5 + 0.1 * rng.normal(size=inside.shape)).clip(0.05, 0.95)
    return Volume(data.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))


def test_a_good_output_has_no_marks(reference: Volume) -> None:
    noise = np.random.default_rng(1).normal(0, 0.02, reference.shape) * (reference.data > 0)
    output = reference.with_data((reference.data + noise).astype(np.float32))
    assert not find_artefacts(output, reference, 0)


def test_a_bright_region_is_circled_where_it_is(reference: Volume) -> None:
    data = reference.data.copy()
    data[12:18, 12:18, 12:20] = 1.0
    output = reference.with_data(data)
    found = find_artefacts(output, reference, 0)
    assert found.stripes == ()
    assert found.bright[12:18, 12:18, 12:20].mean() > 0.9
    assert found.bright.sum() == found.bright[12:18, 12:18, 12:20].sum()
    view = views(reference.data > 0, reference.spacing_mm)[2]
    panel = new_figure(3, 3).subplots()
    blank_panel(panel, view, view.size_mm[1], "black")
    mark_artefacts(panel, found, view, reference.spacing_mm)
    circles = [patch for patch in panel.patches if isinstance(patch, Circle)]
    assert len(circles) == 1
    middle = [2.0 * (15.0 - part.start) for part in view.window]
    assert circles[0].center == pytest.approx(middle, abs=1)


def test_a_bright_region_of_a_dark_output_is_found_too(reference: Volume) -> None:
    data = 0.9 * reference.data
    data[12:18, 12:18, 12:20] = 1.0
    found = find_artefacts(reference.with_data(data.astype(np.float32)), reference, 0)
    assert found.bright[12:18, 12:18, 12:20].mean() > 0.9
    assert found.bright.sum() == found.bright[12:18, 12:18, 12:20].sum()
    dark = reference.with_data(data.clip(0, 0.5).astype(np.float32))
    assert not find_artefacts(dark, reference, 0).bright.any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_offset_slice_is_pointed_at(reference: Volume, axis: int) -> None:
    data = np.moveaxis(reference.data.copy(), axis, 0)
    data[14] += 0.08 * (data[14] > 0)
    output = reference.with_data(np.ascontiguousarray(np.moveaxis(data, 0, axis)))
    found = find_artefacts(output, reference, axis)
    assert 14 in found.stripes
    for view in views(reference.data > 0, reference.spacing_mm):
        panel = new_figure(3, 3).subplots()
        blank_panel(panel, view, view.size_mm[1], "black")
        mark_artefacts(panel, found, view, reference.spacing_mm)
        looked_along = view.plane == ("sagittal", "coronal", "axial")[axis]
        assert bool(panel.texts) != looked_along


def test_offsets_are_those_of_the_metric(reference: Volume) -> None:
    output = reference.data**1.2
    brain = reference.data > 0
    offsets = slice_offsets(output - reference.data, brain, 1)
    inside = np.moveaxis(brain, 1, 0)
    shared = (inside[:-2] & inside[1:-1] & inside[2:]).sum(axis=(1, 2))
    mean = np.nansum(np.abs(offsets[1:-1]) * shared) / shared.sum()
    assert mean == pytest.approx(
        stripe_index(output, reference.data, brain, stacking_axis=1), rel=1e-5
    )
