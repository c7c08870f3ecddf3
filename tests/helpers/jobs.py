"""The commands, run as a user runs them, with a budget of moments."""

import importlib
import os
import subprocess
import sys

TINY = [
    "data=digits",
    "backbone.width=16",
    "backbone.multipliers=[1,2]",
    "backbone.attention=[4]",
    "backbone.head_channels=null",
    "backbone.dropout=0.1",
    "batch_size=16",
    "nfe=4",
    "protocol.n=32",
    "protocol.n_likelihood=0",
    "trainer=cpu",
    "precision=fp32",
]


def start(command, *words, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return subprocess.Popen(
        [sys.executable, "-m", "difflab", command, *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_here(command, *words):
    """Run a command in this process, which has imported what takes a new one most of its time."""
    importlib.import_module(f"difflab.cli.{command}").main([f"difflab-{command}", *words])


def finish(process, status=0):
    said, _ = process.communicate(timeout=300)
    assert process.returncode == status, said
    return said
