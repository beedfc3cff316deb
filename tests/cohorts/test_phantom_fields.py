import numpy as np
import pytest

from harmbench.cohorts.phantom.fields import (
    Nodes,
    PhantomGrid,
    exponentiate,
    jacobian_determinants,
    node_grid,
    random_nodes,
)

BOX = PhantomGrid((20, 24, 28), 1.0, (-10.0, 3.0, 5.0))


def coordinates(grid):
    return np.stack(np.meshgrid(*(grid.axis(a) for a in range(3)), indexing="ij"))


def test_refined_voxels_average_to_the_coarse_ones():
    grid = PhantomGrid((4, 6, 8), 2.0, (1.0, -3.0, 5.0))
    fine = grid.refined(2)
    assert fine.shape == (8, 12, 16)
    for axis in range(3):
        assert fine.axis(axis).reshape(-1, 2).mean(1) == pytest.approx(grid.axis(axis))


def test_grid_around_is_centred():
    grid = PhantomGrid.around((1.0, 2.0, 3.0), (4, 6, 7), 1.5)
    assert [grid.axis(a).mean() for a in range(3)] == pytest.approx([1, 2, 3])
    assert grid.affine @ [1, 0, 0, 1] == pytest.approx([grid.axis(0)[1], *grid.start_mm[1:], 1])


def test_splines_reproduce_linear_functions():
    nodes = node_grid(BOX, 4.0)
    x, y, z = coordinates(nodes)
    values = (2 * x - y + 0.5 * z + 3).astype(np.float32)
    x, y, z = coordinates(BOX)
    assert Nodes(values, nodes).on(BOX) == pytest.approx(2 * x - y + 0.5 * z + 3, abs=1e-4)


def test_random_functions_have_unit_variance_and_are_smooth():
    box = PhantomGrid((60, 60, 60), 1.0, (0.0, 0.0, 0.0))
    values = random_nodes(np.random.default_rng(0), box, 3.0).on(box)
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, abs=0.05)
    # A B-spline's slope is bounded: neighbours 1 mm apart, a third of the nodes' distance, agree.
    neighbours = np.corrcoef(values[1:].ravel(), values[:-1].ravel())[0, 1]
    assert neighbours > 0.85


def test_random_functions_do_not_depend_on_where_they_are_evaluated():
    nodes = random_nodes(np.random.default_rng(1), BOX, 4.0, 6.0)
    whole = nodes.on(BOX)
    part = nodes.on(BOX.crop((3, 4, 5), (9, 10, 11)))
    assert np.array_equal(whole[3:9, 4:10, 5:11], part)


def test_constant_velocity_is_a_shift():
    velocity = np.full((3, 8, 8, 8), 5.0, dtype=np.float32)
    assert exponentiate(velocity, 2.0) == pytest.approx(np.full_like(velocity, 5.0), abs=1e-4)


def test_linear_velocity_grows_exponentially():
    grid = PhantomGrid((41, 9, 9), 1.0, (-20.0, -4.0, -4.0))
    velocity = np.zeros((3, *grid.shape), dtype=np.float32)
    velocity[0] = 0.1 * coordinates(grid)[0]
    found = exponentiate(velocity, 1.0)[0]
    # dx/dt = 0.1 x integrates to x * e^0.1; the ends leave the grid.
    expected = coordinates(grid)[0] * (np.exp(0.1) - 1)
    assert found[8:-8] == pytest.approx(expected[8:-8], abs=0.01)


def test_jacobian_of_a_linear_map_is_its_determinant():
    matrix = np.array([[1.2, 0.1, 0.0], [0.3, 0.9, 0.2], [0.0, -0.1, 1.1]])
    points = coordinates(BOX)
    displacement = np.tensordot(matrix - np.eye(3), points, 1).astype(np.float32)
    found = jacobian_determinants(displacement, 1.0)
    assert found == pytest.approx(np.full(BOX.shape, np.linalg.det(matrix)), abs=1e-4)


def test_jacobian_shows_folding():
    displacement = np.zeros((3, *BOX.shape), dtype=np.float32)
    displacement[0] = -1.5 * coordinates(BOX)[0]
    assert (jacobian_determinants(displacement, 1.0) < 0).all()
