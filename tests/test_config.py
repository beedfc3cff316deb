from importlib.resources import files
from pathlib import Path

import pytest

from harmbench.cohorts.data import read_cohort
from harmbench.config import (
    Experiment,
    experiment_text,
    load_experiment,
    load_preparation,
    parse_overrides,
    select_methods,
)
from harmbench.discovery import load_method, make_settings
from harmbench.errors import CohortError, ConfigError, MethodError
from harmbench.plugins import Reference

CONFIGS = sorted(Path(str(files("harmbench.configs"))).glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path: Path) -> None:
    experiment = load_experiment(path)
    assert set(experiment.all_methods()) > set(experiment.controls)
    for label, (uses, settings) in experiment.all_methods().items():
        make_settings(load_method(uses), settings, label)


def test_there_are_shipped_configurations() -> None:
    assert {"demo", "paper"} <= {path.stem for path in CONFIGS}


def test_file_then_overrides_then_flags(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("folds: {k: 5, seed: 3}\nmethods: {dm: {iterations: 10}}\njobs: 2\n")
    experiment = load_experiment(
        path, ["folds.seed=4", "methods.dm.batch_size=2", "jobs=3"], {"jobs": 7}
    )
    assert (experiment.folds.k, experiment.folds.seed, experiment.jobs) == (5, 4, 7)
    assert experiment.methods == {"dm": {"iterations": 10, "batch_size": 2}}


def test_unknown_keys_show_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("fold: {k: 5}\nscoring: {segmentor: fast}\ndata: {phantom: {subject: 3}}\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    text = str(caught.value)
    assert "fold: unknown setting; did you mean 'folds'?" in text
    assert "scoring.segmentor: unknown setting; did you mean 'segmenter'?" in text
    assert "data.phantom.subject: unknown setting; did you mean 'subjects'?" in text


def test_bad_values_name_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"folds\.k: .*greater than or equal to 2.*got 1"):
        load_experiment(overrides=["folds.k=1"])
    with pytest.raises(ConfigError, match=r"data\.phantom\.subjects: .*got 41"):
        load_experiment(overrides=["data.phantom.subjects=41"])


def test_bad_method_settings_show_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"methods\.hm\.landmark: unknown.*'landmarks'"):
        make_settings(load_method("histogram_matching"), {"landmark": 3}, "hm")


def test_overrides_are_yaml() -> None:
    assert parse_overrides(["a.b=1e-3", "c=[1, 2]", "d=null", "e=x=y"]) == {
        "a.b": "1e-3",
        "c": [1, 2],
        "d": None,
        "e": "x=y",
    }
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        parse_overrides(["a.b"])
    with pytest.raises(ConfigError, match="not YAML"):
        parse_overrides(["a=[1"])


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_experiment(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_experiment(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_experiment(tmp_path / "bad.yaml")


@pytest.mark.parametrize(("encoding", "line"), [("latin-1", 2), ("utf-16", 1)])
def test_a_configuration_in_another_encoding(tmp_path: Path, encoding: str, line: int) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes("name: a\n# Größe\n".encode(encoding))
    with pytest.raises(ConfigError, match=f"c.yaml: line {line} is not UTF-8 .* save the file as"):
        load_experiment(path)


def test_the_home_folder_in_paths_of_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / "c.yaml"
    path.write_text("data: {path: ~/a.csv}\nfolds: {file: ~no-such-user/f.tsv}\n")
    found = load_experiment(path)
    assert found.data.path == Path("/home/me/a.csv")
    assert found.folds.file == tmp_path / "~no-such-user/f.tsv"
    path.write_text("data: {path: $HOME/a.csv}\n")
    with pytest.raises(CohortError, match=r"such as .HOME are not replaced"):
        read_cohort(load_experiment(path).data)


def test_data_path_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("data: {path: scans.csv}\n")
    assert load_experiment(tmp_path / "a.yaml").data.path == tmp_path / "scans.csv"


def test_written_settings_read_back_the_same(tmp_path: Path) -> None:
    experiment = load_experiment(overrides=["methods.dm.iterations=3", "seeds=[1, 2]"])
    (tmp_path / "a.yaml").write_text(experiment_text(experiment))
    assert load_experiment(tmp_path / "a.yaml") == experiment


def test_controls_come_first_and_labels_may_differ_from_methods() -> None:
    experiment = Experiment(methods={"dm_small": {"uses": "dm", "iterations": 5}})
    assert experiment.all_methods() == {
        "identity": (Reference("identity"), {}),
        "histogram_matching": (Reference("histogram_matching"), {}),
        "dm_small": (Reference("dm"), {"iterations": 5}),
    }


def test_selecting_methods() -> None:
    experiment = Experiment(methods={"dm": {"iterations": 5}, "dm2": {"uses": "dm"}})
    assert select_methods(experiment, ["dm"]).methods == {"dm": {"iterations": 5}}
    assert select_methods(experiment, []).methods == experiment.methods
    assert select_methods(experiment, ["all"]).methods == experiment.methods
    assert set(select_methods(Experiment(), ["all"]).methods) >= {"identity", "dm"}
    chosen = select_methods(experiment, ["x/my.py:Mine"])
    assert chosen.methods == {"Mine": {"uses": f"{Path('x/my.py').resolve()}:Mine"}}
    with pytest.raises(MethodError, match="unknown method 'dn'; did you mean 'dm"):
        select_methods(experiment, ["dn"])
    with pytest.raises(ConfigError, match="no method to run"):
        select_methods(Experiment(controls=()), [])


def test_settings_of_methods_that_are_left_out_are_checked_too() -> None:
    experiment = load_experiment(overrides=["methods.dm.iteration=3"])
    with pytest.raises(ConfigError, match=r"methods\.dm\.iteration: unknown.*'iterations'"):
        select_methods(experiment, ["identity"])
    with pytest.raises(MethodError, match="unknown method 'dmm'; did you mean 'dm'"):
        select_methods(load_experiment(overrides=["methods.dmm.levels=3"]), ["identity"])


@pytest.mark.parametrize("label", ["007", "1e3", "NA", "no", "1_2", "12:30", "2020-01-01", "0x1"])
def test_labels_stay_text(label: str, tmp_path: Path) -> None:
    experiment = load_experiment(None, [f"data.source={label}", f"data.bids.entities.acq={label}"])
    assert experiment.data.source == label
    assert experiment.data.bids.entities == {"acq": label}
    (tmp_path / "c.yaml").write_text(experiment_text(experiment))
    assert load_experiment(tmp_path / "c.yaml") == experiment


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", "1"), ("null", None), ("'null'", "null"), ("1.5", "1.5"), ("", None), ("01", "01")],
)
def test_entities_are_read_from_numbers_and_null(text: str, value: str | None) -> None:
    experiment = load_experiment(None, [f"data.bids.entities.acq={text}"])
    assert experiment.data.bids.entities == {"acq": value}


def test_numbers_stay_numbers() -> None:
    experiment = load_experiment(None, ["folds.k=3", "data.phantom.spacing_mm=1.5e0", "jobs=02"])
    assert (experiment.folds.k, experiment.jobs) == (3, 2)
    assert experiment.data.phantom.spacing_mm == 1.5


def test_preparation_has_the_data_options_of_a_run(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("spacing_mm: 2\ndata:\n  path: raw\n  bids: {run: 5F, entities: {rec: norm}}\n")
    made = load_preparation(file, ["data.bids.acquisition=high"], {"data.bids.session_by": "acq"})
    assert made.settings.spacing_mm == 2
    assert made.data.path == tmp_path / "raw"
    assert made.data.bids.run == "5F"
    assert made.data.bids.wanted() == {"acq": "high", "rec": "norm"}
    assert made.data.bids.session_by == "acq"
    for name in ("source", "target", "direction", "rescale"):
        with pytest.raises(ConfigError, match=f"data.{name}: not for a preparation"):
            load_preparation(None, [f"data.{name}=x"])
    with pytest.raises(
        ConfigError, match=r"data\.bids\.acquisitoin: unknown setting; did you mean"
    ):
        load_preparation(None, ["data.bids.acquisitoin=x"])
    with pytest.raises(ConfigError, match="data: expected a mapping"):
        load_preparation(None, ["data=x"])
