"""What a plain Trainer is given: points, a network of moments, and a folder of its own."""

import logging

import lightning.pytorch as pl
import torch

from difflab import MLP, DataModule
from difflab.data import Moons, Points

HELD = 10  # held-out points: two batches of 4 and one of 2


def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Lightning writes its logs and checkpoints into a folder of each test's own."""
    monkeypatch.chdir(tmp_path)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def points(batch_size=4, n=64):
    """Moons, of which some are held out."""
    source = Moons(n=n, held_out=HELD)
    return DataModule(source, shape=(2,), classes=0, sigma_data=1.0, batch_size=batch_size, codec=Points())


def mlp(classes=0, **settings):
    """A network of points, the same at each call."""
    torch.manual_seed(0)
    return MLP((2,), classes, width=16, depth=1, **settings)


def trainer(**settings):
    """A Trainer of two steps on the CPU, or with these settings."""
    plain = {"max_steps": 2, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(**plain | settings)
