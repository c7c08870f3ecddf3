"""What is kept from W&B, and whether it is asked at all."""

from pathlib import Path

import pytest
import wandb

from difflab.experiment.mirror.wandb_job import WandbJob, redacted, secrets_in, without_secrets
from difflab.experiment.mirror.wandb_mirror import Wandb
from difflab.experiment.mirror.wandb_server import mode

pytestmark = pytest.mark.usefixtures("sessions")


def test_secrets_stay_here():
    config = {"hf_token": 1, "deep": [{"API_KEY": 2, "width": 3}], "monkey_business": 4, "path": "a/b"}
    assert without_secrets(config) == {"deep": [{"width": 3}], "path": "a/b"}
    assert without_secrets("difflab-train +hub.token=abc seed=1") == "difflab-train +hub.token=... seed=1"


def test_without_a_key_it_is_offline(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    keys = tmp_path / "keys"
    monkeypatch.setenv("NETRC", str(keys))
    assert mode() == "offline"
    keys.write_text(f"machine api.wandb.ai login user password {'0' * 40}\n")
    assert mode() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb.teardown()
    assert mode() == "offline", "a key for another server"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mode() == "disabled"


def test_values_of_secrets_are_found_and_hidden_in_text(monkeypatch):
    monkeypatch.setenv("MY_PASSWORD", "swordfish")
    secrets = secrets_in({"data": {"source": {"hf_token": "hush-hush", "repo": "a/b"}}})
    assert {"swordfish", "hush-hush"} <= secrets
    assert "a/b" not in secrets
    assert redacted("log in by hush-hush, then key=abc", secrets) == "log in by ..., then key=..."


def test_what_is_sent_beside_a_job_is_a_choice():
    job = WandbJob(Path(), "name", "train", {})
    quiet, open_ = Wandb().settings(job), Wandb(system=True, console=True, git=True, requirements=True).settings(job)
    sent = [
        (s.x_disable_stats, s.console, s.disable_git, s.x_save_requirements, s.x_disable_meta) for s in (quiet, open_)
    ]
    assert sent == [(True, "off", True, False, True), (False, "wrap_raw", False, True, True)]
