"""Guidance: a denoiser made from a denoiser; and inverse problems with the methods that solve them."""

from difflab.guidance.autoguidance import Autoguidance
from difflab.guidance.base import Chain, Guided, Unguided, unguided
from difflab.guidance.classifier import ClassifierGuidance
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.guidance.dynamic_threshold import DynamicThreshold
from difflab.guidance.interval import Interval
from difflab.guidance.problem import CompressedSensing, Deblur, InpaintBox, InpaintPixels, Operator, SuperResolution
from difflab.guidance.rescale import Rescale
from difflab.guidance.restoration import DPS, PiGDM, PublishedDPS, Replacement, Restoration

__all__ = [
    "DPS",
    "Autoguidance",
    "Chain",
    "ClassifierFree",
    "ClassifierGuidance",
    "Clip",
    "CompressedSensing",
    "Deblur",
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
    "Unguided",
    "unguided",
]
