"""Own parts of the kinds that the example extension does not have: each is an option, and takes part in a run."""

import json
import sys

import pytest

from helpers.extensions import install
from helpers.jobs import said_here

CLASSES = '''
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl

from difflab.experiment import Local
from difflab.guidance import Clip
from difflab.metric import Points, declare_score
from difflab.metric.features import Score
from difflab.objective import Independent, One, Simple, Uniform
from difflab.paradigm import AdamW, Constant
from difflab.process import V
from difflab.sampler import Uniform as Grid

declare_score("gap", "Gap of the means", higher_is_better=False)


class Target(V): ...
class Times(Uniform): ...
class Weighting(Simple): ...
class Coupling(Independent): ...
class Range(Clip): ...
class Optimizer(AdamW): ...
class Rate(Constant): ...
class Logger(Local): ...


class Even(Grid):
    """A grid."""


class Means(Points):
    """The distance of the means."""

    name = "means"
    scores = (Score.single("point", "gap", lambda x, y: (x.mean(0) - y.mean(0)).norm().item()),)


class Note(pl.Callback):
    """Write a file when training begins."""

    def on_train_start(self, trainer, module):
        Path("noted").touch()
'''
OPTIONS = {  # a class, and its settings
    "target": ("Target", ""),
    "times": ("Times", ""),
    "weighting": ("Weighting", ""),
    "coupling": ("Coupling", ""),
    "grid": ("Even", ""),
    "guidance": ("Range", "limit: 3.0"),
    "optimizer": ("Optimizer", "weight_decay: 0.1"),
    "lr_schedule": ("Rate", "warmup: 64"),
    "logger": ("Logger", ""),
    "callbacks": ("Note", ""),
    "extractor": ("Means", ""),
}
NAMED = ("guidance", "callbacks", "logger")  # whose options stand under their own name
WORDS = [
    "experiment=toy",
    "data=moons",
    "paradigm=rectified_flow",
    "backbone.width=16",
    "images=640",
    "batch_size=64",
    "nfe=4",
    "trainer=cpu",
]
WORDS += ["data.source.n=500", "data.source.held_out=100", "protocol.n=32", "protocol.n_likelihood=0"]


@pytest.fixture
def other(tmp_path, monkeypatch):
    """An installed package with these classes and options."""
    texts = {}
    for group, (name, settings) in OPTIONS.items():
        lines = [f"_target_: otherpkg.{name}", *filter(None, [settings])]
        if group in NAMED:
            lines = ["mine:", *(f"  {line}" for line in lines)]
        if group == "optimizer":
            lines = ["# @package _global_", "lr: 0.001", "optimizer:", *(f"  {line}" for line in lines)]
        texts[f"{group}/mine"] = "\n".join(lines)
    install(tmp_path / "site", "otherpkg", "other", CLASSES, texts)
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    sys.modules.pop("otherpkg", None)


def test_own_parts_of_every_other_kind_take_part(other, tmp_path):
    words = [f"{group}=mine" for group in OPTIONS if group not in ("extractor", "callbacks")]
    words += ["protocol.extractor=mine", "callbacks=[mine]", "extensions=[other]"]
    said_here("train", *WORDS, *words, cwd=tmp_path)
    assert (tmp_path / "noted").exists()
    (path,) = tmp_path.glob("runs/*/evaluations/*.json")
    found = json.loads(path.read_text())
    assert 0 < found["metrics"]["gap"] < 10
    assert found["card"]["extractor"] == "means"
    assert "Gap of the means" in said_here("report", "extensions=[other]", cwd=tmp_path)
    assert "Gap of the means" in (tmp_path / "report" / "index.html").read_text()
    (config,) = tmp_path.glob("runs/*/config.yaml")
    assert "_target_: otherpkg.Optimizer" in config.read_text()
