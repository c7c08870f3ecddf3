"""The mirror on W&B, read back from what was written offline, and from what a server on loopback received."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
import wandb
from PIL import Image

import difflab
from difflab.experiment.mirror import Local
from difflab.experiment.wandb_job import WandbJob, protocol_tag
from difflab.experiment.wandb_mirror import QUIET, TrainingMirror, Wandb
from difflab.experiment.wandb_server import mode
from difflab.paradigm.divergence import Diverged
from helpers.studies import card
from helpers.wandb_server import wandb_server

pytestmark = pytest.mark.usefixtures("sessions")
PACKAGE = Path(difflab.__file__).parent
CONFIG = {
    "batch_size": 4,
    "seed": 1,
    "data": {"source": {"repo": "a/b", "hf_token": "hush"}},
    "choices": {"paradigm": "vp_sde", "data": "digits", "sampler": "ancestral", "guidance": "none", "range": "clip"},
    "command": "difflab-train paradigm=vp_sde data.source.hf_token=hush",
}
FOUND = {
    "metrics": {"fd_lite0": 3.5, "fd_lite0_floor": 1.25, "n": 64},
    "cost": {"nfe": 9.0, "seconds_per_sample": 0.5},
    "card": card(nfe=10).to_dict(),
    "choices": {"sampler": "heun", "guidance": ["classifier_free", "rescale"]},
    "command": "difflab-evaluate paradigm=vp_sde sampler=heun nfe=10",
}


@pytest.fixture
def server(monkeypatch):
    with wandb_server() as started:
        for name, value in started.environment.items():
            monkeypatch.setenv(name, value)
        yield started
        wandb.teardown()


def training(folder, **more):
    return WandbJob(folder, "vp_sde-digits-s1-01234567", "train", CONFIG, "a-study", **more)


def evaluation(folder, **more):
    return WandbJob(folder / "evaluations", "vp_sde-digits-s1-01234567-89ab", "evaluate", CONFIG, "a-study", **more)


def train(folder, losses=(1.0, 0.5), start=0):
    mirror = Wandb()
    logger = mirror(training(folder))
    for k, loss in enumerate(losses, start):
        logger.log_metrics({"train/loss": loss, "epoch": 0}, 10 * k)
    logger.log_picture("samples", Image.new("L", (8, 8)), 10)
    mirror.close()


def measure(folder, job=None):
    path = folder / "samples.png"
    Image.new("L", (8, 8), 200).save(path)
    Wandb().log_evaluation(job or evaluation(folder), FOUND, {"samples": path, "pairs": path})


def offline(folder):
    """What the files of the offline runs under a folder say: a summary and all history rows of each."""
    runs = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
        lines = subprocess.run([*inspect, str(path)], capture_output=True, text=True, check=True).stdout.splitlines()
        records = [json.loads(line) for line in lines]
        (about,) = [record["run"] for record in records if record["type"] == "run"]
        history = [record["history"]["item"] for record in records if record["type"] == "history"]
        exits = [record["exit"] for record in records if record["type"] == "exit"]
        assert len(exits) == 1, "not finished"
        runs.append((about, history, "\n".join(lines)))
    return runs


def test_a_training_lies_over_the_images_seen(tmp_path):
    train(tmp_path)
    ((about, history, text),) = offline(tmp_path)
    assert about["display_name"] == "vp_sde-digits-s1-01234567"
    assert (about["run_group"], about["job_type"], about["project"]) == ("a-study", "train", "difflab")
    assert {"paradigm:vp_sde", "data:digits", "sampler:ancestral", "guidance:none", "range:clip"} == set(about["tags"])
    assert [(row["images_seen"], row["train/loss"]) for row in history if "train/loss" in row] == [(4, 1.0), (44, 0.5)]
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/samples*.png"))
    assert "hush" not in text


def test_an_evaluation_has_its_numbers_by_name_and_a_table_with_pictures(server, tmp_path):
    measure(tmp_path)
    ((name, run),) = server.runs.items()
    assert run.exitcode == 0
    assert run.summary["fd_lite0"] == 3.5
    assert run.summary["nfe"] == 9
    assert run.summary["card"]["sampler"] == "Heun()"
    assert (run.history[0]["eval/nfe"], run.history[0]["eval/fd_lite0"]) == (9, 3.5)
    assert run.history[0]["pairs"]["_type"] == "image-file"
    assert run.history[1]["evaluation"]["_type"] == "table-file"
    assert run.config["choices"]["sampler"] == "heun"
    assert run.config["nfe"] == 10
    assert {"sampler:heun", "guidance:classifier_free+rescale", protocol_tag(FOUND["card"])} < set(run.about["tags"])
    (path,) = tmp_path.glob("elsewhere/DATA/artifacts/staging/*")
    table = json.loads(path.read_text())
    row = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (row["sampler"], row["fd_lite0"], row["seconds_per_sample"]) == ("heun", 3.5, 0.5)
    assert row["samples"]["_type"] == "image-file"
    assert name == evaluation(tmp_path).id
    assert not server.refused


def test_axes_are_set_for_both(server, tmp_path):
    train(tmp_path)
    measure(tmp_path)
    trained, measured = (axes(json.loads(run.about["config"])["_wandb"]["value"]["m"]) for run in server.runs.values())
    assert trained["train/*"] == "images_seen"
    assert measured == {"eval/*": "eval/nfe"}


def axes(metrics):
    """Against what each metric stands; W&B numbers the fields, 1 a name, 2 a glob, 5 the axis, counted from 1."""
    return {each.get("2") or each["1"]: metrics[each["5"] - 1]["1"] for each in metrics if "5" in each}


def test_a_resumed_training_stays_one_run(server, tmp_path):
    train(tmp_path, (1.0, 0.5))
    train(tmp_path, (0.75, 0.25), start=1)
    ((name, run),) = server.runs.items()
    assert name == training(tmp_path).id
    assert [row["train/loss"] for row in run.history if "train/loss" in row] == [1.0, 0.5, 0.25]


def test_what_a_killed_process_had_not_sent_is_sent_by_the_next(server, tmp_path):
    """Its rows and pictures are in the files; of what has arrived nothing is sent again."""
    folder = tmp_path / "samples"
    folder.mkdir()
    train(tmp_path, (1.0,))
    rows = [{"step": step, "images_seen": 4 * step + 4, "train/loss": step + 0.5} for step in (0, 19, 20)]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    Image.new("L", (8, 8)).save(folder / "step-0000020.png")
    train(tmp_path, (0.25,), start=3)
    ((_, run),) = server.runs.items()
    found = [(row["_step"], row["images_seen"], row["train/loss"]) for row in run.history if "train/loss" in row]
    assert found == [(0, 4, 1.0), (19, 80, 19.5), (20, 84, 20.5), (30, 124, 0.25)]
    assert "samples" in run.history[[row["_step"] for row in run.history].index(19)]


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


def test_local_writes_nothing(tmp_path):
    Local()(training(tmp_path)).log_metrics({"train/loss": 1.0}, 0)
    Local().log_evaluation(evaluation(tmp_path), FOUND, {})
    assert not list(tmp_path.iterdir())


def test_files_lie_with_the_run_wherever_the_process_has_moved_to(tmp_path, monkeypatch):
    for name in ("one", "two"):  # W&B's service stays where it was started
        (tmp_path / name / "run").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        train(Path("run"))
        assert len(list(Path("run").glob("wandb/offline-run-*/*.wandb"))) == 1, name


def test_a_server_that_goes_in_the_midst_is_waited_for_once_and_that_is_said(server, tmp_path, monkeypatch, capsys):
    soon = QUIET.model_copy(update={"finish_timeout": 4.0})
    monkeypatch.setattr("difflab.experiment.wandb_mirror.QUIET", soon)
    monkeypatch.setattr("difflab.experiment.wandb_server.PATIENCE", 0.2)
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


def records(folder):
    """All records of the one offline run under a folder, as W&B's own program prints them."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def of_kind(kind, found):
    return [record[kind] for record in found if record["type"] == kind]


def test_a_failure_and_a_gradient_that_is_not_finite_raise_alerts(tmp_path):
    mirror = Wandb()
    logger = mirror(training(tmp_path))
    logger.log_metrics({"train/loss": 1.0, "train/skipped": 1.0}, 9)
    logger.log_metrics({"train/loss": 1.0, "train/skipped": 2.0}, 19)
    mirror.close(Diverged("the gradient was not finite; token=hush"))
    found = records(tmp_path)
    titles = [(each["title"].partition(":")[0], each["level"]) for each in of_kind("alert", found)]
    assert titles == [("a gradient is not finite", "WARN"), ("diverged", "ERROR")]
    assert [each["exit_code"] for each in of_kind("exit", found)] == [1]
    assert "hush" not in json.dumps(found)


def test_a_stop_is_no_failure_and_alerts_can_be_off(tmp_path):
    for folder, error, alerts in (("a", KeyboardInterrupt(), True), ("b", ValueError("wrong"), False)):
        mirror = Wandb(alerts=alerts)
        mirror(training(tmp_path / folder)).log_metrics({"train/loss": 1.0}, 0)
        mirror.close(error)
        assert not of_kind("alert", records(tmp_path / folder))


def test_notes_tags_and_group_are_ones_own(tmp_path):
    mirror = Wandb(group="mine", notes="a first look", tags=["thesis"])
    mirror(training(tmp_path)).log_metrics({"train/loss": 1.0}, 0)
    mirror.close()
    (about,) = of_kind("run", records(tmp_path))
    assert (about["run_group"], about["notes"]) == ("mine", "a first look")
    assert {"thesis", "data:digits"} < set(about["tags"])


def test_without_a_study_the_group_is_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    assert replace(training(tmp_path), study=None).group == "sweep1"
    assert training(tmp_path).group == "a-study"


def test_console_commit_and_packages_are_there_on_request_without_secrets(tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    git = ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    monkeypatch.chdir(repository)
    mirror = Wandb(console=True, git=True, requirements=True, code=True)
    mirror(training(tmp_path)).log_metrics({"train/loss": 1.0}, 0)
    print("a line for the console; the password is hush")
    mirror.close()
    found = records(tmp_path)
    text = json.dumps(found)
    assert "a line for the console; the password is ..." in text
    assert "hush" not in text
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert commit in text
    (source,) = (each for each in of_kind("artifact", found) if each["type"] == "code")
    assert source["name"] == "difflab"
    assert {each["path"] for each in source["manifest"]["contents"]} == {
        str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py")
    }
    files = next(tmp_path.glob("wandb/offline-run-*/files"))
    assert "torchmetrics" in (files / "requirements.txt").read_text()
    assert "hush" not in (files / "output.log").read_text()
    quiet = Wandb()
    quiet(training(tmp_path / "quiet")).log_metrics({"train/loss": 1.0}, 0)
    print("a line for the console")
    quiet.close()
    text = json.dumps(records(tmp_path / "quiet"))
    assert commit not in text
    assert "a line for the console" not in text
    assert not of_kind("artifact", records(tmp_path / "quiet"))
    assert not list((tmp_path / "quiet").glob("wandb/offline-run-*/files/*"))


def test_how_to_send_an_offline_run_is_printed_once(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "a run")
    (folder,) = tmp_path.glob("a run/wandb/offline-run-*")
    printed = capsys.readouterr().out
    assert f"wandb sync '{folder.relative_to(tmp_path)}'\n" in printed
