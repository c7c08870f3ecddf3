"""Denoisers: from a noisy sample `x_t` to an estimate of `(x0, eps)`; classifiers of `x_t`; likelihoods."""

from difflab.denoiser.base import AnyDenoiser, Backbone, Bound, Denoise, Denoiser, Estimate, velocity
from difflab.denoiser.classifier import AnyClassifier, Classifier, ClassifierBackbone
from difflab.denoiser.contrast import Contrast
from difflab.denoiser.encoder import Encoder, FixedEncoder, LearnedEncoder
from difflab.denoiser.exact import Empirical, Exact, Gaussian, Known, Mixture
from difflab.denoiser.exact_flow import ExactFlowMap, KnownFlowMap
from difflab.denoiser.first_stage import FirstStage
from difflab.denoiser.flow_map import FlowMap, Fraction, TimeCode
from difflab.denoiser.generator import Elbo, ElboBound, Generator, VariationalAutoencoder
from difflab.denoiser.hierarchical import HierarchicalAutoencoder, HierarchicalBound, LayerElbo
from difflab.denoiser.layers import Layered, Separate, Shared
from difflab.denoiser.likelihood import (
    BitsPerDim,
    ChainBound,
    ContinuousBound,
    Decoder,
    ExactTrace,
    FlatPrior,
    FlowLikelihood,
    GaussianBin,
    Hutchinson,
    Trace,
    VariationalBound,
    continuous_bits_per_dim,
    flow_bits_per_dim,
    variational_bits_per_dim,
)
from difflab.denoiser.rescheduled import Rescheduled

__all__ = [
    "AnyClassifier",
    "AnyDenoiser",
    "Backbone",
    "BitsPerDim",
    "Bound",
    "ChainBound",
    "Classifier",
    "ClassifierBackbone",
    "ContinuousBound",
    "Contrast",
    "Decoder",
    "Denoise",
    "Denoiser",
    "Elbo",
    "ElboBound",
    "Empirical",
    "Encoder",
    "Estimate",
    "Exact",
    "ExactFlowMap",
    "ExactTrace",
    "FirstStage",
    "FixedEncoder",
    "FlatPrior",
    "FlowLikelihood",
    "FlowMap",
    "Fraction",
    "Gaussian",
    "GaussianBin",
    "Generator",
    "HierarchicalAutoencoder",
    "HierarchicalBound",
    "Hutchinson",
    "Known",
    "KnownFlowMap",
    "LayerElbo",
    "Layered",
    "LearnedEncoder",
    "Mixture",
    "Rescheduled",
    "Separate",
    "Shared",
    "TimeCode",
    "Trace",
    "VariationalAutoencoder",
    "VariationalBound",
    "continuous_bits_per_dim",
    "flow_bits_per_dim",
    "variational_bits_per_dim",
    "velocity",
]
