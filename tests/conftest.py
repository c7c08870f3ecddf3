"""The environment of all tests."""

import gc
import logging
import os
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # bf16 kernels spin at barriers when tests share a machine
os.environ["WANDB_MODE"] = "offline"

import hypothesis
import pytest
import torch

from difflab.experiment.store.tensor_cache import TensorCache
from difflab.metric.card import digest

hypothesis.settings.register_profile("suite", deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("suite")  # the same examples each time, whatever the load of the machine

FIRST = ["cli/test_sweep_on_processes", "cli/test_readme", "cli/test_wandb_sweeps", "cli/test_claims"]
FIRST += ["experiment/test_conf_options", "experiment/test_fsdp", "experiment/test_ddp", "experiment/test_benchmarks"]
FIRST += ["experiment/test_resume", "experiment/test_processes", "experiment/test_equal_processes"]
FIRST += ["experiment/test_few_steps", "experiment/test_train", "experiment/test_reuse", "cli/test_extension"]
FIRST += ["experiment/test_stopped_anywhere", "experiment/test_latent_run", "experiment/test_adversarial_runs"]
FIRST += ["laws/test_optimised_grids", "laws/test_samplers", "laws/test_sampler_moments", "laws/test_objectives"]
FIRST += ["laws/test_exponential", "laws/test_bounds", "laws/test_backbones", "laws/test_combinations"]


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no worker is left with one of them at the end."""
    order = {Path(__file__).parent / f"{name}.py": k for k, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


def pytest_collection_finish():
    """What imports leave is not searched for garbage again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def real_samples_are_measured_once():
    """What difflab computes of real samples is a function of its identity: once in a process, for all folders."""
    known, call = {}, TensorCache.__call__

    def once(self, name, identity, compute):
        key = name, digest(identity)
        ours = compute.__module__.startswith("difflab.")

        def computed():
            if key not in known:
                known[key] = compute()
            return known[key]

        return call(self, name, identity, computed if ours else compute)

    with patch.object(TensorCache, "__call__", once):
        yield


@pytest.fixture(autouse=True)
def the_same_numbers():
    """A test draws the same random numbers whatever ran before it in its process."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Hydra sends the root logger to the stdout of its test: no later test logs there, to a stream that is closed."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    root.setLevel(level)


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
