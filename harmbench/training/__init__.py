"""What learned methods share; the training loop itself stands in each method."""

from harmbench.training.batches import Batches
from harmbench.training.checkpoints import Checkpoints
from harmbench.training.curve import LossLog, TrainingMeter
from harmbench.training.networks import (
    Float32Conv2d,
    autocast,
    evaluating,
    fitted,
    frozen,
    load_weights,
    numerics,
    parameter_count,
    place,
    resolve_device,
    resolve_precision,
    save_weights,
    saved_values,
    update_average,
)
from harmbench.training.preview import Previews
from harmbench.training.randomness import batch_order, random_generator, seeded
from harmbench.training.run import TrainingRun
from harmbench.training.saved import (
    SavedNetwork,
    check_same_network,
    load_network,
    save_network,
)
from harmbench.training.settings import Precision, TrainingSettings
from harmbench.training.team import Team, together

__all__ = [
    "Batches",
    "Checkpoints",
    "Float32Conv2d",
    "LossLog",
    "Precision",
    "Previews",
    "SavedNetwork",
    "Team",
    "TrainingMeter",
    "TrainingRun",
    "TrainingSettings",
    "autocast",
    "batch_order",
    "check_same_network",
    "evaluating",
    "fitted",
    "frozen",
    "load_network",
    "load_weights",
    "numerics",
    "parameter_count",
    "place",
    "random_generator",
    "resolve_device",
    "resolve_precision",
    "save_network",
    "save_weights",
    "saved_values",
    "seeded",
    "together",
    "update_average",
]
