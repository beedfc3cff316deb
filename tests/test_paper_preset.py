"""`configs/paper.yaml` against the published study.

Sources: *Durrer* is Durrer et al., MIDL 2023; *Dar* is Dar et al., IEEE TMI 2019, whose settings
Durrer's Appendix C takes over; *Dewey* is Dewey et al., MRI 2019, likewise; *Nichol* is Nichol &
Dhariwal, ICML 2021, to which Durrer's Sec. 3 refers for what it doesn't say; *Ho* is Ho et al.,
NeurIPS 2020; *code* is what the authors released, for what no text says.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from harmbench.cohorts.base import CLIP_PERCENTILES
from harmbench.cohorts.phantom.anatomy import field_of_view
from harmbench.cohorts.phantom.subjects import make_subjects
from harmbench.config import Experiment, load_experiment
from harmbench.discovery import load_method, make_settings
from harmbench.folds import make_folds
from harmbench.methods.deepharmony import DeepHarmony
from harmbench.methods.dm.network import Denoiser
from harmbench.methods.pgan.train import total_steps
from harmbench.slices import training_slices
from harmbench.task import Pair
from harmbench.volume import Volume

PRESET = Path(str(files("harmbench.configs"))) / "paper.yaml"
SLICES_PER_EPOCH = 30 * 160  # Durrer, Sec. 3: 160 sagittal slices of each of 30 scans

STUDY = {
    "data.direction": ("both", "Durrer, Sec. 2: 3T to 1.5T and 1.5T to 3T"),
    "data.phantom.subjects": (40, "Durrer, Sec. 3: 22 controls and 18 patients"),
    "data.phantom.spacing_mm": (1.0, "Durrer, Sec. 3: 1 x 1 x 1 mm"),
    "folds.k": (4, "Durrer, Sec. 3: four-fold cross-validation"),
    "folds.run": ("all", "Durrer, Sec. 4: averages over the four folds"),
    "seeds": ((0,), "Durrer, Sec. 3: two models per fold, one for each direction"),
    "scoring.stacking_axis": (0, "Durrer, Sec. 3: sagittal slices"),
}

METHODS: dict[str, dict[str, tuple[Any, str]]] = {
    "dm": {
        "precision": ("float32", "code: no mixed precision; Durrer says nothing of any"),
        "channels": (128, "Durrer, Sec. 3: 128 channels in the first layer"),
        "levels": (4, "Durrer, Sec. 3: 11,402,370 parameters"),
        "blocks_per_level": (2, "Durrer, Sec. 3: 11,402,370 parameters"),
        "norm_groups": (32, "code: GroupNorm with 32 groups"),
        "learned_variance": (True, "Durrer, Sec. 3: 11,402,370 parameters; Nichol, Sec. 3.1"),
        "zero_initialized": (True, "code: the official network of Dhariwal & Nichol"),
        "timesteps": (1000, "Durrer, Sec. 3: T is 1000"),
        "beta_start": (1e-4, "Ho, Sec. 4: linear from 1e-4"),
        "beta_end": (0.02, "Ho, Sec. 4: linear to 0.02"),
        "zero_terminal_snr": (False, "Ho, Sec. 4: the schedule as it is"),
        "prediction": ("epsilon", "Durrer, Eq. 5: the loss is on the noise"),
        "vlb_weight": (1e-3, "Nichol, Sec. 3.1: lambda is 0.001"),
        "min_snr_gamma": (None, "Durrer, Eq. 5: no weights"),
        "train_timesteps": ("all", "Durrer, Sec. 2: t from T to 1"),
        "iterations": (300_000, "Durrer, Sec. 3: 300,000 iterations"),
        "batch_size": (4, "Durrer, Sec. 3: a batch size of four"),
        "learning_rate": (1e-4, "Durrer, Sec. 3: 1e-4 for Adam"),
        "learning_rate_schedule": ("constant", "Durrer, Sec. 3: no schedule"),
        "ema_decay": (0.9999, "code"),
        "ema_warmup": (False, "code: none"),
        "use_ema": (False, "code: sampling loads the raw weights"),
        "axis": (0, "Durrer, Sec. 3: sagittal slices"),
        "crop": ("none", "Durrer, Sec. 3: slices of 224 x 224"),
        "skip_empty_slices": (False, "Durrer, Sec. 3: 160 slices of each scan"),
        "sampler": ("ddpm", "Durrer, Eq. 4"),
        "sampling_steps": (1000, "Durrer, Sec. 2: every step t from T to 1"),
        "clip_x0": (True, "code: the predicted image is clipped"),
        "n_samples": (1, "Durrer, Sec. 2: one sample per slice"),
    },
    "pgan": {
        "precision": ("float32", "code: no mixed precision; Dar says nothing of any"),
        "channels": (64, "code: ResNet generator, 11,365,633 parameters"),
        "blocks": (9, "code: nine residual blocks, 11,365,633 parameters"),
        "dropout": (0.5, "code: on in training"),
        "discriminator_channels": (64, "code: PatchGAN of 70 x 70"),
        "discriminator_layers": (3, "code: PatchGAN of 70 x 70"),
        "adversarial_weight": (1, "Dar"),
        "l1_weight": (100, "Durrer, App. C: cycle loss weight 100, which weighs L1"),
        "perceptual_weight": (100, "Durrer, App. C: perceptual loss weight 100"),
        "perceptual": ("vgg16", "Dar: VGG16"),
        "faithful": (False, "Durrer, App. C and Dar describe none of the released code's faults"),
        "epochs": (150, "Durrer, App. C: 150 with the normal learning rate"),
        "decay_epochs": (150, "Durrer, App. C: 150 with the rate decayed to zero"),
        "batch_size": (4, "Durrer, App. C: a batch size of four"),
        "learning_rate": (2e-4, "Dar"),
        "beta1": (0.5, "Dar"),
        "beta2": (0.999, "Dar"),
        "axis": (0, "Durrer, Sec. 3: sagittal slices"),
        "crop": ("none", "Durrer, App. C: slices of 256 x 256"),
        "plane": (256, "Durrer, App. C: slices of 256 x 256"),
        "skip_empty_slices": (False, "Durrer, App. C: the same folds, of all 160 slices"),
    },
    "deepharmony": {
        "precision": ("float32", "Dewey says nothing of mixed precision"),
        "channels": ((16, 32, 64, 128, 256), "Dewey, Fig. 2"),
        "align_wm_peak": (False, "Durrer, App. C: not mentioned; intensities from 0 to 1"),
        "recalibrate_batchnorm": (False, "Dewey: none"),
        "epochs": (300, "Durrer, App. C: 300 epochs"),
        "batch_size": (8, "Durrer, App. C: a batch size of eight"),
        "learning_rate": (1e-4, "Durrer, App. C: adjusted to 1e-4"),
        "learning_rate_schedule": ("constant", "Durrer, App. C: no schedule"),
        "orientations": ((0,), "Durrer, App. C: 2D sagittal slices"),
        "crop": ("none", "Durrer, App. C: slices of 256 x 256"),
        "at_least": (256, "Durrer, App. C: slices of 256 x 256"),
        "skip_empty_slices": (False, "Durrer, App. C: the same folds, of all 160 slices"),
    },
}

FREE = {"name"}
"""Values of the preset that no result depends on."""


@pytest.fixture(scope="module")
def preset() -> Experiment:
    return load_experiment(PRESET)


def resolved(preset: Experiment, label: str) -> Any:
    uses, values = preset.all_methods()[label]
    return make_settings(load_method(uses), values, label)


@pytest.mark.parametrize("name", STUDY)
def test_the_study_is_the_paper_s(preset: Experiment, name: str) -> None:
    value: Any = preset
    for part in name.split("."):
        value = getattr(value, part)
    expected, source = STUDY[name]
    assert value == expected, source


@pytest.mark.parametrize(("label", "name"), [(m, n) for m in METHODS for n in METHODS[m]])
def test_settings_of_methods_are_published_ones(preset: Experiment, label: str, name: str) -> None:
    expected, source = METHODS[label][name]
    assert getattr(resolved(preset, label), name) == expected, source


def test_the_methods_are_those_of_the_paper_and_all_their_values_are_checked() -> None:
    values = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    methods = values.pop("methods")
    assert set(methods) == set(METHODS)
    for label, settings in methods.items():
        # Written out: a default that changes must not change the preset.
        assert set(settings) == set(METHODS[label])
    assert set(_leaves(values)) - FREE <= set(STUDY)


def _leaves(values: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        found += _leaves(value, f"{path}{name}.") if isinstance(value, dict) else [path + name]
    return found


def test_subjects_folds_and_volumes(preset: Experiment) -> None:
    groups = {s.label: s.group for s in make_subjects(0)[: preset.data.phantom.subjects]}
    assert sorted(groups.values()) == ["HC"] * 22 + ["MS"] * 18
    folds = make_folds(groups, preset.folds.k or 0)
    for fold in range(4):
        assert (len(folds.train(fold)), len(folds.test(fold))) == (30, 10)
        assert {groups[subject] for subject in folds.test(fold)} == {"HC", "MS"}
    assert field_of_view(preset.data.phantom.spacing_mm).shape == (160, 224, 224)
    assert CLIP_PERCENTILES == (0.1, 99.9)  # Durrer, Sec. 3: top and bottom 0.1 percentile


def test_steps_are_epochs_of_4800_slices(preset: Experiment) -> None:
    assert resolved(preset, "dm").iterations * 4 == 250 * SLICES_PER_EPOCH
    harmony = DeepHarmony(resolved(preset, "deepharmony"))
    assert harmony.training_steps(SLICES_PER_EPOCH) == 300 * 600
    assert total_steps(resolved(preset, "pgan"), SLICES_PER_EPOCH) == 300 * 1200


@pytest.mark.parametrize(("label", "plane"), [("dm", 224), ("pgan", 256), ("deepharmony", 256)])
def test_networks_see_all_slices_whole(preset: Experiment, label: str, plane: int) -> None:
    """Of a volume with a small brain: every slice, 224 x 224 or padded to 256 x 256."""
    settings = resolved(preset, label)
    data = np.zeros((3, 224, 224), np.float32)
    data[1, 100:110, 90:120] = 0.5
    volume = Volume(data, np.eye(4))
    at_least = getattr(settings, "at_least", (1, 1))
    slices = training_slices(
        [Pair("a", "HC", volume, volume)],
        axis=0,
        multiple=settings.multiple,
        crop=settings.crop == "auto",
        skip_empty=settings.skip_empty_slices,
        at_least=(at_least, at_least) if isinstance(at_least, int) else at_least,
    )
    assert len(slices) == 3
    assert slices.plane == (plane, plane)


@pytest.mark.parametrize(
    ("label", "parameters"),
    [
        ("dm", {"network": 11_402_370}),
        ("pgan", {"generator": 11_365_633, "discriminator": 2_763_713}),
        ("deepharmony", {"network": 1_831_650}),
    ],
)
def test_networks_have_the_published_size(
    preset: Experiment, label: str, parameters: dict[str, int]
) -> None:
    method = load_method(label)(resolved(preset, label))
    assert method.parameter_counts() == parameters


def test_blocks_of_the_diffusion_network_end_in_zeros(preset: Experiment) -> None:
    small = {"channels": 4, "norm_groups": 2}
    network = Denoiser(resolved(preset, "dm").model_copy(update=small))
    zero = {
        name.removesuffix(".weight")
        for name, value in network.named_parameters()
        if name.endswith("weight") and not value.any()
    }
    ends = {name for name, _ in network.named_modules() if name.endswith(("conv2", "to_out.0"))}
    assert zero == ends | {"unet.conv_out"}
    assert len(ends) == 4 * 2 + 4 * 3 + 2 + 1  # down, up and middle blocks, attention
    slices = torch.rand(1, 1, 16, 16)
    answer, position = network(slices, slices, torch.tensor([5]))
    assert position is not None
    assert not answer.any()
    assert not position.any()
