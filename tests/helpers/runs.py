"""Runs without training, of closed forms: what the tests of sampling take in place of trained ones."""

import yaml

from difflab.experiment.store.run import Run
from difflab.experiment.store.weights import save_weights
from helpers.conf import composed

EXACT = {  # the digits themselves, by their labels, and points
    "digits": ["data=digits"],
    "points": ["experiment=toy", "data=mixture", "denoiser=known"],
    "few": ["experiment=toy", "data=mixture", "denoiser=known", "data.source.held_out=100"],
    "chain": ["experiment=toy", "data=mixture", "denoiser=known", "schedule=ddpm_linear", "schedule.T=200"],
}


def write_exact_run(folder, name):
    """Write the run `folder/name` of one of EXACT."""
    config = composed("paradigm=exact", "nfe=11", "precision=fp32", *EXACT[name])
    (folder / name).mkdir()
    (folder / name / "config.yaml").write_text(yaml.dump(config))
    save_weights(Run(folder / name), config["denoiser"], {0.999: {}}, {})
