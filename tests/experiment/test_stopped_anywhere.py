"""Wherever a job is stopped the same command goes on, and ends in what the uninterrupted one ends in, bit by bit.

The processes are stopped for real, at random moments, by `tests/benchmarks/faults.py`; here each worst moment is one
exact line of code.
"""

import os
import shutil
import signal
import time

import pytest
import torch

from difflab.experiment.evaluation import job as evaluation
from difflab.experiment.mirror.base import Local
from difflab.experiment.store import checkpoint, weights
from difflab.experiment.store.checkpoint import previous
from difflab.experiment.training import fitting
from difflab.experiment.training.callback.checkpoint import Resumable
from difflab.experiment.training.callback.pictures import Pictures
from difflab.experiment.training.callback.progress import RunProgress
from helpers.equal import content, unlike
from helpers.jobs import TOY, said_here, share_cache, the_run

WORDS = [*TOY, "images=1920", "check_every=640", "nfe=4"]  # 30 steps, validated after each 10


class Stopped(BaseException):
    """As sudden as a kill: nothing in the program catches it."""


def stop(*_, **__):
    raise Stopped


def signalled(hook, step):
    """A hook of a callback, in which the process gets SIGTERM when so many steps are done."""

    def inner(self, trainer, *args):
        if trainer.global_step == step and trainer.state.fn == "fit":
            os.kill(os.getpid(), signal.SIGTERM)
        return hook(self, trainer, *args)

    return inner


def second(function):
    """A function whose second call stops."""
    calls = []

    def inner(*args, **more):
        calls.append(args)
        return stop() if len(calls) == 2 else function(*args, **more)

    return inner


PLACES = {  # by name: what is put in whose place, and the status that the command ends with
    "before the first checkpoint": (Resumable, "save", stop, None),
    "in writing a checkpoint": (torch, "save", second(torch.save), None),
    "between a checkpoint and the one before it": (checkpoint.os, "replace", second(os.replace), None),
    "SIGTERM in the last step": (RunProgress, "on_train_batch_end", signalled(RunProgress.on_train_batch_end, 30), 143),
    "SIGTERM in a validation": (Pictures, "on_validation_end", signalled(Pictures.on_validation_end, 20), 143),
    "SIGTERM in the last validation": (Pictures, "on_validation_end", signalled(Pictures.on_validation_end, 30), 143),
    "between checkpoint and export": (fitting.Fit, "export", stop, None),
    "between weights and their JSON": (weights, "write_json", stop, None),
    "before the result": (fitting, "write_json", stop, None),
    "before the evaluation": (evaluation.Evaluation, "measured", stop, None),
    "before the evaluation is written": (evaluation, "write_json", stop, None),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    said_here("train", *WORDS, cwd=folder)
    return folder


SOME = ("in writing a checkpoint", "SIGTERM in a validation", "between weights and their JSON")


@pytest.mark.parametrize(
    "place", [pytest.param(name, marks=() if name in SOME else pytest.mark.long) for name in PLACES]
)
def test_the_same_command_goes_on(uninterrupted, tmp_path, monkeypatch, place):
    owner, name, instead, status = PLACES[place]
    share_cache(uninterrupted, tmp_path)
    with monkeypatch.context() as fault:
        fault.setattr(owner, name, instead)
        if status:
            said_here("train", *WORDS, cwd=tmp_path, status=status)
        else:
            with pytest.raises(Stopped):
                said_here("train", *WORDS, cwd=tmp_path)
    said_here("train", *WORDS, cwd=tmp_path)
    ours, theirs = content(the_run(tmp_path)), content(the_run(uninterrupted))
    assert not [*unlike(ours, theirs)]
    assert not [path for path in tmp_path.rglob(".*") if path.name.endswith(str(os.getpid()))], "nothing is left over"


def test_a_row_of_the_step_at_which_a_signal_arrives_is_not_lost(tmp_path, monkeypatch):
    """There is one after each 10 steps, also where no validation is."""
    words = [*WORDS, "images=960", "check_every=960", "protocol.n=0"]
    for name in ("uninterrupted", "stopped"):
        (tmp_path / name).mkdir()
    said_here("train", *words, cwd=tmp_path / "uninterrupted")
    with monkeypatch.context() as fault:
        fault.setattr(RunProgress, "on_train_batch_end", signalled(RunProgress.on_train_batch_end, 10))
        said_here("train", *words, cwd=tmp_path / "stopped", status=143)
    assert "gone or damaged" not in said_here("train", *words, cwd=tmp_path / "stopped")
    rows = {name: content(the_run(tmp_path / name))["rows"] for name in ("uninterrupted", "stopped")}
    assert not [*unlike(rows["stopped"], rows["uninterrupted"])]


def test_a_mirror_that_was_not_told_of_an_evaluation_is_told_by_the_next_call(uninterrupted, tmp_path, monkeypatch):
    told = []
    share_cache(uninterrupted, tmp_path)
    with monkeypatch.context() as fault:
        fault.setattr(Local, "log_evaluation", stop)
        with pytest.raises(Stopped):
            said_here("train", *WORDS, cwd=tmp_path)
    monkeypatch.setattr(Local, "log_evaluation", lambda self, job, found, *files: told.append(found["metrics"]))
    for _ in range(2):
        said_here("train", *WORDS, cwd=tmp_path)
    assert told == content(the_run(uninterrupted))["measured"]


@pytest.fixture(scope="module")
def stopped(uninterrupted, tmp_path_factory):
    """A folder with a run that was stopped after step 23."""
    folder = tmp_path_factory.mktemp("stopped")
    share_cache(uninterrupted, folder)
    with pytest.MonkeyPatch.context() as fault:
        fault.setattr(RunProgress, "on_train_batch_end", signalled(RunProgress.on_train_batch_end, 23))
        said_here("train", *WORDS, cwd=folder, status=143)
    return folder


def copied(source, target):
    """The run of a folder, copied to another."""
    shutil.copytree(source / "runs", target / "runs")
    return the_run(target)


def flip(path):
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def test_a_flipped_bit_in_the_last_checkpoint_is_told_and_the_one_before_serves(uninterrupted, stopped, tmp_path):
    run = copied(stopped, tmp_path)
    flip(run.checkpoint)
    said = said_here("train", *WORDS, cwd=tmp_path)
    assert "last.ckpt is damaged: the training goes on from previous.ckpt, step 20" in said
    ours, theirs = content(run), content(the_run(uninterrupted))
    assert not [*unlike(ours, theirs)]


def test_two_damaged_checkpoints_are_refused_with_the_way_out(stopped, tmp_path):
    run = copied(stopped, tmp_path)
    for path in (run.checkpoint, previous(run.checkpoint)):
        flip(path)
    assert "is damaged, and there is none before it: remove it" in said_here("train", *WORDS, cwd=tmp_path, status=1)


@pytest.mark.parametrize("damage", [flip, lambda path: path.unlink()])
def test_weights_of_a_finished_run_that_are_damaged_or_gone_are_told_and_made_again(uninterrupted, tmp_path, damage):
    run = copied(uninterrupted, tmp_path)
    shutil.rmtree(run.evaluations)  # a flipped bit is seen by what reads the weights
    before = run.weights.read_bytes()
    damage(run.weights)
    said = said_here("train", *WORDS, cwd=tmp_path)
    assert "weights.safetensors" in said
    assert "made again" in said
    assert run.weights.read_bytes() == before
    assert not [*unlike(content(run)["rows"], content(the_run(uninterrupted))["rows"])]


def test_a_clock_that_stands_still_stops_nothing(uninterrupted, tmp_path, monkeypatch):
    share_cache(uninterrupted, tmp_path)
    monkeypatch.setattr(time, "monotonic", lambda: 1e6)
    said_here("train", *WORDS, cwd=tmp_path)
    ours, theirs = content(the_run(tmp_path)), content(the_run(uninterrupted))
    assert not [*unlike(ours, theirs)]


def test_rows_that_are_damaged_or_gone_are_told(uninterrupted, stopped, tmp_path):
    run = copied(stopped, tmp_path)
    path = run.folder / "metrics.jsonl"
    first, *others = path.read_text().splitlines()
    whole = content(the_run(uninterrupted))["rows"]
    path.write_text("\n".join([first[:20], *others]) + "\n")
    assert "metrics.jsonl: 1 of its rows before step 23 are gone or damaged" in said_here("train", *WORDS, cwd=tmp_path)
    assert not [*unlike(content(run)["rows"], whole[1:])], "only the damaged row is gone"


@pytest.mark.parametrize("name", ["weights.json", "result.json", "evaluations/*.json"])
def test_damaged_json_is_told_and_made_again(uninterrupted, tmp_path, name):
    run = copied(uninterrupted, tmp_path)
    before = content(run)
    (path,) = run.folder.glob(name)
    path.write_text(path.read_text()[:-20])
    said = said_here("train", *WORDS, cwd=tmp_path)
    assert f"{path.name} is damaged" in said or f"{path.name} is gone or is damaged" in said
    after = content(run)
    assert not [*unlike(after, before)]
