"""What runs share with each other: weights, pairs, sweeps; and what learns besides the network."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from safetensors.torch import load_file

from difflab.experiment.store.run import Run, find
from difflab.experiment.store.weights import load_denoiser
from helpers.jobs import TINY, TOY, measured, said_here, the_run

SHORT = [*TINY, "images=160", "ema=[0.9]"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which one DDPM has been trained."""
    folder = tmp_path_factory.mktemp("finished")
    said_here("train", *SHORT, cwd=folder)
    return folder, the_run(folder)


@pytest.mark.long
def test_the_same_weights_under_another_preset_are_the_same_run(finished):
    """DDIM trains what DDPM trains: the run is found by its fingerprint, and only measured in another way."""
    folder, run = finished
    trained, measured = run.weights.stat().st_mtime_ns, len(list(folder.glob("runs/*/evaluations/*.json")))
    said = said_here("train", *SHORT, "paradigm=ddim", "-v", cwd=folder)
    assert str(run.folder.name) in said
    assert "DDIM(eta=0.0)" in said
    assert run.weights.stat().st_mtime_ns == trained
    assert len(list(folder.glob("runs/*/evaluations/*.json"))) == measured + 1
    assert len(list(folder.glob("runs/*/config.yaml"))) == 1


def test_a_run_may_start_from_the_weights_of_another(finished):
    folder, run = finished
    words = [*TINY, "images=16", "ema=[0.0]", "lr=0.0", "protocol.n=0", "seed=1"]
    said_here("train", *words, f"init={run.folder.name}", cwd=folder)
    (started,) = (path.parent for path in folder.glob("runs/*-s1-*/config.yaml"))
    assert started.name != run.folder.name
    theirs, ours = load_denoiser(run)[0].state_dict(), load_denoiser(Run(started))[0].state_dict()
    torch.testing.assert_close(ours, theirs)
    said = said_here("train", *TINY, f"init={run.folder.name}", "backbone.width=32", cwd=folder, status=1)
    assert "its weights are of another network" in said


def copy_at_first_checkpoint(source, target, over):
    """Copy what a training that is killed after its first checkpoint leaves, from the folder of one under way."""
    while not (found := list(source.glob("runs/*/checkpoints/last.ckpt"))):
        assert not over.wait(0.001), "the training is over"
    run = found[0].parents[1]
    for name in ("config.yaml", "checkpoints/last.ckpt", "metrics.jsonl"):
        path = target / run.relative_to(source) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / name, path)


@pytest.mark.long
def test_what_learns_besides_the_network_is_resumed_and_kept(tmp_path, subtests):
    """Importance's history of losses and VDM's schedule: interrupted and resumed = uninterrupted, and then loaded."""
    for own in [["paradigm=improved_ddpm_vlb", "times.bins=4", "times.history=2"], ["paradigm=vdm"]]:
        words = [*TOY, *own, "nfe=4", "images=1920", "check_every=640", "protocol.n_likelihood=4"]
        folders = [tmp_path / own[0] / part for part in ("whole", "parts")]
        for folder in folders:
            folder.mkdir(parents=True)
        over = Event()
        with subtests.test(own[0]), ThreadPoolExecutor(1) as pool:
            copied = pool.submit(copy_at_first_checkpoint, *folders, over)
            try:
                said_here("train", *words, cwd=folders[0])
            finally:
                over.set()
            copied.result()
            whole, parts = map(the_run, folders)
            assert 0 < torch.load(parts.checkpoint, weights_only=True)["global_step"] < 30
            said_here("train", *words, cwd=folders[1])
            torch.testing.assert_close(load_file(parts.weights), load_file(whole.weights), rtol=0, atol=0)
            assert measured(parts)["metrics"] == measured(whole)["metrics"]
            assert parts.result["loss"] == whole.result["loss"]


@pytest.mark.long
def test_a_flow_is_straightened_by_one_command(tmp_path):
    """Pairs are drawn once, trained on, and the second run is straighter than the first."""
    flow = ["paradigm=rectified_flow", "images=19200", "nfe=4", "optimizer=adamw"]
    said_here("train", *TOY, *flow, cwd=tmp_path)
    words = ["run=rectified", "pairs=2000", "images=19200", "nfe=20"]
    said = said_here("reflow", *words, cwd=tmp_path)
    assert "straightness" in said
    first, second = find(tmp_path / "runs", "rectified").result, find(tmp_path / "runs", "reflow").result
    assert second["straightness"] < 0.2 * first["straightness"]
    (pairs,) = tmp_path.glob("runs/*/pairs/*.safetensors")
    before = pairs.stat().st_mtime_ns
    said_here("reflow", *words, cwd=tmp_path)
    assert pairs.stat().st_mtime_ns == before
    said = said_here("reflow", *words, "sampler=ancestral", cwd=tmp_path, status=1)
    assert "pairs need the flow alone" in said


@pytest.mark.long
def test_a_sweep_ends_in_a_table(tmp_path):
    points = ["data=moons", "backbone=mlp", "protocol=toy", "range=clip_points", "data.source.n=512"]
    points += ["data.source.held_out=128"]
    points += ["backbone.width=16", "batch_size=16", "nfe=4", "protocol.n_likelihood=0", "trainer=cpu", "logger=local"]
    words = [*points, "experiment=ddpm_objectives", "images=32", "schedule.T=16", "weighting=simple", "target=eps,x0"]
    finish_words = ["draws=two,chain", "protocol.n=8"]
    said = said_here("train", *words, *finish_words, cwd=tmp_path)
    table = said[said.rindex("draws") :]
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 4
    for word in ("target", "two", "chain", "eps", "x0"):
        assert word in table
    assert "experiment" not in table


def test_a_closed_form_is_measured_without_training(tmp_path):
    said = said_here("train", *TOY, "data=mixture", "paradigm=exact", "denoiser=known", "nfe=60", cwd=tmp_path)
    assert "training:" not in said
    metrics = measured(the_run(tmp_path))["metrics"]
    assert metrics["w2"] < 3 * metrics["w2_floor"]
