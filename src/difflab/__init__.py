"""difflab: a workbench for diffusion and flow models.

The vocabulary of a notebook, imported when a name is first used::

    from difflab import VP, DDIM, Uniform, Denoiser, generate, load

Names that several concepts share, as `EDM`, stand in the folders of their concepts: `difflab.sampler.EDM`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from difflab.backbone import MLP as MLP
    from difflab.backbone import DiT as DiT
    from difflab.backbone import HalfUNet as HalfUNet
    from difflab.backbone import UNet as UNet
    from difflab.data import DataModule as DataModule
    from difflab.data import Digits as Digits
    from difflab.data import Fashion16 as Fashion16
    from difflab.data import Labels as Labels
    from difflab.denoiser import Denoiser as Denoiser
    from difflab.denoiser import Empirical as Empirical
    from difflab.denoiser import Estimate as Estimate
    from difflab.denoiser import Gaussian as Gaussian
    from difflab.denoiser import Mixture as Mixture
    from difflab.experiment.jobs import evaluate as evaluate
    from difflab.experiment.jobs import train as train
    from difflab.experiment.model.from_run import load as load
    from difflab.guidance import Autoguidance as Autoguidance
    from difflab.guidance import ClassifierFree as ClassifierFree
    from difflab.guidance import ClassifierGuidance as ClassifierGuidance
    from difflab.guidance import Clip as Clip
    from difflab.guidance import DynamicThreshold as DynamicThreshold
    from difflab.guidance import Interval as Interval
    from difflab.guidance import Rescale as Rescale
    from difflab.paradigm import DDPM as DDPM
    from difflab.paradigm import EMA as EMA
    from difflab.paradigm import NCSN as NCSN
    from difflab.paradigm import VDM as VDM
    from difflab.paradigm import VESDE as VESDE
    from difflab.paradigm import VPSDE as VPSDE
    from difflab.paradigm import FlowMatching as FlowMatching
    from difflab.paradigm import ImprovedDDPM as ImprovedDDPM
    from difflab.paradigm import NoisyClassifier as NoisyClassifier
    from difflab.paradigm import RectifiedFlow as RectifiedFlow
    from difflab.paradigm import Sampling as Sampling
    from difflab.paradigm import SubVPSDE as SubVPSDE
    from difflab.process import VE as VE
    from difflab.process import VP as VP
    from difflab.process import X0 as X0
    from difflab.process import CosineBetas as CosineBetas
    from difflab.process import Eps as Eps
    from difflab.process import GeometricSigmas as GeometricSigmas
    from difflab.process import Linear as Linear
    from difflab.process import LinearBetas as LinearBetas
    from difflab.process import Mix as Mix
    from difflab.process import QuadraticBetas as QuadraticBetas
    from difflab.process import SubVP as SubVP
    from difflab.process import Trigonometric as Trigonometric
    from difflab.process import V as V
    from difflab.process import Velocity as Velocity
    from difflab.process import bridge as bridge
    from difflab.process import unmix as unmix
    from difflab.sampler import DDIM as DDIM
    from difflab.sampler import DEIS as DEIS
    from difflab.sampler import RK4 as RK4
    from difflab.sampler import Adaptive as Adaptive
    from difflab.sampler import Ancestral as Ancestral
    from difflab.sampler import DPMSolver as DPMSolver
    from difflab.sampler import DPMSolverPP as DPMSolverPP
    from difflab.sampler import Euler as Euler
    from difflab.sampler import EulerMaruyama as EulerMaruyama
    from difflab.sampler import Heun as Heun
    from difflab.sampler import Karras as Karras
    from difflab.sampler import Langevin as Langevin
    from difflab.sampler import LogSNR as LogSNR
    from difflab.sampler import PredictorCorrector as PredictorCorrector
    from difflab.sampler import Quadratic as Quadratic
    from difflab.sampler import Shift as Shift
    from difflab.sampler import Uniform as Uniform
    from difflab.sampler import UniPC as UniPC
    from difflab.sampler import generate as generate
    from difflab.sampler import integrate as integrate

_VOCABULARY = {
    "backbone": "DiT HalfUNet MLP UNet",
    "data": "DataModule Digits Fashion16 Labels",
    "denoiser": "Denoiser Empirical Estimate Gaussian Mixture",
    "experiment": "evaluate load train",
    "guidance": "Autoguidance ClassifierFree ClassifierGuidance Clip DynamicThreshold Interval Rescale",
    "paradigm": (
        "DDPM EMA FlowMatching ImprovedDDPM NCSN NoisyClassifier RectifiedFlow Sampling SubVPSDE VDM VESDE VPSDE"
    ),
    "process": (
        "CosineBetas Eps GeometricSigmas Linear LinearBetas Mix QuadraticBetas SubVP Trigonometric V VE VP Velocity X0 "
        "bridge unmix"
    ),
    "sampler": (
        "Adaptive Ancestral DDIM DEIS DPMSolver DPMSolverPP Euler EulerMaruyama Heun Karras Langevin LogSNR "
        "PredictorCorrector Quadratic RK4 Shift UniPC Uniform generate integrate"
    ),
}
_FOLDERS = {name: folder for folder, names in _VOCABULARY.items() for name in names.split()}
__all__ = sorted(_FOLDERS)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("difflab")
    if name not in _FOLDERS:
        raise AttributeError(f"module 'difflab' has no attribute {name!r}")
    return getattr(importlib.import_module(f"difflab.{_FOLDERS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
