"""Paradigms: each paper's training algorithm and its likelihood, as a LightningModule."""
