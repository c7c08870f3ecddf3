"""A GAN and an autoencoder as runs: resumed, exported without the discriminator, shown, named, and refused."""

import json
import shlex

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from difflab import train
from difflab.cli.sample import main as sample
from difflab.experiment.config.compose import compose_job
from difflab.experiment.parts.identity import fingerprint
from difflab.experiment.training.fitting import Fit
from difflab.experiment.training.job import Training
from difflab.paradigm import GAN, Paradigm

SMALL = {"data": "digits", "backbone.width": 16, "backbone.multipliers": [1, 2], "logger": "local", "trainer": "cpu"}
BUDGET = {"images": 80, "batch_size": 8, "check_every": 48, "precision": "fp32"}
ADVERSARY = {"discriminator.width": 16, "adversary.gamma": 1.0}
CASES = {
    "gan": {"paradigm": "gan", "backbone.latent": 16, "protocol": {"n": 16}, **ADVERSARY},
    "autoencoder": {
        "paradigm": "autoencoder",
        "adversary": "hinge",
        "discriminator.layers": 1,
        "perceptual": "lite0",
        "protocol": {"n": 64},
        **ADVERSARY,
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A trained run of each, and the folder of the runs."""
    folder, found = tmp_path_factory.mktemp("adversarial"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for case, words in CASES.items():
            found[case] = train({**words, **SMALL, **BUDGET})
    return found, folder


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_both_players_are_logged_and_one_is_exported(runs):
    found, folder = runs
    for case, result in found.items():
        run = folder / result["folder"]
        keys = {key for row in rows(run) for key in row}
        assert {"train/generator", "train/discriminator", "train/penalty", "train/d_real", "train/d_fake"} <= keys
        assert {"train/grad_norm", "train/grad_norm_discriminator", "val/loss"} <= keys
        assert not any("adversary" in key for key in load_file(next(run.glob("*.safetensors"))))
        state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        assert state["global_step"] == 10
        assert any(key.startswith("adversary.discriminator") for key in state["state_dict"]), case


def test_an_autoencoder_shows_held_out_images_beside_their_reconstructions(runs):
    found, folder = runs
    run = folder / found["autoencoder"]["folder"]
    pictures = sorted(path.name for path in (run / "reconstructions").glob("*.png"))
    assert pictures == ["final.png", "step-0000006.png"]
    with Image.open(run / "reconstructions" / "final.png") as image:
        said = str(image.info)
    assert all(word in said for word in ("original", "reconstruction", "PSNR", "Reconstructions at step 10"))
    result = json.loads((run / "result.json").read_text())
    assert {"psnr", "perceptual", "kl", "kl_per_latent", "posterior_std", "latent_std"} <= result.keys()
    assert not (run / "samples").exists()


def test_a_gan_is_sampled_in_one_step_and_an_autoencoder_is_not(runs, monkeypatch, capsys):
    found, folder = runs
    monkeypatch.chdir(folder)
    program, *words = shlex.split(GAN.hint.format(run=found["gan"]["run"]))
    sample([program, *words])
    assert "100 images, 1 network evaluations each" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is a first stage, which generates nothing"):
        sample(["difflab-sample", f"run={found['autoencoder']['run']}"])


def words_of(case):
    """The words of a case, as on the command line."""
    whole = {**CASES[case], **SMALL, **BUDGET, "protocol.n": 0}
    whole.pop("protocol", None)
    return [f"{key}={str(value).replace(' ', '')}" for key, value in whole.items()]


@pytest.mark.long
def test_a_training_that_is_stopped_and_resumed_is_the_uninterrupted_one(runs, tmp_path, monkeypatch):
    """Both players, bit for bit."""
    found, folder = runs
    step = Paradigm.training_step

    def stopped(self, batch, batch_idx):
        if self.global_step == 6:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    for case in CASES:
        config = {**compose_job("train", words_of(case)), "runs_dir": str(tmp_path)}
        job = Training.of(config)
        job.run.folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(Paradigm, "training_step", stopped)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            Fit(job, requested=True).fit()
        monkeypatch.setattr(Paradigm, "training_step", step)
        resumed = Training.of(config)
        assert resumed.images_remaining == 8 * 4
        Fit(resumed, requested=True).fit()
        whole = torch.load(folder / found[case]["folder"] / "checkpoints" / "last.ckpt", weights_only=True)
        ours = torch.load(resumed.run.checkpoint, weights_only=True)
        assert all(torch.equal(ours["state_dict"][key], value) for key, value in whole["state_dict"].items()), case


def test_what_a_frozen_network_is_names_the_run():
    base = compose_job("train", ["paradigm=autoencoder"])
    seen = compose_job("train", ["paradigm=autoencoder", "perceptual=lite0"])
    origins = {"data": {"sha256": "0"}}
    assert fingerprint(base, origins) != fingerprint(seen, origins)


def test_parts_of_a_discriminator_are_refused(tmp_path):
    for case in CASES:
        words = [word for word in words_of(case) if not word.startswith("trainer")] + ["trainer=fsdp"]
        config = {**compose_job("train", [*words, "trainer.accelerator=cpu", "trainer.devices=1"])}
        config["optimizer"] = None
        with pytest.raises(ValueError, match="trains a discriminator, too: choose trainer=ddp"):
            Training.of({**config, "runs_dir": str(tmp_path)})
