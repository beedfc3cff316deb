"""What holds for every learned method, on one small simulated pair and with its quick settings."""

import copy

import numpy as np
import pytest

from harmbench.discovery import load_method, make_settings
from harmbench.errors import MethodError, TrainingError
from harmbench.task import Pair, Task
from harmbench.volume import Volume

SETTINGS = {
    "deepharmony": {"batch_size": 4, "align_wm_peak": False},
    "dm": {"batch_size": 4},
    "flow": {"batch_size": 4},
    "pgan": {"batch_size": 4},
    "unet": {"batch_size": 4},
    "unet3d": {"batch_size": 4},
}


@pytest.fixture(params=sorted(SETTINGS))
def make(request):
    """Return the function from settings to an unfitted method."""
    kind = load_method(request.param)

    def with_settings(**settings):
        values = {**kind.quick_settings, **SETTINGS[request.param], **settings}
        return kind(make_settings(kind, values, request.param))

    return with_settings


@pytest.fixture
def trained(make, make_pair, task):
    method = make()
    method.fit([make_pair()], task())
    return method


def test_an_empty_volume_stays_empty(trained, task):
    source = Volume(np.zeros((3, 8, 8), dtype=np.float32), np.eye(4))
    assert not trained.harmonize(source, task()).data.any()


def test_a_method_survives_saving(tmp_path, trained, make_pair, task):
    source = make_pair().source
    trained.save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"model.json", "model.safetensors"}
    before = trained.harmonize(source, task())
    loaded = type(trained).load(tmp_path)
    assert loaded.config == trained.config
    after = loaded.harmonize(source, task())
    np.testing.assert_array_equal(after.data, before.data)
    assert after.history == before.history


def test_what_was_not_saved_by_the_method_is_refused(tmp_path, trained):
    kind = type(trained)
    with pytest.raises(MethodError, match=r"model\.json: no such file"):
        kind.load(tmp_path)
    trained.save(tmp_path)
    unknown = '{"settings": {"channels": "many"}, "plane": [8, 8], "planes": {}, "features": ""}'
    for text in ("", "[]", "{}", '{"settings": {}}', unknown):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(
            MethodError, match=r"not the settings of a saved (deep|dm|flow|pgan|unet)"
        ):
            kind.load(tmp_path)


def test_a_method_that_was_not_fitted_says_so(tmp_path, make, make_pair, task):
    method = make()
    with pytest.raises(MethodError, match="was not fitted"):
        method.harmonize(make_pair().source, task())
    with pytest.raises(MethodError, match="was not fitted"):
        method.save(tmp_path)


@pytest.mark.parametrize("change", ["seed", "data", "settings"])
def test_a_checkpoint_of_another_training_is_not_used(
    tmp_path, make, make_pair, task, weights, change
):
    make().fit([make_pair()], task(tmp_path))
    pair = make_pair(shape=(9, 18, 20)) if change == "data" else make_pair()
    settings = {"learning_rate": 2e-3} if change == "settings" else {}
    seed = 1 if change == "seed" else 0
    resumed, fresh = make(**settings), make(**settings)
    resumed.fit([pair], task(tmp_path, seed))
    fresh.fit([pair], task(None, seed))
    assert weights(resumed, tmp_path / "a") == weights(fresh, tmp_path / "b")


@pytest.mark.parametrize("part", ["source", "target"])
def test_a_loss_that_is_not_finite_stops_training_and_leaves_no_checkpoint(
    tmp_path, make, make_pair, task, part
):
    volumes = {"source": make_pair().source, "target": make_pair().target}
    data = copy.deepcopy(volumes[part].data)
    data[6] = np.nan
    volumes[part] = Volume(data, volumes[part].affine)
    with pytest.raises(TrainingError, match=r"not finite at step \d; try a lower learning_rate"):
        make(batch_size=16).fit([Pair("a", "HC", **volumes)], task(tmp_path))
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_pairs_are_loaded_once(make, make_pair, task):
    class Lazy:
        loaded = 0

        def __len__(self):
            return 2

        def __getitem__(self, index):
            if index >= 2:
                raise IndexError(index)
            self.loaded += 1
            return make_pair(subject=str(index))

    pairs = Lazy()
    make().fit(pairs, task())
    assert pairs.loaded == 2


def test_an_unknown_device_is_refused_before_anything_is_loaded(make, task):
    class Untouched:
        def __iter__(self):
            raise AssertionError("pairs were loaded")

    elsewhere = Task(task().direction, device="tpu")
    with pytest.raises(MethodError, match="unknown device 'tpu'"):
        make().fit(Untouched(), elsewhere)


def test_every_setting_is_described(make):
    config = make().config
    assert all(field.description for field in type(config).model_fields.values())
