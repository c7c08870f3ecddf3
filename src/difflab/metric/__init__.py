"""Distances between sets of samples: features, distances, real-versus-real floors, protocol cards."""
