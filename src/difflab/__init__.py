"""difflab: train any diffusion or flow paradigm, sample any checkpoint with any sampler, compare them fairly."""
