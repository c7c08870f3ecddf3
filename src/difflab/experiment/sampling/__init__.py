"""How a trained denoiser is sampled, and what that costs."""
