"""Models on W&B: sent with their lineage to a server on loopback, taken from there, and measured."""

import json

import pytest
import wandb

from difflab.experiment.jobs import evaluate
from difflab.experiment.mirror.wandb_artifacts import mark_best
from difflab.experiment.store.run import Run, find
from helpers.jobs import TOY, measured, said_here, the_run
from helpers.wandb_jobs import at_server

pytestmark = pytest.mark.usefixtures("sessions")
WORDS = [word for word in TOY if word != "logger=local"]
server = pytest.fixture(at_server)


def test_a_model_is_sent_with_its_lineage_and_taken_again(server, tmp_path, monkeypatch):
    said = said_here("train", *WORDS, cwd=tmp_path)
    assert "W&B failed" not in said
    run = the_run(tmp_path)
    by_type = {each.about["artifactTypeName"]: each for each in server.artifacts.values()}
    assert {"dataset", "model", "evaluation"} <= by_type.keys()
    data, model, evaluation = (by_type[kind] for kind in ("dataset", "model", "evaluation"))
    trained, assessed = server.runs
    assert {(trained, data.id), (assessed, model.id)} <= set(server.used)
    assert (model.about["runName"], evaluation.about["runName"]) == (trained, assessed)
    assert model.aliases >= {"latest", run.folder.name}
    assert server.runs[trained].summary["w2"] == pytest.approx(measured(run)["metrics"]["w2"])
    assert not server.refused

    assert mark_best(f"ent/difflab/eight_gaussians:{run.folder.name}")
    elsewhere = tmp_path / "another"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    wandb.teardown()
    found = evaluate({"run": "wandb:ent/difflab/eight_gaussians:best", "nfe": 4, "n": 64, "logger": "local"})
    (taken,) = map(Run, elsewhere.glob(f"runs/wandb/ent/difflab/eight_gaussians-v*/{run.folder.name}"))
    assert found["run"] == run.folder.name
    assert taken.weights.read_bytes() == run.weights.read_bytes()
    assert found["metrics"]["w2"] > 0
    assert not [*(elsewhere / "runs").glob("*/config.yaml")], "no training takes it for its own"


def test_a_name_that_is_none_and_a_model_that_is_not_there_are_refused_in_one_line(server, tmp_path):
    for word in ("wandb:model", "wandb:../p/x:best", "wandb:ent/p/../x:best"):
        with pytest.raises(ValueError, match=r"should be wandb:ENTITY/PROJECT/NAME:ALIAS"):
            find(tmp_path, word)
    with pytest.raises(ValueError, match=r"wandb:ent/difflab/digits:best: W&B gives no such model"):
        find(tmp_path, "wandb:ent/difflab/digits:best")


def test_a_model_with_a_hostile_name_or_class_is_refused(server, tmp_path):
    def send(alias, card, config):
        run = wandb.init(project="difflab", entity="ent", dir=tmp_path)
        model = wandb.Artifact("digits", "model")
        for name, content in {"card.json": card, "config.json": config, "result.json": {}}.items():
            with model.new_file(name) as file:
                json.dump(content, file)
        for name in ("weights.json", "weights.safetensors"):
            with model.new_file(name) as file:
                file.write(json.dumps({"format": 4, "module": {"_target_": "os.system"}, "ema": [0.9], "sha256": ""}))
        run.log_artifact(model, aliases=[alias]).wait(30)
        run.finish()

    send("outside", {"run": "../../outside"}, {})
    send("code", {"run": "stranger"}, {"format": 4, "data": {"_target_": "os.system"}})
    runs = tmp_path / "runs"
    with pytest.raises(ValueError, match="is no name of a run"):
        find(runs, "wandb:ent/difflab/digits:outside")
    folder = find(runs, "wandb:ent/difflab/digits:code").folder
    assert (folder.name, folder.parent.parent) == ("stranger", runs / "wandb" / "ent" / "difflab")
    with pytest.raises(ValueError, match=r"refused|older|format|protocol|os"):
        evaluate({"run": "wandb:ent/difflab/digits:code", "runs_dir": str(runs), "logger": "local"})
