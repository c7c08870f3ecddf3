"""Distances between sets of samples: features, distances, real-versus-real floors, protocol cards.

`FrechetDistance`, `FeatureMetric`, `InceptionScore` and `Copies` are `torchmetrics.Metric`s for loops of one's own.
Names load when used, so that names and cards of scores are read without torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from difflab.metric.card import ProtocolCard as ProtocolCard
    from difflab.metric.classes import InceptionScore as InceptionScore
    from difflab.metric.dinov2 import DINOv2 as DINOv2
    from difflab.metric.direction import declare_features as declare_features
    from difflab.metric.direction import declare_score as declare_score
    from difflab.metric.direction import higher_is_better as higher_is_better
    from difflab.metric.direction import title as title
    from difflab.metric.distance import energy as energy
    from difflab.metric.distance import kernel as kernel
    from difflab.metric.distance import wasserstein as wasserstein
    from difflab.metric.feature_metrics import FeatureMetric as FeatureMetric
    from difflab.metric.feature_metrics import FrechetDistance as FrechetDistance
    from difflab.metric.features import EfficientNetLite0 as EfficientNetLite0
    from difflab.metric.features import Extractor as Extractor
    from difflab.metric.features import FrozenNetwork as FrozenNetwork
    from difflab.metric.features import Score as Score
    from difflab.metric.inception import Inception as Inception
    from difflab.metric.manifold import comparable_manifold as comparable_manifold
    from difflab.metric.memorisation import Copies as Copies
    from difflab.metric.memorisation import Memorisation as Memorisation
    from difflab.metric.moments import MeanAndError as MeanAndError
    from difflab.metric.perceptual import Lite0Maps as Lite0Maps
    from difflab.metric.points import Points as Points

_MODULES = {
    "Copies": "memorisation",
    "DINOv2": "dinov2",
    "EfficientNetLite0": "features",
    "Extractor": "features",
    "FeatureMetric": "feature_metrics",
    "FrechetDistance": "feature_metrics",
    "FrozenNetwork": "features",
    "Inception": "inception",
    "InceptionScore": "classes",
    "Lite0Maps": "perceptual",
    "MeanAndError": "moments",
    "Memorisation": "memorisation",
    "Points": "points",
    "ProtocolCard": "card",
    "Score": "features",
    "comparable_manifold": "manifold",
    "declare_features": "direction",
    "declare_score": "direction",
    "energy": "distance",
    "higher_is_better": "direction",
    "kernel": "distance",
    "title": "direction",
    "wasserstein": "distance",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"difflab.metric.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
