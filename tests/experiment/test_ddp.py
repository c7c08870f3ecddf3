"""Every paradigm on two processes with a copy each, whose graph is declared static: the weights of one process."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from difflab.experiment.config import compose_job
from difflab.experiment.processes import together
from difflab.experiment.run import Run
from difflab.experiment.strategy import Copies
from difflab.experiment.training import Training
from difflab.paradigm.base import Paradigm
from helpers.conf import options
from helpers.jobs import TINY

SHORT = [*TINY, "backbone.dropout=0.0", "images=64", "check_every=32", "logger=local", "protocol.n=0"]  # 4 steps
CASES = {option: [f"paradigm={option}"] for option in options("paradigm") if option != "exact"}
CASES |= {f"draws={option}": ["paradigm=ddpm", f"draws={option}", "schedule.T=16"] for option in ("two", "chain")}
CASES |= {
    "no label dropout": ["paradigm=vp_sde", "model.label_dropout=0.0"],
    "curriculum": ["paradigm=vp_sde", "times=curriculum"],
    "checkpointing": ["paradigm=improved_ddpm", "backbone.checkpointing=true"],
    "dit": ["paradigm=vp_sde", "backbone=dit", "backbone.depth=1", "backbone.heads=2", "backbone.checkpointing=true"],
}
NOT_OF_DIT = ("backbone.multipliers", "backbone.attention", "backbone.head_channels", "backbone.dropout")


def words_of(case):
    own = CASES[case]
    return [word for word in SHORT if not (case == "dit" and word.startswith(NOT_OF_DIT))] + own


def all_cases(folder, devices):
    """Train each of them; the third step has a gradient that is not finite, and is passed over."""
    clip, found = Paradigm.configure_gradient_clipping, {}

    def broken(self, *args, **more):
        if self.global_step == 2:
            next(self.learned.parameters()).grad.fill_(torch.inf)
        clip(self, *args, **more)

    Paradigm.configure_gradient_clipping = broken
    try:
        for case in CASES:
            job = Training.of(compose_job("train", [*words_of(case), *devices, f"runs_dir={folder}/{case}"]))
            job(True)
            found[case] = [str(job.run.folder), type(job.trainer.strategy).__name__]
    finally:
        Paradigm.configure_gradient_clipping = clip
    return found


def test_every_paradigm_has_a_static_graph(tmp_path, subtests):
    one = all_cases(f"{tmp_path}/one", [])
    two = together([torch.device("cpu")] * 2, all_cases, f"{tmp_path}/two", ["trainer.devices=2"])
    for case in CASES:
        with subtests.test(case):
            assert two[case][1] == Copies.__name__
            ours, theirs = Run(Path(two[case][0])), Run(Path(one[case][0]))
            assert ours.folder.name == theirs.folder.name
            weights = load_file(theirs.weights)
            for key, value in load_file(ours.weights).items():
                torch.testing.assert_close(value, weights[key], rtol=1e-4, atol=1e-5)
            assert ours.result["loss"] == pytest.approx(theirs.result["loss"], rel=1e-5)
