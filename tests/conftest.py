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


@pytest.fixture
def sessions(monkeypatch, tmp_path):
    """W&B reads its environment once a session: a test has sessions of its own, that keep nothing elsewhere."""
    import wandb

    for kind in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / "elsewhere" / kind))
    wandb.teardown()
    yield
    wandb.teardown()
