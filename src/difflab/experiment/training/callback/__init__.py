"""Callbacks: weight averaging, sample grids, progress, and stopping at any moment without loss."""
