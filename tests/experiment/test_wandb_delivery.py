"""The way to W&B: a job is there once, resumed, killed, synced later or in a sweep, and no failure stops a run."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import wandb
from PIL import Image

from difflab.experiment.mirror.wandb_mirror import QUIET, TrainingMirror, Wandb
from difflab.experiment.mirror.wandb_server import mode
from difflab.experiment.picture.files import picture_at, save_png
from helpers.wandb_jobs import FOUND, at_server, evaluation, measure, offline, train, training

server = pytest.fixture(at_server)
pytestmark = pytest.mark.usefixtures("sessions")


def test_a_resumed_training_stays_one_run(server, tmp_path):
    train(tmp_path, (1.0, 0.5))
    train(tmp_path, (0.75, 0.25), start=1)
    ((name, run),) = server.runs.items()
    assert name == training(tmp_path).id
    assert [row["train/loss"] for row in run.history if "train/loss" in row] == [1.0, 0.5, 0.25]


def test_what_a_killed_process_had_not_sent_is_sent_by_the_next(server, tmp_path):
    """Its rows and pictures of any kind are in the files; of what has arrived nothing is sent again."""
    kinds = "samples", "reconstructions"
    train(tmp_path, (1.0,))
    rows = [{"step": step, "images_seen": 4 * step + 4, "train/loss": step + 0.5} for step in (0, 19, 20)]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for kind in kinds:
        save_png(Image.new("L", (8, 8)), picture_at(tmp_path / kind, 20))
    train(tmp_path, (0.25,), start=3)
    ((_, run),) = server.runs.items()
    found = [(row["_step"], row["images_seen"], row["train/loss"]) for row in run.history if "train/loss" in row]
    assert found == [(0, 4, 1.0), (19, 80, 19.5), (20, 84, 20.5), (30, 124, 0.25)]
    assert {*kinds} <= run.history[[row["_step"] for row in run.history].index(19)].keys()


def test_an_evaluation_that_is_told_again_is_there_once(server, tmp_path):
    measure(tmp_path)
    measure(tmp_path)
    ((_, run),) = server.runs.items()
    assert [row["_step"] for row in run.history] == [0, 1]


def test_what_lies_offline_is_synced_later(server, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(tmp_path)
    wandb.teardown()
    assert not server.runs
    environment = {**os.environ, **server.environment}
    paths = map(str, tmp_path.glob("wandb/offline-run-*"))
    subprocess.run([sys.executable, "-m", "wandb", "sync", *paths], env=environment, check=True, timeout=60)
    ((name, run),) = server.runs.items()
    assert name == training(tmp_path).id
    assert [row["train/loss"] for row in run.history if "train/loss" in row] == [1.0, 0.5]
    assert run.about["groupName"] == "a-study"
    assert any(file.startswith("media/images/samples") for file in run.files)


def test_in_a_sweep_the_job_that_was_asked_for_is_the_agents_run(server, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "swept0")
    mirror = Wandb()
    mirror(training(tmp_path, requested=False)).log_metrics({"train/loss": 1.0}, 0)
    mirror.log_evaluation(evaluation(tmp_path), FOUND, {})
    mirror.log_quality(training(tmp_path, requested=False), FOUND)
    mirror.close()
    trained, measured = server.runs
    assert (trained, measured) == (training(tmp_path, requested=False).id, "swept0")
    assert server.runs[trained].about.get("sweep") is None
    assert server.runs[measured].about["sweep"] == "sweep1"
    assert server.runs[measured].summary["fd_lite0"] == server.runs[trained].summary["fd_lite0"] == 3.5


def test_what_was_known_is_told_to_a_sweep_alone(server, tmp_path, monkeypatch):
    Wandb().log_cached(evaluation(tmp_path), FOUND, {})
    assert not server.runs
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "swept0")
    Wandb().log_cached(evaluation(tmp_path, requested=False), FOUND, {})
    assert not server.runs
    Wandb().log_cached(evaluation(tmp_path), FOUND, {})
    assert server.runs["swept0"].summary["fd_lite0"] == 3.5


def test_a_server_that_refuses_stops_nothing(server, tmp_path, caplog):
    server.status = 403
    train(tmp_path)
    assert "W&B failed" in caplog.text
    ((_, history, _),) = offline(tmp_path)
    assert [row["train/loss"] for row in history if "train/loss" in row] == [1.0, 0.5]
    assert mode() == "offline", "the next jobs do not ask it again"


def test_nothing_at_all_stops_nothing(tmp_path, caplog):
    (tmp_path / "wandb").write_text("in the way")
    measure(tmp_path, training(tmp_path))
    train(tmp_path)
    assert "W&B failed" in caplog.text


def test_a_mirror_that_breaks_in_the_midst_stops_nothing(tmp_path, caplog):
    logger = Wandb()(training(tmp_path))
    logger.log_picture("samples", b"no picture", 0)
    assert "W&B failed" in caplog.text
    assert logger.run is None
    logger.log_metrics({"train/loss": 1.0}, 1)
    run = wandb.init(mode="offline", dir=tmp_path)
    run.finish()
    assert TrainingMirror(run, 4).run is None


def test_jobs_side_by_side_have_one_id(tmp_path):
    start = Barrier(8)

    def mint(_):
        start.wait()
        return training(tmp_path).id

    with ThreadPoolExecutor(8) as pool:
        (minted,) = set(pool.map(mint, range(8)))
    assert minted == training(tmp_path).id


def test_files_lie_with_the_run_wherever_the_process_has_moved_to(tmp_path, monkeypatch):
    for name in ("one", "two"):  # W&B's service stays where it was started
        (tmp_path / name / "run").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        train(Path("run"))
        assert len(list(Path("run").glob("wandb/offline-run-*/*.wandb"))) == 1, name


def test_a_server_that_goes_in_the_midst_is_waited_for_once_and_that_is_said(server, tmp_path, monkeypatch, capsys):
    soon = QUIET.model_copy(update={"finish_timeout": 4.0})
    monkeypatch.setattr("difflab.experiment.mirror.wandb_mirror.QUIET", soon)
    monkeypatch.setattr("difflab.experiment.mirror.wandb_server.PATIENCE", 0.2)
    mirror = Wandb()
    logger = mirror(training(tmp_path))
    logger.log_metrics({"train/loss": 1.0}, 0)
    server.status = 503  # which its client takes for a moment's weakness
    logger.log_metrics({"train/loss": 0.5}, 10)
    mirror.close()
    said = f"W&B: waiting for {server.url} to take the rest of vp_sde-digits-s1-01234567, at most 60 s"
    assert said in capsys.readouterr().out
    assert mode() == "offline", "the next jobs do not wait for it"
    measure(tmp_path)
    assert len(list(tmp_path.glob("evaluations/wandb/offline-run-*/*.wandb"))) == 1
    assert "waiting" not in capsys.readouterr().out


def test_how_to_send_an_offline_run_is_printed_once(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "a run")
    (folder,) = tmp_path.glob("a run/wandb/offline-run-*")
    printed = capsys.readouterr().out
    assert f"wandb sync '{folder.relative_to(tmp_path)}'\n" in printed
