"""What a training shows: its loss curve, previews, TensorBoard."""

import sys

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from small_network import stack
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from harmbench.errors import MethodError, TrainingError
from harmbench.training import (
    LossLog,
    Previews,
    Team,
)


def test_the_loss_curve_holds_means_since_the_row_before(tmp_path):
    path = tmp_path / "loss.csv"
    log = LossLog(path.parent, start=0, advice="")
    for step, loss in enumerate([1.0, 2.0, 6.0, 5.0], start=1):
        log.add(step, loss=torch.tensor(loss), simple=torch.tensor(2 * loss))
        if step in (3, 4):
            means = log.flush()
    assert means == {"loss": 5.0, "simple": 10.0}
    assert path.read_text() == "step,loss,simple\n3,3,6\n4,5,10\n"
    assert log.flush() == {}


def test_a_resumed_loss_curve_has_no_row_twice_and_no_half_row(tmp_path):
    path = tmp_path / "loss.csv"
    path.write_text("step,loss\n10,1\n20,2\n30,3\n40,")
    log = LossLog(path.parent, start=20, advice="")
    log.add(30, loss=torch.tensor(4.0))
    log.flush()
    assert path.read_text() == "step,loss\n10,1\n20,2\n30,4\n"


def test_a_fresh_run_starts_a_fresh_loss_curve(tmp_path):
    path = tmp_path / "loss.csv"
    path.write_text("step,loss\n10,1\n")
    LossLog(path.parent, start=0, advice="")
    assert path.read_text() == ""


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_its_step(bad):
    log = LossLog(None, start=0, advice="try a lower learning_rate")
    for step, loss in [(7, 1.0), (8, bad), (9, bad)]:
        log.add(step, loss=torch.tensor(1.0), vlb=torch.tensor(loss))
    with pytest.raises(TrainingError, match=r"at step 8; try a lower learning_rate"):
        log.flush()


def test_a_picture_shows_source_output_and_target(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    slices = stack(count=8)
    previews = Previews(tmp_path, slices, minutes=2, team=Team())
    assert not previews.due()
    now[0] = 120.0
    assert previews.due()
    path = previews.draw(7, np.zeros_like)
    assert not previews.due()
    assert path == tmp_path / "preview-0000007.png"
    assert path is not None
    picture = imread(path)[..., 0]
    assert picture.shape == (3 * 5, 4 * 4)
    shown = np.concatenate(list(slices.source[[1, 3, 5, 7]]), axis=1)
    white = slices.target[[1, 3, 5, 7]].max()
    np.testing.assert_allclose(picture[:5], np.clip(shown / white, 0, 1), atol=0.01)
    assert not picture[5:10].any()


def test_no_picture_without_a_folder_or_where_none_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    slices = stack()
    for folder, minutes in [(None, 1), (tmp_path, 0)]:
        previews = Previews(folder, slices, minutes, Team())
        assert not previews.due()
        assert previews.draw(1, lambda source: source) is None
    assert list(tmp_path.iterdir()) == []


def test_the_loss_curve_is_written_for_tensorboard(tmp_path):
    log = LossLog(tmp_path, start=0, advice="", tensorboard=True)
    for step, loss in [(1, 2.0), (2, 4.0)]:
        log.add(step, loss=torch.tensor(loss))
    log.flush()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(2, 3.0)]


def test_missing_tensorboard_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MethodError, match=r"pip install 'harmbench\[tensorboard\]'"):
        LossLog(tmp_path, start=0, advice="", tensorboard=True)
