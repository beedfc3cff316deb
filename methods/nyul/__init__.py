"""Piecewise linear histogram matching of Nyul & Udupa, by the library `intensity-normalization`."""

from harmbench.methods.nyul.model import Nyul, NyulSettings

__all__ = ["Nyul", "NyulSettings"]
