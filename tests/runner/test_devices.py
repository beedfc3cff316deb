"""Several GPUs of one machine: which cells see which."""

from __future__ import annotations

import os

import pytest
import torch
from rich.console import Console

from harmbench.config import Experiment
from harmbench.errors import ConfigError, UnavailableError
from harmbench.progress import Display
from harmbench.runner.executor import make_executor, on_devices


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def _experiment(*devices: str, **settings: object) -> Experiment:
    values = {"devices": devices, "controls": (), "scoring": {"segmenter": "hmrf"}, **settings}
    return Experiment.model_validate(values)


def _see(item: int, progress) -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.parametrize(
    ("visible", "seen"), [(None, {"1", "0"}), ("", {"1", "0"}), ("GPU-a,GPU-b", {"GPU-b", "GPU-a"})]
)
def test_each_device_has_cells_that_see_no_other(
    two_gpus, tmp_path, monkeypatch, visible: str | None, seen: set[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    experiment = on_devices(_experiment("cuda:1", "cuda:0"))
    assert (experiment.device, experiment.jobs) == ("cuda", 2)
    monkeypatch.setattr("harmbench.runner.executor.warm_up", print)
    with Display("test", 2, Console(quiet=True)) as display:
        found = dict(
            make_executor(experiment, tmp_path).run(_see, range(2), display, kin=lambda n: n)
        )
    assert set(found.values()) == seen


def test_devices_that_cannot_be_used(two_gpus, call) -> None:
    with pytest.raises(UnavailableError, match="no cuda:2 here: 2 GPUs are found"):
        on_devices(_experiment("cuda:0", "cuda:2"))
    with pytest.raises(ConfigError, match="for executor local"):
        on_devices(_experiment("cuda:0", executor="slurm"))
    for devices, words in (("cuda:0,cuda:0", "named twice"), ("cpu", "devices")):
        code, _, err = call("run", "--method", "identity", "--devices", devices)
        assert (code, words in err) == (2, True), err
    assert on_devices(_experiment()) == _experiment()
