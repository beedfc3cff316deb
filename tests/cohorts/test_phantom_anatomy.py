import numpy as np
import pytest

from harmbench.cohorts.phantom.anatomy import field_of_view, make_anatomy
from harmbench.cohorts.phantom.atlas import load_atlas
from harmbench.cohorts.phantom.fields import PhantomGrid
from harmbench.cohorts.phantom.lesions import lesion_map
from harmbench.cohorts.phantom.subjects import make_subjects
from harmbench.cohorts.phantom.warp import CENTRE_MM

SPACING_MM = 4.0


@pytest.fixture(scope="module")
def anatomies():
    subjects = make_subjects(0)
    return [make_anatomy(s, load_atlas(), field_of_view(SPACING_MM)) for s in subjects[:2]]


def millilitres(share, spacing_mm=SPACING_MM):
    return float(share.sum(dtype=np.float64)) * spacing_mm**3 / 1000


@pytest.mark.parametrize(
    ("spacing_mm", "shape"),
    [(1.0, (160, 224, 224)), (2.0, (80, 112, 112)), (4.0, (40, 56, 56)), (1.5, (108, 150, 150))],
)
def test_field_of_view(spacing_mm, shape):
    grid = field_of_view(spacing_mm)
    assert grid.shape == shape
    centre = [grid.axis(a).mean() for a in range(3)]
    assert centre == pytest.approx(CENTRE_MM)


def test_shares_fill_every_voxel(anatomies):
    for anatomy in anatomies:
        stack = np.stack(list(anatomy.fractions.values()))
        assert stack.min() >= 0
        assert stack.max() <= 1 + 1e-6
        assert stack.sum(0) == pytest.approx(np.ones(anatomy.grid.shape), abs=1e-5)
        assert sum(anatomy.tissues.values()) == pytest.approx(np.ones(anatomy.grid.shape), abs=1e-5)


def test_volumes_are_those_of_adults(anatomies):
    for anatomy in anatomies:
        brain = anatomy.brain
        total = millilitres(brain)
        assert 1100 < total < 1700
        share = {name: millilitres(s * brain) / total for name, s in anatomy.tissues.items()}
        assert 0.10 < share["CSF"] < 0.25
        assert 0.40 < share["GM"] < 0.56
        assert 0.28 < share["WM"] < 0.42
        assert 25 < millilitres(anatomy.fractions["DGM"]) < 80


def test_brain_lies_inside_the_field_of_view(anatomies):
    for anatomy in anatomies:
        for axis in range(3):
            ends = np.take(anatomy.brain, [0, -1], axis=axis)
            assert not ends.any()


def test_warp_does_not_fold(anatomies):
    assert all(anatomy.smallest_jacobian > 0 for anatomy in anatomies)


def test_only_patients_have_lesions(anatomies):
    control, patient = anatomies
    assert control.fractions["LESION"].max() == 0
    assert 1 <= millilitres(patient.fractions["LESION"]) <= 30
    where = patient.fractions["LESION"] > 0.3
    assert (patient.labels[where] == 3).mean() > 0.8


def test_subjects_differ_in_folding(anatomies):
    one, two = anatomies
    shape = np.minimum(one.grid.shape, two.grid.shape)
    box = tuple(slice(n) for n in shape)
    a, b = one.labels[box] == 2, two.labels[box] == 2
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) < 0.85


def test_anatomy_is_the_same_at_every_voxel_size(anatomies):
    subject = make_subjects(0)[1]
    fine = make_anatomy(subject, load_atlas(), field_of_view(3.0))
    coarse = anatomies[1]
    for name, share in coarse.tissues.items():
        expected = millilitres(fine.tissues[name] * fine.brain, 3.0)
        assert millilitres(share * coarse.brain) == pytest.approx(expected, rel=0.06)
    lesions = millilitres(fine.fractions["LESION"], 3.0)
    assert millilitres(coarse.fractions["LESION"]) == pytest.approx(lesions, rel=0.1)
    means = [
        np.array([(a.grid.axis(k) * a.brain.mean(tuple({0, 1, 2} - {k}))).mean() for k in range(3)])
        / a.brain.mean()
        for a in (fine, coarse)
    ]
    assert means[0] == pytest.approx(means[1], abs=0.5)


def test_anatomy_does_not_depend_on_the_grid_around_it(anatomies):
    subject = make_subjects(0)[0]
    larger = PhantomGrid.around(CENTRE_MM, (46, 60, 60), SPACING_MM)
    again = make_anatomy(subject, load_atlas(), larger)
    assert np.array_equal(again.labels, anatomies[0].labels)


def test_lesion_map_reaches_its_load():
    atlas = load_atlas()
    found = lesion_map(np.random.default_rng(0), atlas, 12.0)
    assert 0 <= found.min() <= found.max() <= 1
    assert (found * (atlas.wm > 0.5)).sum() / 1000 == pytest.approx(12, rel=0.1)
    near = atlas.ventricle_distance < 12
    assert 0.4 < found[near].sum() / found.sum() < 0.98
    assert not lesion_map(np.random.default_rng(0), atlas, 0.0).any()
