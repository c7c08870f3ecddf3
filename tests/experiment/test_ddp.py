"""Every paradigm on two processes with a copy each, whose graph is declared static: the weights of one process."""

import pytest
import torch

from difflab.experiment.config.compose import compose_job
from difflab.experiment.machine.launch import together
from difflab.experiment.training.fitting import Fit
from difflab.experiment.training.job import Training
from difflab.experiment.training.strategy import Copies
from difflab.paradigm.base import Paradigm
from difflab.paradigm.ema import averages_in
from helpers.conf import options
from helpers.jobs import TINY, TOY

FOUR_STEPS = ["optimizer=sgd", "batch_size=16", "images=64", "check_every=64", "logger=local", "protocol.n=0", "nfe=4"]
IMAGES = [*TINY, "backbone.dropout=0.0"]
POINTS = [*TOY, "data.source.n=64", "data.source.held_out=32"]
UNTRAINED = (
    "exact",
    "consistency_distillation",
    "lagrangian_distillation",
    "progressive_distillation",
    "one_step_reflow",
    "reflow",
)
CASES = {option: [f"paradigm={option}"] for option in options("paradigm") if option not in UNTRAINED}
OF_IMAGES = ("ddpm", "classifier", "noisy_classifier", "draws_two", "checkpointing", "dit", "no_label_dropout", "vae")
OF_IMAGES += ("autoencoder", "contrastive")
SMALL_PATCHES = ["discriminator.layers=1", "discriminator.width=16"]
SMALL_PAIR = ["backbone.multipliers=[1]", "backbone.attention=[]", "backbone.patch=4", "book.width=16", "book.depth=1"]
CASES |= {
    "vae": ["paradigm=vae", "nfe=1"],
    "hierarchical_vae": ["paradigm=hierarchical_vae", "schedule.T=4"],
    "gan": ["paradigm=gan", "nfe=1", "backbone=mlp_generator", "discriminator=mlp"],
    "autoencoder": ["paradigm=autoencoder", "adversary=hinge", "adversary.gamma=1.0", *SMALL_PATCHES],
    "contrastive": ["paradigm=contrastive", "data=emoji_captions", *SMALL_PAIR],
    "draws_two": ["paradigm=ddpm", "draws=two"],  # a chain is of the first images of each process: other ones
    "no_label_dropout": ["paradigm=vp_sde", "model.label_dropout=0.0"],
    "curriculum": ["paradigm=vp_sde", "times=curriculum"],
    "checkpointing": ["paradigm=improved_ddpm", "backbone.checkpointing=true"],
    "dit": ["paradigm=vp_sde", "backbone=dit", "backbone.depth=1", "backbone.heads=2", "backbone.checkpointing=true"],
}
LACKING = {  # settings of the U-Net that another network does not have
    "dit": ("backbone.multipliers", "backbone.attention", "backbone.head_channels", "backbone.dropout"),
    "vae": ("backbone.attention", "backbone.head_channels", "backbone.dropout"),
    "contrastive": ("data=", "backbone.multipliers", "backbone.attention"),
    "autoencoder": ("backbone.attention", "backbone.head_channels", "backbone.dropout"),
}


def words_of(case):
    shape = IMAGES if case in OF_IMAGES else POINTS
    absent = LACKING.get(case, ())
    return [word for word in shape if not word.startswith(absent)] + FOUR_STEPS + CASES[case]


def composed():
    """The configuration of each case, which takes as long to compose as the four steps."""
    return {case: compose_job("train", words_of(case)) for case in CASES}


def all_cases(configs, folder, devices):
    """Train each of them; the third step has a gradient that is not finite, and is passed over."""
    clip, found = Paradigm.configure_gradient_clipping, {}

    def broken(self, *args, **more):
        if self.global_step == 2:
            next(self.learned.parameters()).grad.fill_(torch.inf)
        clip(self, *args, **more)

    Paradigm.configure_gradient_clipping = broken
    try:
        for case, config in configs.items():
            trainer = {**config["trainer"], "devices": devices}
            job = Training.of({**config, "trainer": trainer, "runs_dir": f"{folder}/{case}"})
            job.run.folder.mkdir(parents=True, exist_ok=True)
            fit = Fit(job, requested=True)
            fit.fit()
            found[case] = [str(job.run.checkpoint), type(fit.trainer.strategy).__name__]
    finally:
        Paradigm.configure_gradient_clipping = clip
    return found


@pytest.mark.long
def test_every_paradigm_has_a_static_graph(tmp_path, subtests):
    configs = composed()
    one = all_cases(configs, f"{tmp_path}/one", 1)
    two = together([torch.device("cpu")] * 2, all_cases, configs, f"{tmp_path}/two", 2)
    for case in CASES:
        with subtests.test(case):
            assert two[case][1] == Copies.__name__
            ours, theirs = (torch.load(found[case][0], weights_only=True) for found in (two, one))
            assert ours["global_step"] == theirs["global_step"] == 4
            assert ours["skipped"] == theirs["skipped"] == (1, 0)
            for state in (lambda found: found["state_dict"], lambda found: averages_in(found)[0.999]):
                for key, value in state(theirs).items():
                    torch.testing.assert_close(state(ours)[key], value, rtol=1e-4, atol=1e-5)
