"""Normalization by the white stripe, by the library `intensity-normalization`."""

from harmbench.methods.whitestripe.model import WhiteStripe, WhiteStripeSettings

__all__ = ["WhiteStripe", "WhiteStripeSettings"]
