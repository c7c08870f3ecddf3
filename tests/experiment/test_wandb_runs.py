"""What a run on W&B has: rows, numbers, pictures, tags and alerts, and on request console, commit and packages."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import difflab
from difflab.experiment.mirror.base import Local
from difflab.experiment.mirror.wandb_job import protocol_tag
from difflab.experiment.mirror.wandb_mirror import Wandb
from difflab.paradigm.divergence import Diverged
from helpers.wandb_jobs import FOUND, at_server, evaluation, measure, offline, train, training

server = pytest.fixture(at_server)
pytestmark = pytest.mark.usefixtures("sessions")
PACKAGE = Path(difflab.__file__).parent


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


def test_local_writes_nothing(tmp_path):
    Local()(training(tmp_path)).log_metrics({"train/loss": 1.0}, 0)
    Local().log_evaluation(evaluation(tmp_path), FOUND, {})
    assert not list(tmp_path.iterdir())


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
