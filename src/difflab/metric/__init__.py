"""Distances between sets of samples: features, distances, real-versus-real floors, protocol cards.

`FrechetDistance`, `FeatureMetric`, `InceptionScore` and `Copies` are `torchmetrics.Metric`s for loops of one's own.
"""

from difflab.metric.card import ProtocolCard
from difflab.metric.classes import InceptionScore
from difflab.metric.dinov2 import DINOv2
from difflab.metric.direction import declare_features, declare_score, higher_is_better, title
from difflab.metric.distance import energy, kernel, wasserstein
from difflab.metric.feature_metrics import FeatureMetric, FrechetDistance
from difflab.metric.features import EfficientNetLite0, Extractor, FrozenNetwork, Score
from difflab.metric.inception import Inception
from difflab.metric.manifold import comparable_manifold
from difflab.metric.memorisation import Copies, Memorisation
from difflab.metric.moments import MeanAndError
from difflab.metric.points import Points

__all__ = [
    "Copies",
    "DINOv2",
    "EfficientNetLite0",
    "Extractor",
    "FeatureMetric",
    "FrechetDistance",
    "FrozenNetwork",
    "Inception",
    "InceptionScore",
    "MeanAndError",
    "Memorisation",
    "Points",
    "ProtocolCard",
    "Score",
    "comparable_manifold",
    "declare_features",
    "declare_score",
    "energy",
    "higher_is_better",
    "kernel",
    "title",
    "wasserstein",
]
