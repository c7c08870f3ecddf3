"""Likelihoods in bits per dimension: the bound of a discrete chain, the continuous-time bound, and the exact flow.

Every function takes `levels`: 256 says that `x0` lies on the 256 values of an 8-bit image in [-1, 1], None that it is
continuous, as points are, and a density is meant.
"""

from difflab.denoiser.likelihood.bounds import (
    VariationalBound,
    continuous_bits_per_dim,
    variational_bits_per_dim,
    vlb_term,
)
from difflab.denoiser.likelihood.decoder import Decoder, FlatPrior, GaussianBin, bits, check_levels, surprise
from difflab.denoiser.likelihood.flow import ExactTrace, Hutchinson, Trace, flow_bits_per_dim
from difflab.denoiser.likelihood.measure import BitsPerDim, ChainBound, ContinuousBound, FlowLikelihood

__all__ = [
    "BitsPerDim",
    "ChainBound",
    "ContinuousBound",
    "Decoder",
    "ExactTrace",
    "FlatPrior",
    "FlowLikelihood",
    "GaussianBin",
    "Hutchinson",
    "Trace",
    "VariationalBound",
    "bits",
    "check_levels",
    "continuous_bits_per_dim",
    "flow_bits_per_dim",
    "surprise",
    "variational_bits_per_dim",
    "vlb_term",
]
