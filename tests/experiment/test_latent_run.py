"""Runs that model latents, through the commands: trained, sampled, measured, reported, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from difflab import train
from difflab.backbone import Autoencoder, autoencoder_kl
from difflab.cli.report import main as report
from difflab.cli.sample import main as sample
from difflab.experiment import UserError, compose
from difflab.experiment.parts.identity import flat
from difflab.experiment.store.run import find
from difflab.experiment.training.job import Training
from difflab.experiment.training.network_cost import evaluations_an_image, flops_an_image
from difflab.objective.nearness import psnr
from helpers.pictures import faults, words_of

FIRST = {"backbone": {"width": 16, "multipliers": [1, 2], "classes": 0}}
BUDGET = {"images": 640, "batch_size": 64, "logger": "local", "protocol": {"n": 16, "n_likelihood": 16}}
LATENT = {"data": "digits", "backbone": "dit", "nfe": 4, "trainer": "cpu", **BUDGET}
SMALL = {"backbone.width": 32, "backbone.depth": 2, "backbone.heads": 2}
WORDS = (
    "paradigm=vae data=digits backbone.width=16 backbone.multipliers=[1,2] backbone.classes=0 images=640 batch_size=64 "
    "trainer=cpu protocol.n=0"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs, with the names of a first stage and of a flow in its latents; nobody changes it."""
    folder = tmp_path_factory.mktemp("latents")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        first = train({"paradigm": "vae", "data": "digits", "trainer": "cpu", **BUDGET, **FIRST})["run"]
        latent = train({"paradigm": "rectified_flow", "first_stage": {"run": first}, **LATENT, **SMALL})
    return folder, first, latent


@pytest.fixture
def there(runs, tmp_path, monkeypatch):
    """The names, in a copy of the folder."""
    shutil.copytree(runs[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return runs[1:]


def test_a_run_models_latents_and_is_measured_in_pixels(runs):
    folder, first, result = runs
    run = find(folder / "runs", result["run"])
    origin = run.config["origins"]["first_stage"]
    assert run.config["backbone"]["shape"] == [4, 4, 4]
    assert origin["run"] == first
    assert "latents 4x4x4 of sha256 " + origin["sha256"][:12] in result["card"]["space"]
    assert {"fd_lite0", "fd_lite0_floor", "psnr_reconstruction"} <= result["metrics"].keys()
    assert not [key for key in result["metrics"] if key.startswith("bits_per_dim")]
    stored = json.loads((run.folder / "result.json").read_text())
    assert stored["training"]["images_seen_before"] == 640, "the first stage is part of the cost"


def test_encoding_is_no_part_of_what_a_loss_costs(there):
    """The cost of an image is the same before and after the latents were computed."""
    first, _ = there
    settings = {**LATENT, **SMALL, "paradigm": "rectified_flow", "first_stage": {"run": first}, "images": 128}
    words = [f"{key}={'null' if value is None else value}" for key, value in flat(settings).items()]
    shutil.rmtree(Path("runs", ".cache"))
    job = Training.of(compose("train", words))
    before, after = (flops_an_image(job.model, job.fitted) for _ in range(2))
    assert before == after > 0
    shutil.rmtree(Path("runs", ".cache"))
    job = Training.of(compose("train", words))
    assert evaluations_an_image(job.model, job.fitted) == 1


def test_it_is_sampled_under_another_name_and_what_needs_pixels_is_refused(there, capsys):
    first, result = there
    shutil.move(f"runs/{first}", "runs/renamed")
    for k, damaged in enumerate(("{", "{}", '{"format": 99}', '{"format": 4, "sha256": 1}', "[]")):  # runs of others
        Path(f"runs/another-{k}").mkdir()
        Path(f"runs/another-{k}/weights.json").write_text(damaged)
    name = f"run={result['run']}"
    sample(["difflab-sample", name, "n=4"])
    sample(["difflab-sample", name, "task=reconstruct", "n=4"])
    assert "psnr" in capsys.readouterr().out.lower()
    sample(
        ["difflab-sample", name, "task=invert", "n=4", "sampler=ddim", "guidance=none", "range=none", "out=inverted"]
    )
    known, picture = np.load("inverted/samples.npz"), Image.open("inverted/invert.png")
    x, y = (torch.from_numpy(known[each]).float() / 127.5 - 1 for each in ("arr_0", "held_out"))
    found = json.loads(Path("inverted/report.json").read_text())["measured"]
    assert found["psnr"] == pytest.approx(psnr(x, y).mean().item(), rel=1e-5)
    assert found["rmse"] == pytest.approx((x - y).square().mean().sqrt().item(), rel=1e-5)
    assert "held-out, by the first stage" in words_of(picture)
    sample(["difflab-sample", name, "task=edit", "task.label=3", "n=4", "out=edited"])
    picture = Image.open("edited/edit.png")
    assert "held-out, by the first stage" in words_of(picture)
    assert faults(picture) == []
    for words, said in (
        (["task=restore", "problem=inpaint", "restoration=replacement"], "measures pixels"),
        (["task=restore", "problem=deblur", "restoration=dps"], "measures pixels"),
    ):
        with pytest.raises(SystemExit, match=said):
            sample(["difflab-sample", name, *words])
    shutil.rmtree("runs/renamed")
    with pytest.raises(SystemExit, match="nor a run in runs/ has its weights"):
        sample(["difflab-sample", name, "n=4"])


def test_words_that_train_a_first_stage_train_it_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = {"first_stage": {"run": WORDS}, **LATENT, **SMALL}
    planned = train({**words, "dry_run": True})
    assert "vae-digits" in json.dumps(planned)
    assert not (tmp_path / "runs").exists() or not [*(tmp_path / "runs").glob("*/weights.json")]
    for _ in range(2):
        train({**words, "protocol": {"n": 0}})
    assert capsys.readouterr().out.count("is trained first") == 1
    assert len([*(tmp_path / "runs").glob("vae-*/result.json")]) == 1


def test_a_first_stage_that_cannot_serve_is_refused_before_any_work(there, subtests):
    first, result = there
    cases = {
        "other samples": ({"data": "fashion16"}, r"encodes samples of shape \[1, 8, 8\].* \[1, 16, 16\]"),
        "no latents": ({"first_stage": {"run": result["run"]}}, "has no latents"),
        "no run": ({"first_stage": {"run": "nobody"}}, "first_stage=nobody"),
        "a whitening": ({"first_stage": {"run": first, "whitening": "chanels"}}, "Did you mean 'channels'"),
        "words of other samples": ({"first_stage": {"run": WORDS}, "data": "fashion16"}, "add data=fashion16"),
        "words that make no sense": ({"first_stage": {"run": "paradigm=nothing"}}, "nothing"),
    }
    for name, (settings, said) in cases.items():
        with subtests.test(name), pytest.raises(UserError, match=said):
            train({**LATENT, "first_stage": {"run": first}, **settings})
    for name in ("result.json", "weights.json"):
        Path("runs", first, name).unlink()
    with pytest.raises(UserError, match="has no weights yet"):
        train({**LATENT, "first_stage": {"run": first}})


def test_without_a_first_stage_nothing_changes():
    """The facts of the space are those of the data, as configurations of earlier versions had them."""
    config = compose("train", ["paradigm=edm", "schedule=ve"])
    data = config["data"]
    assert config["backbone"]["shape"] == data["shape"]
    assert config["target"]["sigma_data"] == data["sigma_data"]
    assert config["schedule"]["sigma_max"] == data["max_distance"]
    assert config["model"]["codec"] == data["codec"]
    assert config["range"]["limit"] == 1.0


@pytest.mark.long
def test_a_report_ranks_it_beside_runs_of_pixels(there, capsys):
    _, result = there
    train({"data": "digits", "trainer": "cpu", "nfe": 4, **BUDGET, "backbone": {"width": 16}})
    report(["difflab-report"])
    page = Path("report", "index.html").read_text()
    assert "first_stage" in page
    assert "decoded latents 4x4x4" in page
    assert result["run"] in page


@pytest.mark.long
@pytest.mark.parametrize("paradigm", ["ddpm", "mean_flow"])
def test_every_kind_of_paradigm_takes_a_step_in_latents(there, paradigm):
    first, _ = there
    found = train(
        {
            "paradigm": paradigm,
            "first_stage": {"run": first, "whitening": "full"},
            "data": "digits",
            "backbone": {"width": 16, "multipliers": [1, 2], "attention": [4]},
            **BUDGET,
            "images": 128,
            "nfe": 4,
        }
    )
    assert torch.tensor(found["metrics"]["fd_lite0"]).isfinite()


def test_a_folder_of_diffusers_is_a_first_stage_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = Autoencoder([1, 8, 8], channels=4, width=16, multipliers=[1, 2], groups=8)
    autoencoder_kl.write(network, tmp_path / "vae")
    settings = {**LATENT, **SMALL, "paradigm": "rectified_flow", "images": 128, "first_stage": {"run": "vae"}}
    found = train(settings)
    origin = find(Path("runs"), found["run"]).config["origins"]["first_stage"]
    assert origin["kind"].startswith("AutoencoderKL-")
    assert origin["sha256"][:12] in found["card"]["space"]
    shutil.move("vae", "elsewhere")
    sample(["difflab-sample", f"run={found['run']}", "n=4", "first_stage=elsewhere"])


def test_a_teacher_of_another_space_is_refused(there):
    first, result = there
    words = {"paradigm": "consistency_distillation", "teacher": {"run": result["run"]}, "data": "digits"}
    with pytest.raises(UserError, match=r"choose the same first_stage|makes samples of shape"):
        train({**LATENT, **words, "backbone": "unet"})
    other = {"run": first, "whitening": "full"}
    with pytest.raises(UserError, match="choose the same first_stage"):
        train({**LATENT, **words, "first_stage": other, "backbone": {"width": 16, "attention": [4]}})
