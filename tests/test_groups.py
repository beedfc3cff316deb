"""Tests that share a slow fixture run in one process of pytest-xdist."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="tests run in one process")
def test_xdist_sees_the_groups_of_slow_fixtures(request: pytest.FixtureRequest, head: None) -> None:
    # It tells groups by the ends of names, which pytest 9.2 and pytest-xdist 3.8 do not agree on.
    assert request.node.nodeid.endswith("@head")


@pytest.fixture
def head() -> None:
    """Stand for a slow fixture, by its name."""
