"""Guidance: a denoiser made from a denoiser; and inverse problems with the methods that solve them."""

from difflab.guidance.autoguidance import Autoguidance
from difflab.guidance.base import Chain, Guided, Unguided, unguided
from difflab.guidance.classifier import ClassifierGuidance
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.guidance.dynamic_threshold import DynamicThreshold
from difflab.guidance.interval import Interval
from difflab.guidance.problem import (
    CompressedSensing,
    Deblur,
    Denoise,
    InpaintBox,
    InpaintPixels,
    Operator,
    SuperResolution,
)
from difflab.guidance.rescale import Rescale
from difflab.guidance.restoration import DPS, PiGDM, PublishedDPS, Replacement, Restoration
from difflab.guidance.scan import MRI, Tomography

__all__ = [
    "DPS",
    "MRI",
    "Autoguidance",
    "Chain",
    "ClassifierFree",
    "ClassifierGuidance",
    "Clip",
    "CompressedSensing",
    "Deblur",
    "Denoise",
    "DynamicThreshold",
    "Guided",
    "InpaintBox",
    "InpaintPixels",
    "Interval",
    "Operator",
    "PiGDM",
    "PublishedDPS",
    "Replacement",
    "Rescale",
    "Restoration",
    "SuperResolution",
    "Tomography",
    "Unguided",
    "unguided",
]
