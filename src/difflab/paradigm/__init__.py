"""Paradigms: each paper's training algorithm and its likelihood, as a LightningModule."""

from difflab.paradigm.adversary import Adversary
from difflab.paradigm.base import Paradigm
from difflab.paradigm.contrastive import Contrastive
from difflab.paradigm.ddpm import DDPM, ImprovedDDPM
from difflab.paradigm.defaults import Defaults, Prediction, Sampling
from difflab.paradigm.diffusion import Diffusion
from difflab.paradigm.drive import DriveOf, FromData, FromGuidedData, FromItself, FromTeacher
from difflab.paradigm.ema import EMA
from difflab.paradigm.flow_map import FlowMapMatching
from difflab.paradigm.gan import GAN
from difflab.paradigm.held import Average, Current, Held, Rounds, Slowing
from difflab.paradigm.hierarchical_vae import HierarchicalVAE
from difflab.paradigm.kl_autoencoder import KLAutoencoder
from difflab.paradigm.lr_schedule import WSD, Constant, Cosine, InverseSquareRoot, Restarts
from difflab.paradigm.noisy_classifier import CleanClassifier, NoisyClassifier
from difflab.paradigm.optimisation import SGD, Adam, AdamW, Muon, Optimisation
from difflab.paradigm.power_average import PowerAverages
from difflab.paradigm.rectified_flow import FlowMatching, RectifiedFlow, Reflow
from difflab.paradigm.retrieval import Retrieval
from difflab.paradigm.score_sde import EDM, NCSN, VESDE, VPSDE, SubVPSDE
from difflab.paradigm.vae import VAE
from difflab.paradigm.vdm import VDM

__all__ = [
    "DDPM",
    "EDM",
    "EMA",
    "GAN",
    "NCSN",
    "SGD",
    "VAE",
    "VDM",
    "VESDE",
    "VPSDE",
    "WSD",
    "Adam",
    "AdamW",
    "Adversary",
    "Average",
    "CleanClassifier",
    "Constant",
    "Contrastive",
    "Cosine",
    "Current",
    "Defaults",
    "Diffusion",
    "DriveOf",
    "FlowMapMatching",
    "FlowMatching",
    "FromData",
    "FromGuidedData",
    "FromItself",
    "FromTeacher",
    "Held",
    "HierarchicalVAE",
    "ImprovedDDPM",
    "InverseSquareRoot",
    "KLAutoencoder",
    "Muon",
    "NoisyClassifier",
    "Optimisation",
    "Paradigm",
    "PowerAverages",
    "Prediction",
    "RectifiedFlow",
    "Reflow",
    "Restarts",
    "Retrieval",
    "Rounds",
    "Sampling",
    "Slowing",
    "SubVPSDE",
]
