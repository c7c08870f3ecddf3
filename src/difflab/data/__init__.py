"""Data: images or points in memory, as they are stored, and the one DataModule that orders, shards and serves them.

A data set is a source: a frozen dataclass whose `load()` returns `Images` (train and held-out `Split`, class names).
To add one, write such a class and a file in `conf/data/` that names it with its shape, classes and sigma_data.

The contract of the order: which samples a training step sees is a pure function of (seed, step), so neither the number
of processes or workers nor a stop and resume changes it.
"""
