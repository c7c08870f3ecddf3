"""A run that is stopped and resumed, or asked for by two jobs at once."""

import json
import re
import signal

import pytest
import torch
from safetensors.torch import load_file

from difflab.experiment.store.files import read_json
from helpers.jobs import TINY, finish, job, measured, said_here, share_cache, the_run, wait_for

pytestmark = pytest.mark.long
WORDS = [*TINY, "images=480", "check_every=160", "snapshots=5", "logger=local"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    said_here("train", *WORDS, cwd=folder)
    return folder, the_run(folder)


def comparable(run):
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if "per_s" not in k} for row in rows]


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_and_resumed_is_uninterrupted(uninterrupted, tmp_path, signum, status):
    folder, whole = uninterrupted
    process = job("train", *WORDS, cwd=tmp_path)
    wait_for("runs/*/checkpoints/last.ckpt", tmp_path, process)
    process.send_signal(signum)
    finish(process, status)
    run = the_run(tmp_path)
    assert run.folder.name == whole.folder.name
    reached = torch.load(run.checkpoint, weights_only=True)["global_step"]
    assert 0 < reached < 30
    assert run.result is None
    share_cache(folder, tmp_path)
    said_here("train", *WORDS, cwd=tmp_path)
    ours, theirs = load_file(run.weights), load_file(whole.weights)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert measured(run)["metrics"] == measured(whole)["metrics"]
    assert comparable(run) == comparable(whole)
    assert len(read_json(run.facts)["snapshots"]) == 5
    assert read_json(run.facts) == {**read_json(whole.facts), "training": read_json(run.facts)["training"]}


def test_two_jobs_that_ask_for_the_same_run_train_it_once(uninterrupted, tmp_path):
    """And measure it once: the one that comes later says that it waits, and finds what the other made."""
    words = [*TINY, "images=800", "logger=local"]
    share_cache(uninterrupted[0], tmp_path)
    first = job("evaluate", *words, cwd=tmp_path)
    wait_for("runs/*/config.yaml", tmp_path, first)
    said = [said_here("evaluate", *words, cwd=tmp_path), finish(first)]
    assert sum("training: 800/800" in each for each in said) == 1
    assert re.search(r"is being trained by process \d+ on \S+ since .*: waiting for it", said[0])
    assert sum("samples: 32/32" in each for each in said) == 1
    assert all("fd_lite0" in each for each in said)
    assert len(list(tmp_path.glob("runs/*/evaluations/*.json"))) == 1
