"""The same numbers, pictures and settings by TensorBoard, CSV and MLflow, read back by their own readers."""

import csv
import json
import logging
import sys

import pytest
import yaml

from difflab.experiment.config.compose import compose
from difflab.experiment.mirror.base import Mirrors
from difflab.experiment.mirror.lightning_mirrors import CSV, MLflow, TensorBoard
from difflab.experiment.mirror.wandb_job import WandbJob
from difflab.experiment.parts.build import build
from helpers.jobs import TOY, measured, said_here, the_run

WORDS = [word for word in TOY if word != "logger=local"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run that was trained and measured with all three loggers at once."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("trained")
    said = said_here("train", *WORDS, "logger=[tensorboard,csv,mlflow]", cwd=folder)
    assert "failed" not in said
    return folder, the_run(folder)


def rows(run):
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def losses(run):
    return {row["step"]: row["train/loss"] for row in rows(run) if "train/loss" in row}


@pytest.mark.long
def test_tensorboard_has_rows_pictures_settings_and_scores(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, run = trained
    events = EventAccumulator(str(run.folder / "tensorboard" / run.folder.name)).Reload()
    found = {each.step: each.value for each in events.Scalars("train/loss")}
    assert found == pytest.approx(losses(run))
    assert events.Images("samples")
    assert events.Scalars("w2")[-1].value == pytest.approx(measured(run)["metrics"]["w2"])
    assert "_hparams_/session_start_info" in events.summary_metadata
    (folder,) = run.folder.glob("evaluations/tensorboard/*")
    assert EventAccumulator(str(folder)).Reload().Images("samples")


def test_csv_has_every_row_and_the_settings(trained):
    _, run = trained
    folder = run.folder / "csv" / run.folder.name
    table = [*csv.DictReader((folder / "metrics.csv").open())]
    found = {int(row["step"]): float(row["train/loss"]) for row in table if row["train/loss"]}
    assert found == pytest.approx(losses(run))
    assert float(table[-1]["w2"]) == pytest.approx(measured(run)["metrics"]["w2"])
    assert yaml.safe_load((folder / "hparams.yaml").read_text())["batch_size"] == 64


def test_mlflow_has_a_run_a_job(trained):
    from mlflow.tracking import MlflowClient

    folder, run = trained
    client = MlflowClient(f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'difflab'")
    found = {each.data.tags["job_type"]: each for each in client.search_runs([experiment.experiment_id])}
    assert found.keys() == {"train", "evaluate"}
    training = found["train"]
    assert training.data.params["batch_size"] == "64"
    assert training.info.status == "FINISHED"
    history = client.get_metric_history(training.info.run_id, "train/loss")
    assert {each.step: each.value for each in history} == pytest.approx(losses(run))
    score = measured(run)["metrics"]["w2"]
    assert training.data.metrics["w2"] == found["evaluate"].data.metrics["w2"] == pytest.approx(score)
    assert client.list_artifacts(training.info.run_id)


def test_a_training_that_goes_on_keeps_its_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "images_seen": 4, "train/loss": 2.0}\n')
    job = WandbJob(tmp_path, "name", "train", {"batch_size": 4})
    mirror = CSV()
    mirror(job).log_metrics({"train/loss": 1.0}, 10)
    mirror.close()
    table = [*csv.DictReader((tmp_path / "csv" / "name" / "metrics.csv").open())]
    assert [(row["step"], row["train/loss"]) for row in table] == [("0", "2.0"), ("10", "1.0")]


def test_a_logger_that_fails_stops_nothing(tmp_path, caplog):
    (tmp_path / "csv").write_text("in the way")
    job = WandbJob(tmp_path, "name", "train", {"batch_size": 4})
    mirror = CSV()
    with caplog.at_level(logging.WARNING):
        mirror(job).log_metrics({"train/loss": 1.0}, 10)
        mirror.log_quality(job, {"metrics": {"w2": 1.0}})
        mirror.close()
    assert "CSV failed, the files go on" in caplog.text


def test_secrets_stay_here(tmp_path):
    job = WandbJob(tmp_path, "name", "train", {"batch_size": 4, "data": {"hf_token": "hush"}})
    mirror = CSV()
    mirror(job)
    mirror.close()
    text = (tmp_path / "csv" / "name" / "hparams.yaml").read_text()
    assert "batch_size" in text
    assert "hush" not in text


@pytest.mark.parametrize(("cls", "package"), [(TensorBoard, "tensorboard"), (MLflow, "mlflow")])
def test_a_package_that_is_not_installed_is_named_with_its_extra(cls, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'pip install "difflab\[{package}\]"'):
        cls()


def test_one_logger_or_several_and_the_form_of_earlier_runs():
    names = [type(each).__name__ for each in Mirrors.of(compose("train", ["logger=[local,csv]"])["logger"]).each]
    assert names == ["Local", "CSV"]
    (one,) = Mirrors.of({"_target_": "difflab.experiment.Local"}).each
    assert one == build({"_target_": "difflab.experiment.Local"})
    with pytest.raises(ValueError, match=r"logger\.x: DDIM is no logger"):
        Mirrors.of({"x": {"_target_": "difflab.sampler.DDIM"}})
