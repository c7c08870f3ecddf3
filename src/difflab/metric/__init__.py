"""Distances between sets of samples: features, distances, real-versus-real floors, protocol cards."""

from difflab.metric.card import ProtocolCard
from difflab.metric.dinov2 import DINOv2
from difflab.metric.direction import declare_features, declare_score, higher_is_better, title
from difflab.metric.features import EfficientNetLite0, Extractor, FrozenNetwork, Score
from difflab.metric.inception import Inception
from difflab.metric.memorisation import Memorisation
from difflab.metric.points import Points

__all__ = [
    "DINOv2",
    "EfficientNetLite0",
    "Extractor",
    "FrozenNetwork",
    "Inception",
    "Memorisation",
    "Points",
    "ProtocolCard",
    "Score",
    "declare_features",
    "declare_score",
    "higher_is_better",
    "title",
]
