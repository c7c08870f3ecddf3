"""A study on W&B: the files of an offline run, and what a server on loopback receives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

from difflab.experiment.mirror.wandb_job import protocol_tag
from difflab.report.record import read_records
from difflab.report.study import Study
from difflab.report.workspace import push
from helpers.studies import card, config, record, write_record
from helpers.wandb_server import wandb_server

pytestmark = pytest.mark.usefixtures("sessions")


@pytest.fixture
def study(tmp_path):
    """2 paradigms x 2 samplers x 2 NFE x 2 seeds."""
    records = [
        record(config(paradigm, seed), card(sampler=sampler, nfe=nfe), tmp_path, fd_lite0=nfe + seed, fd_lite0_floor=1)
        for paradigm in ("ddpm", "rectified_flow")
        for seed in (0, 1)
        for nfe in (5, 10)
        for sampler in ("Heun()", "DDIM(eta=0.0)")
    ]
    for each in records:
        write_record(each)
    return Study.of(read_records(list(dict.fromkeys(each.run for each in records))))


def panels(workspace):
    sections = workspace["spec"]["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def test_offline_the_table_and_the_definition_lie_beside_the_report(study, tmp_path):
    lines = push(study, tmp_path / "report", "difflab")
    table, path = (line.partition(": ")[2] for line in lines)
    definition = json.loads(Path(path).read_text())
    kinds = [panel["viewType"] for panel in panels(definition)]
    assert {"Vega2", "Scatter Plot", "Weave", "Media Browser", "Parallel Coordinates Plot"} == set(kinds)
    fields = [panel["config"]["fieldSettings"] for panel in panels(definition) if panel["viewType"] == "Vega2"]
    assert fields == [{"x": x, "y": "fd_lite0", "stroke": "cell"} for x in ("nfe", "seconds_per_sample")]
    (runs,) = definition["spec"]["section"]["runSets"]
    tag = protocol_tag(study.cells[0].records[0].card.to_dict())
    assert tag in json.dumps(runs["filters"]), "only what may be ranked together"
    grouping = [key["name"] for key in runs["grouping"]]
    assert grouping == ["choices.value.paradigm", "choices.value.sampler", "nfe"]
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *map(str, Path(table).glob("*.wandb"))]
    logged = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout
    assert tag in logged
    assert '"job_type":"report"' in logged


def test_online_both_are_sent(study, tmp_path, monkeypatch):
    with wandb_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        lines = push(study, tmp_path / "report", "difflab")
        wandb.teardown()
    assert [line.partition(": ")[0] for line in lines] == ["table", "definition", "workspace"]
    ((_, run),) = server.runs.items()
    assert run.about["jobType"] == "report"
    assert run.summary["comparison"]["nrows"] == len(study.cells) == 8
    (sent,) = server.workspaces
    assert (sent["entityName"], sent["projectName"]) == ("ent", "difflab")
    assert "wandb/line/v0" in sent["spec"]
    staged = [path.read_bytes() for path in tmp_path.glob("elsewhere/DATA/artifacts/staging/*")]
    (table,) = [json.loads(text) for text in staged if text.startswith(b"{")]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert {row["cell"] for row in rows} == {
        "paradigm=ddpm sampler=ddim",
        "paradigm=ddpm sampler=heun",
        "paradigm=rectified_flow sampler=ddim",
        "paradigm=rectified_flow sampler=heun",
    }
    assert rows[0]["fd_lite0"] == pytest.approx(5.5)
    assert rows[0]["fd_lite0_floor"] == "1 (n=2,000)"
    assert rows[0]["fd_lite0_low"] < rows[0]["fd_lite0"] < rows[0]["fd_lite0_high"]
    assert rows[0]["samples"]["_type"] == "image-file"
    assert "difflab-train" in rows[0]["commands"]
