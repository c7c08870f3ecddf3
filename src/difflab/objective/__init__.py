"""What training minimises: training times, loss weights, couplings, and estimators of the bound."""

from difflab.objective.coupling import Coupling, Independent, OptimalTransport
from difflab.objective.draws import Chain, Draws, Noised, One, Two
from difflab.objective.times import Curriculum, Importance, LogitNormal, LogNormal, Stratified, Times, Uniform
from difflab.objective.weighting import EDM, SNR, Likelihood, MinSNR, Sigmoid, Simple, Weighting, error_ratio

__all__ = [
    "EDM",
    "SNR",
    "Chain",
    "Coupling",
    "Curriculum",
    "Draws",
    "Importance",
    "Independent",
    "Likelihood",
    "LogNormal",
    "LogitNormal",
    "MinSNR",
    "Noised",
    "One",
    "OptimalTransport",
    "Sigmoid",
    "Simple",
    "Stratified",
    "Times",
    "Two",
    "Uniform",
    "Weighting",
    "error_ratio",
]
