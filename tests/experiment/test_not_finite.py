"""What is not finite enters no weights, checkpoints, pictures, scores or JSON: a step is passed over, a job stops."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from difflab.data import DataModule, Moons, Points
from difflab.experiment.store.checkpoint import previous
from difflab.paradigm import DDPM
from difflab.sampler import DDIM
from helpers.jobs import TOY, run_here, said_here, the_run

NAN = float("nan")
WORDS = [*TOY, "images=2560", "check_every=640", "sampler=ddim", "nfe=4"]  # 40 steps, validated after each 10


def spoilt(name, steps, value=NAN, owner=DDPM):
    """A method of a paradigm whose terms are spoilt at some steps."""
    method = getattr(owner, name)

    def spoil(self, noised):
        terms = method(self, noised)
        return {k: v * value if self.global_step in steps else v for k, v in terms.items()}

    return spoil


def all_finite(value):
    """Whether every number and tensor of a nested value is finite."""
    match value:
        case dict():
            return all(map(all_finite, value.values()))
        case list() | tuple():
            return all(map(all_finite, value))
        case torch.Tensor():
            return not value.is_floating_point() or bool(value.isfinite().all())
        case float():
            return math.isfinite(value)
        case _:
            return True


def nothing_is_spoilt(folder):
    """Every number in the files of a run is finite, and JSON holds no other."""

    def refuse(word):
        raise AssertionError(f"{word} in JSON")

    for path in Path(folder).rglob("*"):
        if path.suffix == ".ckpt":
            assert all_finite(dict(torch.load(path, weights_only=True))), path
        elif path.suffix == ".safetensors" and ".cache" not in path.parts:
            assert all_finite(load_file(path)), path
        elif path.suffix in (".json", ".jsonl"):
            for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
                json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize(("steps", "value"), [((15,), NAN), ((3, 4, 5, 30), math.inf)])
def test_steps_that_are_not_finite_are_passed_over_and_counted(tmp_path, monkeypatch, steps, value):
    monkeypatch.setattr(DDPM, "loss", spoilt("loss", steps, value))
    said_here("train", *WORDS, cwd=tmp_path)
    run = the_run(tmp_path)
    nothing_is_spoilt(tmp_path)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["train/skipped"] for row in rows if "train/skipped" in row][-1] == len(steps)
    assert run.result["loss"] < 2


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path, monkeypatch):
    """The weights after the step are those before it, bit for bit, and so is the state of the optimizer."""
    seen = {}

    def moments(self):
        return [each.clone() for own in self.optimizers().state.values() for each in own.values() if each.ndim]

    def broken(self, *args, method=DDPM.configure_gradient_clipping, **more):
        if self.global_step == 15:
            next(self.learned.parameters()).grad.view(-1)[0] = math.inf
            seen["before"] = {k: v.clone() for k, v in self.learned.state_dict().items()}
            seen["moments"] = moments(self)
        if self.global_step == 16:
            seen["after"] = {k: v.clone() for k, v in self.learned.state_dict().items()}
            seen["later"] = moments(self)
        method(self, *args, **more)

    monkeypatch.setattr(DDPM, "configure_gradient_clipping", broken)
    said_here("train", *WORDS, "protocol.n=0", cwd=tmp_path)
    assert all(torch.equal(seen["before"][key], seen["after"][key]) for key in seen["before"])
    assert seen["moments"]
    assert all(map(torch.equal, seen["moments"], seen["later"]))
    nothing_is_spoilt(tmp_path)


def test_a_training_that_diverges_stops_at_its_last_finite_state_and_goes_on_from_there(tmp_path, monkeypatch):
    with monkeypatch.context() as fault:
        fault.setattr(DDPM, "loss", spoilt("loss", range(15, 1000)))
        said = said_here("train", *WORDS, cwd=tmp_path, status=1)
    run = the_run(tmp_path)
    assert re.search(r"not finite in 10 steps in a row, the last of them step 24; log-SNR of its batch: -?\d", said)
    assert "not finite in any block" in said
    assert "Traceback" not in said
    assert run.result is None
    assert not run.weights.exists()
    nothing_is_spoilt(tmp_path)
    assert torch.load(run.checkpoint, weights_only=True)["global_step"] == 24
    said_here("train", *WORDS, f"init={run.folder.name}", "lr=1e-4", "protocol.n=0", cwd=tmp_path)  # by other settings
    said_here("train", *WORDS, cwd=tmp_path)
    assert run.result["loss"] < 2


def test_weights_that_are_not_finite_are_not_saved(tmp_path, monkeypatch):
    def broken(self, *args, method=DDPM.configure_gradient_clipping, **more):
        method(self, *args, **more)
        if self.global_step == 15:
            next(self.learned.parameters()).data.view(-1)[0] = NAN

    monkeypatch.setattr(DDPM, "configure_gradient_clipping", broken)
    said = said_here("train", *WORDS, cwd=tmp_path, status=1)
    run = the_run(tmp_path)
    assert "not finite" in said
    nothing_is_spoilt(tmp_path)
    assert torch.load(run.checkpoint, weights_only=True)["global_step"] == 10
    assert not previous(run.checkpoint).exists()


def test_a_rate_that_is_too_large_leaves_finite_weights_or_no_result(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ended = None
    try:
        run_here("train", *WORDS, "lr=1e6", "lr_schedule=constant", "protocol.n=0")
    except SystemExit as end:
        ended = end.code
    assert (ended is None) == (the_run(tmp_path).result is not None)
    assert ended is None or "not finite" in ended
    nothing_is_spoilt(tmp_path)


def test_a_held_out_loss_that_is_not_finite_is_no_result(tmp_path, monkeypatch):
    with monkeypatch.context() as fault:
        fault.setattr(DDPM, "held_out_loss", spoilt("held_out_loss", range(1000), owner=DDPM))
        said = said_here("train", *WORDS, cwd=tmp_path, status=1)
    assert "loss of the held-out samples is not finite" in said.replace("loss, loss_spread", "loss")
    assert the_run(tmp_path).result is None
    nothing_is_spoilt(tmp_path)
    said_here("train", *WORDS, cwd=tmp_path)
    assert the_run(tmp_path).result["loss"] < 2


def test_samples_that_are_not_finite_are_not_measured_or_shown(tmp_path, monkeypatch):
    def broken(self, denoise, x, *args, step=DDIM.step):
        x, state = step(self, denoise, x, *args)
        return x * NAN if len(x) > 1 else x, state  # the first step that is taken before any work has one sample

    with monkeypatch.context() as fault:
        fault.setattr(DDIM, "step", broken)
        said = said_here("train", *WORDS, cwd=tmp_path, status=1)
    assert "64 of 64 samples are not finite, drawn by DDIM" in said
    assert "no picture of the final samples" in said
    assert not [*tmp_path.rglob("*.png")]
    assert not [*tmp_path.glob("runs/*/evaluations/*.json")]
    assert the_run(tmp_path).result["loss"] < 2, "the training is as good as it was"
    said_here("train", *WORDS, cwd=tmp_path)
    assert len([*tmp_path.glob("runs/*/evaluations/*.json")]) == 1


@pytest.mark.parametrize("value", [NAN, math.inf])
def test_data_that_are_not_finite_are_refused_before_any_work(value):
    images = Moons(n=64, held_out=8).load()
    images.train.x[17, 1] = value
    source = SimpleNamespace(load=lambda: images)
    with pytest.raises(ValueError, match="1 of the 64 training samples of SimpleNamespace is not finite"):
        _ = DataModule(source, shape=(2,), classes=0, sigma_data=1.0, batch_size=4, codec=Points()).images
