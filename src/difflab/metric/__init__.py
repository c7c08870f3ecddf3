"""Distances between sets of samples: features, distances, real-versus-real floors, protocol cards."""

from difflab.metric.direction import higher_is_better, title

__all__ = ["higher_is_better", "title"]
