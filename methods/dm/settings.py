"""Settings of the diffusion model (Durrer et al. 2023, Sec. 3); `configs/paper.yaml` has the paper's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from harmbench.storage import key_of
from harmbench.training import TrainingSettings

__all__ = ["DiffusionSettings", "Prediction", "Sampler"]

Prediction = Literal["epsilon", "v", "sample"]
Sampler = Literal["ddpm", "ddim", "dpmsolver++", "unipc"]

_PUBLISHED_TIMESTEPS = 1000  # T of the process that `beta_start` and `beta_end` are meant for
_NETWORK = ("channels", "levels", "blocks_per_level", "norm_groups", "learned_variance")
_SAMPLING = ("sampler", "sampling_steps", "timestep_spacing")
_FREE = ("n_samples", "sampling_batch", "clip_x0", "use_ema")


class DiffusionSettings(TrainingSettings):
    """Settings of the diffusion model."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    # Network
    channels: Annotated[int, Field(ge=1)] = 128
    """Channels at every level; a multiple of `norm_groups`."""
    levels: Annotated[int, Field(ge=1, le=7)] = 4
    """Resolutions; slices are padded to a multiple of 2 ** (levels - 1)."""
    blocks_per_level: Annotated[int, Field(ge=1)] = 2
    """Residual blocks per level on the way down (one more on the way up)."""
    norm_groups: Annotated[int, Field(ge=1)] = 32
    """Groups of the group normalization."""
    learned_variance: bool = True
    """Learn the variance of the denoising steps (Nichol & Dhariwal 2021); else it is beta-tilde."""
    zero_initialized: bool = False
    """Start the last layer of the network, of every residual block and of the attention at 0, as the
    official network does (Dhariwal & Nichol 2021); trainings of a few hundred steps learn less so."""

    # Noising process and loss
    timesteps: Annotated[int, Field(ge=1)] = 1000
    """T, the steps of the noising process."""
    beta_start: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """First noise variance of the linear schedule, for 1000 timesteps."""
    beta_end: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Last noise variance of the linear schedule, for 1000 timesteps."""
    scale_betas: bool = True
    """Multiply both variances by 1000 / `timesteps`, so that next to nothing of the image is left at T
    whatever T is (Nichol & Dhariwal 2021); else they are used as they are."""
    zero_terminal_snr: bool = False
    """Rescale the schedule so that nothing of the image is left at T (Lin et al. 2024)."""
    prediction: Prediction = "epsilon"
    """What the network predicts: the noise, the velocity v (Salimans & Ho 2022), or the image."""
    vlb_weight: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of the variational term, which trains the learned variance alone."""
    min_snr_gamma: Annotated[float, Field(gt=0)] | None = None
    """Weight timesteps by min(SNR, gamma) (Hang et al. 2023); none: every timestep weighs the same."""
    train_timesteps: Literal["all", "sampling"] = "all"
    """Train on all timesteps, or on those that the sampler visits (Fast-DDPM, Jiang et al. 2024)."""

    # Training
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Learning rate of Adam."""
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    """Keep the learning rate, or let it fall to 0 along half a cosine."""
    iterations: Annotated[int, Field(ge=1)] = 300_000
    """Training steps."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    """Decay of the running average of the weights."""
    ema_warmup: bool = False
    """Use min(decay, (1 + n) / (10 + n)) after n steps, so that short trainings forget their start."""
    use_ema: bool = True
    """Sample with the averaged weights instead of the last ones."""

    # Slices
    axis: Annotated[int, Field(ge=0, le=2)] = 0
    """Axis along which volumes are sliced: 0 sagittal (the paper's), 1 coronal, 2 axial."""
    crop: Literal["auto", "none"] = "auto"
    """`auto`: the network sees the brain's bounding box; `none`: the whole slice."""
    margin: Annotated[int, Field(ge=0)] = 2
    """Voxels of background kept around the largest training brain with `crop: auto`."""
    skip_empty_slices: bool = True
    """Leave slices without brain out of training and sampling."""

    # Sampling
    sampler: Sampler = "ddpm"
    """Ancestral sampling (the paper's) or a solver that needs fewer steps."""
    sampling_steps: Annotated[int, Field(ge=1)] = 1000
    """Denoising steps, at most `timesteps`."""
    timestep_spacing: Literal["trailing", "linspace", "leading"] = "trailing"
    """How fewer steps than `timesteps` are spread; all are visited otherwise (Lin et al. 2024, Table 2)."""
    clip_x0: bool = True
    """Clip the predicted image to the intensity range at every step."""
    n_samples: Annotated[int, Field(ge=1)] = 1
    """Samples of every slice: the result is their mean, and their standard deviation is kept beside it."""
    sampling_batch: Annotated[int, Field(ge=1)] = 16
    """Slices sampled at once; has no influence on the result."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.channels % self.norm_groups:
            raise ValueError(
                f"channels ({self.channels}) must be a multiple of norm_groups ({self.norm_groups})"
            )
        if self.sampling_steps > self.timesteps:
            raise ValueError(
                f"sampling_steps ({self.sampling_steps}) must be at most timesteps ({self.timesteps})"
            )
        if self.beta_end < self.beta_start:
            raise ValueError("beta_end must not be below beta_start")
        _, last = self.betas
        if last >= 1:
            raise ValueError(
                f"beta_end x {_PUBLISHED_TIMESTEPS} / timesteps is {last:g} and must be below 1: use more "
                f"than {int(self.beta_end * _PUBLISHED_TIMESTEPS)} timesteps (for fewer steps of sampling "
                "alone, set sampling_steps), a smaller beta_end, or scale_betas: false"
            )
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError(
                "zero_terminal_snr needs prediction 'v' or 'sample': pure noise says nothing of the image"
            )
        return self

    @property
    def betas(self) -> tuple[float, float]:
        """First and last noise variance of the schedule with its `timesteps`."""
        scale = _PUBLISHED_TIMESTEPS / self.timesteps if self.scale_betas else 1.0
        return scale * self.beta_start, scale * self.beta_end

    @property
    def multiple(self) -> int:
        """Rows and columns of a slice are multiples of this."""
        return int(2 ** (self.levels - 1))

    @property
    def network_key(self) -> str:
        """Key of the settings that the weights depend on in shape and meaning."""
        process = {"timesteps": self.timesteps, "betas": self.betas}
        meaning = self.model_dump(include={*_NETWORK, "zero_terminal_snr", "prediction"})
        return key_of(meaning, process)

    @property
    def training_key(self) -> str:
        """Key of the settings that training depends on."""
        sampling = _SAMPLING if self.train_timesteps == "all" else ()
        return key_of(self.model_dump(exclude={*_FREE, *self.keeping, *sampling}))
