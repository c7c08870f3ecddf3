"""Samplers, sampling grids, and the one sampling loop."""

from difflab.sampler.adaptive import Adaptive
from difflab.sampler.adaptive_sde import AdaptiveSDE
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.base import Sampler
from difflab.sampler.consistency import Consistency
from difflab.sampler.ddim import DDIM
from difflab.sampler.deis import DEIS
from difflab.sampler.dpm_solver import DPMSolver, DPMSolverPP, DPMSolverPP3M, DPMSolverPPSinglestep, DPMSolverSinglestep
from difflab.sampler.edm import EDM
from difflab.sampler.euler import Euler
from difflab.sampler.euler_maruyama import EulerMaruyama
from difflab.sampler.evaluations import CountingProbe, Recorder
from difflab.sampler.generate import Samples, count_nfe, generate, integrate, times_for, trajectory
from difflab.sampler.grid import (
    Cosine,
    Explicit,
    Grid,
    Karras,
    Leading,
    Linspace,
    LogSNR,
    Quadratic,
    Sections,
    Shift,
    Uniform,
)
from difflab.sampler.heun import Heun
from difflab.sampler.langevin import Langevin
from difflab.sampler.optimised import Optimised
from difflab.sampler.preconditioner import Preconditioner
from difflab.sampler.predictor_corrector import PredictorCorrector
from difflab.sampler.resampling import Resampling
from difflab.sampler.reverse_diffusion import ReverseDiffusion
from difflab.sampler.runge_kutta import RK4, Midpoint
from difflab.sampler.unipc import UniPC

__all__ = [
    "DDIM",
    "DEIS",
    "EDM",
    "RK4",
    "Adaptive",
    "AdaptiveSDE",
    "Ancestral",
    "Consistency",
    "Cosine",
    "CountingProbe",
    "DPMSolver",
    "DPMSolverPP",
    "DPMSolverPP3M",
    "DPMSolverPPSinglestep",
    "DPMSolverSinglestep",
    "Euler",
    "EulerMaruyama",
    "Explicit",
    "Grid",
    "Heun",
    "Karras",
    "Langevin",
    "Leading",
    "Linspace",
    "LogSNR",
    "Midpoint",
    "Optimised",
    "Preconditioner",
    "PredictorCorrector",
    "Quadratic",
    "Recorder",
    "Resampling",
    "ReverseDiffusion",
    "Sampler",
    "Samples",
    "Sections",
    "Shift",
    "UniPC",
    "Uniform",
    "count_nfe",
    "generate",
    "integrate",
    "times_for",
    "trajectory",
]
