"""Trained models that leave their run: one record, whether it is a cell's or an exported folder's."""

from harmbench.trained.record import ModelRecord, TrainingData
from harmbench.trained.store import Model, export_model, load_model

__all__ = ["Model", "ModelRecord", "TrainingData", "export_model", "load_model"]
