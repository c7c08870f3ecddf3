"""A hierarchical VAE through the commands: trained, resumed, sampled, measured by layer, and refused what it cannot."""

import json
import shlex
import signal

import pytest
import torch
from safetensors.torch import load_file

from difflab import train
from difflab.cli.figure import main as figure
from difflab.cli.sample import main as sample
from difflab.paradigm import HierarchicalVAE
from helpers.jobs import TINY, finish, job, said_here, share_cache, the_run, wait_for

pytestmark = pytest.mark.long

NETWORK = {"backbone.width": 16, "backbone.multipliers": [1, 2], "backbone.attention": []}
BUDGET = {
    "images": 320,
    "batch_size": 32,
    "check_every": 160,
    "logger": "local",
    "protocol": {"n": 16, "n_likelihood": 16},
}
LAYERED = [*TINY, "paradigm=hierarchical_vae", "schedule.T=2", "nfe=2", "images=320", "check_every=160", "logger=local"]
REFUSAL = "choose sampler=ancestral_learned nfe=3, or train with encoder=fixed"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run with a learned encoder and one with the fixed encoder, and the folder that they are in."""
    folder = tmp_path_factory.mktemp("hierarchical")
    words = {"paradigm": "hierarchical_vae", "data": "digits", "schedule.T": 3, **NETWORK, **BUDGET}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return {encoder: train({**words, "encoder": encoder}) for encoder in ("learned", "fixed")}, folder


def test_each_layer_is_measured_on_held_out_samples_and_in_training(runs):
    results, folder = runs
    for encoder, result in results.items():
        kept = json.loads((folder / result["folder"] / "result.json").read_text())
        terms = ["reconstruction", "kl_layer_1", "kl_layer_2", "kl_layer_3"]
        assert sum(kept[term] for term in terms) == pytest.approx(kept["loss"], rel=1e-4)
        assert ("denoising_error" in kept) == (encoder == "fixed")
        rows = [json.loads(row) for row in (folder / result["folder"] / "metrics.jsonl").read_text().splitlines()]
        for split in ("train", "val"):
            assert any({f"{split}/{term}" for term in terms} <= row.keys() for row in rows)
        (path,) = (folder / result["folder"] / "evaluations").glob("*.json")
        found = json.loads(path.read_text())
        assert found["cost"]["nfe"] == 3
        assert found["metrics"]["bits_per_dim_bound"] == pytest.approx(kept["loss"], abs=0.3)


def test_the_command_that_it_names_works_and_a_fixed_encoder_takes_any_sampler(runs, monkeypatch, capsys):
    results, folder = runs
    monkeypatch.chdir(folder)
    for result in results.values():
        program, *words = shlex.split(HierarchicalVAE.hint.format(run=result["run"]))
        sample([program, *words])
        assert "100 images, 3 network evaluations each" in capsys.readouterr().out
    sample(["difflab-sample", f"run={results['fixed']['run']}", "sampler=ddim", "nfe=2", "n=4"])
    assert "2 network evaluations each" in capsys.readouterr().out


def test_what_needs_the_schedule_s_noise_is_refused_in_one_line_with_the_way_out(runs, monkeypatch):
    results, folder = runs
    monkeypatch.chdir(folder)
    for command, words in (
        (sample, ["sampler=ddim"]),
        (sample, ["nfe=2"]),
        (sample, ["task=invert", "sampler=ddim"]),
        (sample, ["task=edit", "task.label=3"]),
        (sample, ["task=restore", "problem=inpaint_half", "restoration=dps"]),
        (sample, ["schedule@sampler.schedule=vp"]),
        (figure, ["likelihood"]),
    ):
        name = words[:1] if command is figure else []
        with pytest.raises(SystemExit) as ended:
            command(["difflab", *name, f"run={results['learned']['run']}", *words[len(name) :]])
        assert REFUSAL in str(ended.value), words
        assert "\n" not in str(ended.value)


def test_words_of_another_paradigm_are_refused_before_any_work(tmp_path, monkeypatch, subtests):
    monkeypatch.chdir(tmp_path)
    for words, message in (
        ({"encoder": "fixed"}, "paradigm=hierarchical_vae"),
        ({"layers": "separate"}, "paradigm=hierarchical_vae"),
        ({"paradigm": "hierarchical_vae", "schedule.T": 1}, "needs T >= 2"),
        ({"paradigm": "hierarchical_vae", "backbone.learned_variance": True}, r"backbone\.learned_variance=false"),
        ({"paradigm": "hierarchical_vae", "denoiser": "network"}, "choose denoiser=hierarchical_vae"),
        ({"paradigm": "hierarchical_vae", "nfe": 4}, "choose sampler=ancestral_learned nfe=8"),
    ):
        with subtests.test(str(words)), pytest.raises(ValueError, match=message):
            train({"data": "digits", **NETWORK, "logger": "local", **words})
    assert not (tmp_path / "runs").exists()


def test_killed_and_resumed_is_uninterrupted(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    said_here("train", *LAYERED, cwd=whole)
    process = job("train", *LAYERED, cwd=broken)
    wait_for("runs/*/checkpoints/last.ckpt", broken, process)
    process.send_signal(signal.SIGKILL)
    finish(process, -9)
    assert the_run(broken).result is None
    share_cache(whole, broken)
    said_here("train", *LAYERED, cwd=broken)
    ours, theirs = load_file(the_run(broken).weights), load_file(the_run(whole).weights)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert the_run(broken).result["kl_layer_1"] == the_run(whole).result["kl_layer_1"]
