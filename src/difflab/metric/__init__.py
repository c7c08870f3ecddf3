"""Distances between sets of images: features, Frechet and kernel distance, real-versus-real floors, protocol cards."""
