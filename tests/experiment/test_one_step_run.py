"""A variational autoencoder through the commands: trained, sampled, measured, and refused what it cannot do."""

import json
import shlex

import pytest

from difflab import train
from difflab.cli.figure import main as figure
from difflab.cli.report import main as report
from difflab.cli.sample import main as sample
from difflab.paradigm import VAE

NETWORK = {"backbone.width": 16, "backbone.multipliers": [1, 2]}
BUDGET = {"images": 640, "batch_size": 64, "logger": "local", "protocol": {"n": 16, "n_likelihood": 16}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run, and the folder of the runs."""
    folder = tmp_path_factory.mktemp("vae")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return train({"paradigm": "vae", "data": "digits", **NETWORK, **BUDGET}), folder


def test_its_scores_are_of_one_step_and_its_bound_is_measured(run):
    result, folder = run
    (path,) = (folder / result["folder"] / "evaluations").glob("*.json")
    found = json.loads(path.read_text())
    assert found["cost"]["nfe"] == 1
    assert found["metrics"]["bits_per_dim_bound"] > 0
    kept = json.loads((folder / result["folder"] / "result.json").read_text())
    assert "denoising_error" not in kept
    rows = [json.loads(line) for line in (folder / result["folder"] / "metrics.jsonl").read_text().splitlines()]
    assert any({"train/reconstruction", "train/kl"} <= row.keys() for row in rows)


def test_the_command_that_it_names_works_and_so_does_a_report(run, monkeypatch, capsys):
    result, folder = run
    monkeypatch.chdir(folder)
    program, *words = shlex.split(VAE.hint.format(run=result["run"]))
    sample([program, *words])
    assert "100 images, 1 network evaluations each" in capsys.readouterr().out
    report(["difflab-report"])
    assert (folder / "report" / "index.html").exists()


def test_what_needs_a_flow_is_refused_in_one_line_with_the_way_out(run, monkeypatch):
    result, folder = run
    monkeypatch.chdir(folder)
    for command, words in (
        (sample, ["sampler=heun", "nfe=5"]),
        (sample, ["task=invert"]),
        (sample, ["task=interpolate"]),
        (figure, ["samplers"]),
        (figure, ["likelihood"]),
    ):
        name = words[:1] if command is figure else []
        with pytest.raises(SystemExit) as ended:
            command(["difflab", *name, f"run={result['run']}", *words[len(name) :]])
        assert "sampler=ddim nfe=1 grid=uniform" in str(ended.value), words
        assert "\n" not in str(ended.value)


def test_an_edit_of_less_than_a_step_is_refused(run, monkeypatch):
    result, folder = run
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match=r"task\.strength=0\.5 of 1 step is not one step"):
        sample(["difflab-sample", f"run={result['run']}", "task=edit", "task.label=3", "n=4"])
