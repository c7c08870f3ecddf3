"""Optimizers, learning rates and callbacks in runs: resumed, on two processes, refused, and in earlier layouts."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from difflab.experiment.parts.identity import fingerprint, identity
from difflab.experiment.store.run import Run, find
from difflab.paradigm import SGD, WSD, Cosine, Optimisation
from helpers.conf import composed
from helpers.jobs import TINY, finish, job, run_here, said_here

MUON = [*TINY, "images=480", "check_every=160", "logger=local", "optimizer=muon", "lr_schedule=wsd"]
MUON += ["protocol.n=0", "backbone.dropout=0.0", "lr_schedule.warmup=240", "lr=0.005"]
MUON += ["callbacks=[lr_monitor,model_summary,device_stats]"]
FLOW = ["experiment=toy", "data=moons", "paradigm=rectified_flow", "backbone.width=16", "images=640", "batch_size=64"]
FLOW += ["data.source.n=500", "data.source.held_out=100", "nfe=4", "protocol.n=32", "protocol.n_likelihood=0"]
FLOW += ["logger=local", "trainer=cpu"]


def the_run(folder):
    (config,) = Path(folder).glob("runs/*/config.yaml")
    return Run(config.parent)


def rows(run):
    """What was logged, but for times."""
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if "per_s" not in k} for row in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    said = said_here("train", *MUON, cwd=folder)
    return the_run(folder), said


def test_callbacks_log_beside_the_run(uninterrupted):
    run, said = uninterrupted
    assert "denoiser.backbone" in said, "the summary of the model is printed"
    rates = {row["step"]: row["lr-MuonAndAdamW/pg1"] for row in rows(run) if "lr-MuonAndAdamW/pg1" in row}
    logged = {row["step"]: row["train/lr"] for row in rows(run) if "train/lr" in row}
    assert len(rates) >= 3
    assert {step: rate for step, rate in logged.items() if step in rates} == pytest.approx(rates)
    for step, rate in rates.items():
        assert rate == pytest.approx(0.005 * WSD(240)(16 * (step + 1), 16 * 31))


@pytest.mark.long
def test_a_run_by_muon_that_is_interrupted_goes_on_bit_for_bit(uninterrupted, tmp_path):
    whole, _ = uninterrupted
    process = job("train", *MUON, cwd=tmp_path)
    checkpoint = tmp_path / "runs" / whole.folder.name / "checkpoints" / "last.ckpt"
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    assert 0 < torch.load(checkpoint, weights_only=True)["global_step"] < 30
    said_here("train", *MUON, cwd=tmp_path)
    run = the_run(tmp_path)
    ours, theirs = load_file(run.weights), load_file(whole.weights)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert rows(run) == rows(whole)


@pytest.mark.long
def test_two_processes_step_by_muon_as_one_does(uninterrupted, tmp_path):
    whole, _ = uninterrupted
    said_here("train", *MUON, "trainer.devices=2", "trainer.strategy=ddp", cwd=tmp_path)
    run = the_run(tmp_path)
    assert run.folder.name == whole.folder.name
    held_out = [[row["val/loss"] for row in rows(each) if "val/loss" in row] for each in (run, whole)]
    assert held_out[0] == pytest.approx(held_out[1], rel=5e-3)
    assert len(held_out[0]) == 3
    assert run.result["loss"] == pytest.approx(whole.result["loss"], rel=5e-3)


def test_words_of_earlier_versions_are_answered_by_todays(tmp_path, monkeypatch, capfd, subtests):
    monkeypatch.chdir(tmp_path)
    for command, words, message in [
        ("train", ["model.optimisation.lr=1e-3"], "model.optimisation.lr=1e-3: the word for it is lr, as lr=1e-3"),
        ("train", ["-m", "model.optimisation.lr=1e-3,1e-2"], "as lr=1e-3,1e-2"),
        ("train", ["++model.optimisation.warmup=0.1"], "as lr_schedule.warmup=0.1"),
        ("evaluate", ["model.optimisation.weight_decay=0.1"], "as optimizer.weight_decay=0.1"),
        ("search", ["model.optimisation.betas=[0,0],[0,1]"], "as optimizer.betas=[0,0],[0,1]"),
        ("train", ["guidance=clip"], "guidance=clip: what limits x0 is a group of its own, which is applied after the"),
        ("train", ["guidance=[classifier_free,clip]"], "guidance: guidance=classifier_free range=clip"),
        ("sample", ["guidance=[rescale,interval,clip_points]"], "guidance=[rescale,interval] range=clip_points"),
        ("train", ["teacher.guidance=dynamic_threshold"], "guidance: teacher.range=dynamic_threshold"),
        (
            "evaluate",
            ["guidance.clip.limit=2"],
            "the word for it is range.limit, as range.limit=2",
        ),
        ("train", ["callbacks=early_stopping"], "callbacks=early_stopping does not exist; valid: device_stats"),
        ("train", ["+callbacks.x._target_=lightning.pytorch.callbacks.EarlyStopping"], "EarlyStopping is refused"),
        ("train", ["+callbacks.x._target_=difflab.sampler.DDIM"], "callbacks.x: DDIM is no callback"),
        ("train", ["callbacks=lr_monitor", "callbacks.lr_monitor.logging_interval=day"], "logging_interval='day'"),
    ]:
        with subtests.test(" ".join(words)):
            with pytest.raises(SystemExit) as refusal:
                run_here(command, *TINY, *words)
            said = "".join((*capfd.readouterr(), refusal.value.code if isinstance(refusal.value.code, str) else ""))
            assert message in said
            assert len(said.strip().splitlines()) == 1
            assert list(tmp_path.glob("runs/*")) == []


def test_a_warm_up_that_is_longer_than_the_training_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_here("train", *FLOW, "lr_schedule=constant", "lr_schedule.warmup=1000")
    assert "lr_schedule.warmup=1_000 is longer than images=640: lr=0.004 is not reached" in capsys.readouterr().out
    run_here("train", *FLOW)
    assert "is longer than" not in capsys.readouterr().out


def test_callbacks_are_no_part_of_a_run_and_the_optimizer_is():
    origins = {"data": {"sha256": "0"}}
    plain, watched = composed(), composed("callbacks=[lr_monitor,model_summary]")
    assert fingerprint(plain, origins) == fingerprint(watched, origins)
    others = [composed(word) for word in ("optimizer=adam", "optimizer=adamw", "lr_schedule=wsd", "lr=0.001")]
    assert len({fingerprint(each, origins) for each in (plain, *others)}) == 5


def test_adamw_under_a_cosine_has_the_identity_that_it_had_before_others_came():
    before = {"class": "paradigm:Optimisation", "lr": 0.002, "warmup": 0.05, "weight_decay": 0.0}
    before |= {"betas": [0.9, 0.99], "clip": 1.0}
    assert identity(composed("optimizer=adamw")["model"]["optimisation"]) == identity(Optimisation()) == before
    other = identity(Optimisation(SGD(), Cosine()))
    assert other["optimizer"] == {"class": "paradigm:SGD", "weight_decay": 0.0, "momentum": 0.9, "nesterov": False}
    assert {"lr", "warmup", "clip"} <= other.keys()


def as_format_2(run):
    """Give a run's configuration the layout that it had before there were other optimizers."""
    path = run.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    assert config.pop("format") == 4
    config["guidance"] = {config["choices"].pop("range"): config.pop("range")}
    (config["choices"]["guidance"],) = config["guidance"]
    old = config["model"]["optimisation"]
    for group in ("optimizer", "lr_schedule"):
        old |= {key: value for key, value in old.pop(group).items() if key != "_target_"}
        del config[group], config["choices"][group]
    del config["lr"], config["callbacks"]
    path.write_text(yaml.safe_dump({"format": 2, **config}, sort_keys=False))


def test_a_run_of_the_layout_before_is_found_again_evaluated_and_straightened(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_here("train", *FLOW, "lr=0.003", "optimizer=adamw")
    run = the_run(tmp_path)
    written, today = run.weights.stat().st_mtime_ns, run.config
    as_format_2(run)
    assert {**find(tmp_path / "runs", "rectified_flow").config, "format": 4} == today
    run_here("train", *FLOW, "lr=0.003", "optimizer=adamw")
    assert run.weights.stat().st_mtime_ns == written
    run_here("evaluate", f"run={run.folder.name}", "sampler=heun", "nfe=6", "logger=local", "-v")
    assert "Heun()" in capsys.readouterr().out
    run_here("reflow", f"run={run.folder.name}", "pairs=200", "images=640", "nfe=4")
    straightened = find(tmp_path / "runs", "reflow").config
    assert straightened["format"] == 4
    assert straightened["model"]["optimisation"]["lr"] == straightened["lr"] == 0.003
    assert straightened["optimizer"]["_target_"] == "difflab.paradigm.AdamW"
