"""Trained models in use: from runs, as first stages, with conditions, and as measures of others."""
