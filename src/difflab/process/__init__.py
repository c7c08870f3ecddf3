"""The forward process q(x_t | x0): mixes of sample and noise, schedules, and what a network predicts of them."""

from difflab.process.discrete import (
    Betas,
    CosineBetas,
    DiscreteSchedule,
    GeometricSigmas,
    LinearBetas,
    QuadraticBetas,
    SigmoidBetas,
)
from difflab.process.gaussian import Bridge, Mix, bridge, det, kl, scale, transition, unmix
from difflab.process.learned import LearnedSchedule
from difflab.process.noise import SampleNoise, keyed
from difflab.process.schedule import EDM, VE, VP, Linear, Schedule, SubVP, Trigonometric
from difflab.process.target import X0, Eps, PosteriorMean, Preconditioned, Score, Target, V, Velocity

__all__ = [
    "EDM",
    "VE",
    "VP",
    "X0",
    "Betas",
    "Bridge",
    "CosineBetas",
    "DiscreteSchedule",
    "Eps",
    "GeometricSigmas",
    "LearnedSchedule",
    "Linear",
    "LinearBetas",
    "Mix",
    "PosteriorMean",
    "Preconditioned",
    "QuadraticBetas",
    "SampleNoise",
    "Schedule",
    "Score",
    "SigmoidBetas",
    "SubVP",
    "Target",
    "Trigonometric",
    "V",
    "Velocity",
    "bridge",
    "det",
    "keyed",
    "kl",
    "scale",
    "transition",
    "unmix",
]
