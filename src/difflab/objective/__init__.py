"""What training minimises: training times, loss weights, couplings, and estimators of the bound."""

from difflab.objective.coupling import Coupling, Independent, OptimalTransport
from difflab.objective.derivative import Derivative, Difference, ForwardMode
from difflab.objective.distance import Adaptive, Distance, PseudoHuber, Squared
from difflab.objective.draws import Chain, Draws, Noised, One, Two
from difflab.objective.gap import Gap, Karras, Share, Shrinking
from difflab.objective.residual import (
    Anywhere,
    Drive,
    Eulerian,
    EulerianDiscrete,
    Half,
    Lagrangian,
    Middle,
    Paired,
    Residual,
    Semigroup,
    Step,
    TrainedMap,
)
from difflab.objective.steps import Dyadic, Halved, Sorted, Steps, ToData, WholeWay
from difflab.objective.times import Curriculum, Importance, LogitNormal, LogNormal, Stratified, Times, Uniform
from difflab.objective.weighting import EDM, SNR, Likelihood, MinSNR, Sigmoid, Simple, Weighting, error_ratio

__all__ = [
    "EDM",
    "SNR",
    "Adaptive",
    "Anywhere",
    "Chain",
    "Coupling",
    "Curriculum",
    "Derivative",
    "Difference",
    "Distance",
    "Draws",
    "Drive",
    "Dyadic",
    "Eulerian",
    "EulerianDiscrete",
    "ForwardMode",
    "Gap",
    "Half",
    "Halved",
    "Importance",
    "Independent",
    "Karras",
    "Lagrangian",
    "Likelihood",
    "LogNormal",
    "LogitNormal",
    "Middle",
    "MinSNR",
    "Noised",
    "One",
    "OptimalTransport",
    "Paired",
    "PseudoHuber",
    "Residual",
    "Semigroup",
    "Share",
    "Shrinking",
    "Sigmoid",
    "Simple",
    "Sorted",
    "Squared",
    "Step",
    "Steps",
    "Stratified",
    "Times",
    "ToData",
    "TrainedMap",
    "Two",
    "Uniform",
    "Weighting",
    "WholeWay",
    "error_ratio",
]
