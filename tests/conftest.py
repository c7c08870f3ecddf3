"""The environment of all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # bf16 kernels spin at barriers when tests share a machine
os.environ["WANDB_MODE"] = "offline"

import pytest

from difflab.experiment.tensor_cache import TensorCache


@pytest.fixture
def cache(tmp_path):
    """A cache of what is computed of real samples."""
    return TensorCache(tmp_path)
