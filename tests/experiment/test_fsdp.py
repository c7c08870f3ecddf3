"""Two processes with a part of the network each: the weights of one process, and checkpoints that either can take."""

import json
import math
import shutil

import lightning.pytorch as pl
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from difflab.experiment.config.compose import compose_job
from difflab.experiment.machine.launch import together
from difflab.experiment.machine.processes import everyone
from difflab.experiment.parts.errors import UserError
from difflab.experiment.training.callback.progress import RunProgress
from difflab.experiment.training.fitting import Fit
from difflab.experiment.training.job import Training
from difflab.paradigm import DDPM, EMA
from helpers.jobs import TINY, said_here, the_run

SHARDED = ["trainer=fsdp", "trainer.accelerator=cpu"]
SHORT = ["images=480", "check_every=240", "logger=local", "protocol.n=0"]  # 30 steps, saved after 15 and 30
ADAMW = ["optimizer=adamw"]
FEWER = ["images=192", "check_every=96"]  # 12 steps, saved after 6 and 12
UNET = [*TINY, *SHORT, *ADAMW, "backbone.dropout=0.0"]
DIT = ["data=digits", "backbone=dit", "backbone.width=16", "backbone.depth=1", "backbone.heads=2", "batch_size=16"]
DIT += ["nfe=4", "precision=fp32", "trainer=cpu", *SHORT, *ADAMW]


def trained(words, folder):
    folder.mkdir()
    said_here("train", *words, cwd=folder)
    return the_run(folder)


@pytest.fixture(scope="module", params=[DIT, UNET], ids=["dit", "unet"])
def runs(request, tmp_path_factory):
    """One process, and two that shard; with their words."""
    folder, words = tmp_path_factory.mktemp("runs"), [*request.param, *FEWER]
    return words, trained(words, folder / "one"), trained([*words, *SHARDED], folder / "two")


def rows(run):
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "per_s" not in k} for line in lines]


def assert_same(ours, theirs):
    """The same run, with its weights, losses and logs to rounding."""
    assert ours.folder.name == theirs.folder.name
    weights = load_file(theirs.weights)
    assert load_file(ours.weights).keys() == weights.keys()
    for key, value in load_file(ours.weights).items():
        torch.testing.assert_close(value, weights[key], rtol=1e-4, atol=1e-5)
    for row, other in zip(rows(ours), rows(theirs), strict=True):
        assert row == pytest.approx(other, rel=1e-5)
    assert ours.result["loss"] == pytest.approx(theirs.result["loss"], rel=1e-6)


def compare(ours, theirs, where=""):
    """Nested states with the same keys and types, and tensors that are close."""
    assert type(ours) is type(theirs), where
    match ours:
        case dict():
            assert [*ours] == [*theirs], where
            for key, value in ours.items():
                compare(value, theirs[key], f"{where}.{key}")
        case list() | tuple():
            for k, pair in enumerate(zip(ours, theirs, strict=True)):
                compare(*pair, f"{where}[{k}]")
        case torch.Tensor():
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
        case _:
            assert ours == pytest.approx(theirs), where


@pytest.mark.long
def test_weights_averages_and_logs_are_those_of_one_process(runs):
    _, one, two = runs
    assert_same(two, one)


@pytest.mark.long
def test_a_checkpoint_is_that_of_one_process(runs):
    _, one, two = runs
    ours, theirs = (torch.load(run.checkpoint, weights_only=True) for run in (two, one))
    for state in (ours, theirs):
        del state["callbacks"][RunProgress.__qualname__]["seconds"]
    compare(ours, theirs)
    for mine, other in zip(ours["optimizer_states"], theirs["optimizer_states"], strict=True):
        for k, state in other["state"].items():  # a fused optimizer goes by the order in memory
            assert all(mine["state"][k][name].stride() == value.stride() for name, value in state.items())


@pytest.mark.long
@pytest.mark.parametrize("begun", ["one", "two"])
@pytest.mark.parametrize("by", [[], SHARDED, ["trainer.devices=2"]], ids=["one", "fsdp", "ddp"])
def test_a_training_goes_on_by_other_processes(runs, tmp_path, begun, by):
    words, one, two = runs
    run = {"one": one, "two": two}[begun]
    if by == {"one": [], "two": SHARDED}[begun]:
        pytest.skip("by the same processes")
    there = tmp_path / "runs" / run.folder.name
    shutil.copytree(run.folder, there, ignore=shutil.ignore_patterns("weights*", "result.json", "last.ckpt"))
    halfway = (there / "checkpoints" / "previous.ckpt").rename(there / "checkpoints" / "last.ckpt").read_bytes()
    said_here("train", *words, *by, cwd=tmp_path)
    assert_same(the_run(tmp_path), one)
    assert (there / "checkpoints" / "previous.ckpt").read_bytes() == halfway, "it did not start again"


class Noted(pl.Callback):
    """How many numbers this process holds, and how many there are, at the end."""

    def on_train_end(self, trainer, pl_module):
        (ema,) = (each for each in trainer.callbacks if isinstance(each, EMA))
        parameters = [*pl_module.learned.parameters()]
        moments = [v for state in trainer.optimizers[0].state.values() for k, v in state.items() if k != "step"]
        averages = [p for average in ema.averages.values() for p in average.module.parameters()]
        self.held = {}
        for name, parts in (("parameters", parameters), ("moments", moments), ("averages", averages)):
            here = [v.to_local() if isinstance(v, DTensor) else v for v in parts]
            self.held[name] = sum(v.numel() for v in here), sum(v.numel() for v in parts)
        self.skipped = pl_module.skipped


def inside(words, spoilt):
    """What one process of several finds in a training some of whose steps have a loss that is not finite."""
    loss, noted = DDPM.loss, Noted()

    def broken(self, noised):
        terms = loss(self, noised)
        return {k: v * math.nan if self.global_step in spoilt else v for k, v in terms.items()}

    DDPM.loss = broken
    try:
        fit = Fit(Training.of(compose_job("train", words)), requested=True)
        fit.trainer.callbacks.append(noted)
        fit.run()
    finally:
        DDPM.loss = loss
    return {"held": everyone(noted.held), "skipped": noted.skipped}


def test_a_process_holds_half_of_everything_and_steps_that_are_not_finite_are_passed_over(tmp_path):
    cpus, found = [torch.device("cpu")] * 2, {}
    for name, how in (("one", []), ("two", SHARDED)):
        words = [*DIT, *how, f"runs_dir={tmp_path / name / 'runs'}"]
        found[name] = together(cpus, inside, words, [4, 5, 20]) if how else inside(words, [4, 5, 20])
    for held in found["two"]["held"]:
        for part, (own, whole) in held.items():
            assert 0.45 * whole < own < 0.55 * whole, part
    assert found["two"]["skipped"] == found["one"]["skipped"] == 3
    assert_same(the_run(tmp_path / "two"), the_run(tmp_path / "one"))


@pytest.mark.long
def test_a_training_that_diverges_says_where_and_keeps_its_last_finite_state(tmp_path):
    words = [*DIT, *SHARDED, f"runs_dir={tmp_path / 'runs'}"]
    with pytest.raises(UserError, match=r"not finite in 10 steps in a row, the last of them step 26; log-SNR"):
        together([torch.device("cpu")] * 2, inside, words, [*range(17, 30)])
    state = torch.load(the_run(tmp_path).checkpoint, weights_only=True)
    assert state["global_step"] == 26
    assert all(value.isfinite().all() for value in state["state_dict"].values())


def test_what_cannot_be_sharded_is_refused_before_any_work(tmp_path, subtests):
    for words, message in [
        ([], "optimizer=muon makes whole matrices orthogonal"),
        (["paradigm=vdm", *ADAMW], "trainer=fsdp shards the network alone, and VDM learns more, as its schedule"),
    ]:
        with subtests.test(message):
            assert message in said_here(
                "train", *(w for w in DIT if w not in ADAMW), *SHARDED, *words, cwd=tmp_path, status=1
            )
    assert not [*tmp_path.glob("runs/*")]
