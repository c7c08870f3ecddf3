"""The commands, run as a user runs them, with a budget of moments."""

import contextlib
import importlib
import io
import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import forkserver
from pathlib import Path

import torch

from difflab.experiment.machine.launch import together
from difflab.experiment.store.run import Run
from difflab.paradigm.batch import place

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

TOY = ["experiment=toy", "data.source.n=512", "data.source.held_out=128", "backbone.width=16", "images=640"]
TOY += ["batch_size=64", "nfe=10", "protocol.n=64", "protocol.n_likelihood=0", "trainer=cpu", "logger=local"]


def the_run(folder):
    """The only run of a folder."""
    (config,) = Path(folder).glob("runs/*/config.yaml")
    return Run(config.parent)


def measured(run):
    """The only evaluation of a run."""
    (path,) = run.folder.glob("evaluations/*.json")
    return json.loads(path.read_text())


def share_cache(source, target):
    """Give the runs of a folder what the runs of another have computed of the real samples."""
    shutil.copytree(Path(source, "runs", ".cache"), Path(target, "runs", ".cache"))


def start(*words, cwd, source=None):
    """Start a command in a new interpreter, which imports difflab from the folder `source` if that is given."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    if source:
        environment["PYTHONPATH"] = os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "difflab", *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Forked:
    """A command in a process of its own, which begins with all that this one has imported; used as a Popen is.

    With a `source` it imports difflab from that folder instead, anew. With `served` this process's fork server starts
    the processes of its jobs, where a new one would import all that they need.
    """

    def __init__(self, command, *words, cwd, source=None, served=False):
        if served:
            together([torch.device("cpu")], place)  # there is a server
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # it lives as long as the process
        do = multiprocessing.get_context("fork").Process
        self.process = do(target=self.run, args=(command, words, cwd, source, served))
        self.process.start()

    def run(self, command, words, cwd, source, served):
        """What the process does: its output is that of the file descriptors, as in a new interpreter."""
        for descriptor in (1, 2):
            os.dup2(self.said.fileno(), descriptor)
        sys.stdout = sys.stderr = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), line_buffering=True)
        logging.getLogger().handlers.clear()  # those of pytest
        os.chdir(cwd)
        if served:
            forkserver._forkserver.ensure_running = lambda: None  # it looks for a child of this process
        if source:
            sys.path.insert(0, str(source))
            for name in [name for name in sys.modules if name.partition(".")[0] == "difflab"]:
                del sys.modules[name]
            assert Path(importlib.import_module("difflab").__file__).is_relative_to(source)
        run_here(command, *words)

    @property
    def pid(self):
        return self.process.pid

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def send_signal(self, signum):
        os.kill(self.process.pid, signum)

    def kill(self):
        self.process.kill()

    def communicate(self, timeout=None):
        self.process.join(timeout)
        self.said.seek(0)
        return self.said.read(), None


def job(command, *words, cwd, source=None, served=False):
    """A command in a process of its own; a fork where it can be, which is not so with CUDA."""
    if torch.accelerator.is_available():
        return start(command, *words, cwd=cwd, source=source)
    return Forked(command, *words, cwd=cwd, source=source, served=served)


def run_here(command, *words):
    """Run a command in this process, which has imported what takes a new one most of its time."""
    importlib.import_module(f"difflab.cli.{command}").main([f"difflab-{command}", *words])


def said_here(command, *words, cwd, status=0):
    """What a command prints and warns that is run in this process in folder `cwd`, which must end with this status."""
    printed, ended = io.StringIO(), 0
    shown = logging.StreamHandler(printed)  # as Python shows warnings where nothing else does
    shown.setLevel(logging.WARNING)
    logging.getLogger().addHandler(shown)
    with contextlib.chdir(cwd), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            run_here(command, *words)
        except SystemExit as end:
            ended = 1 if isinstance(end.code, str) else end.code or 0
            print(end.code)
        finally:
            logging.getLogger().removeHandler(shown)
    assert ended == status, printed.getvalue()
    return printed.getvalue()


def finish(process, status=0):
    said, _ = process.communicate(timeout=300)
    assert process.returncode == status, said
    return said


def wait_for(pattern, folder, process):
    """The path of a file that a process writes into a folder, once it is there."""
    while not (found := list(Path(folder).glob(pattern))):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    return found[0]
