"""Parts put together: what the documentation promises works, and what has no meaning is refused with the way out."""

import pytest
import torch

from difflab.experiment.training.job import Training
from helpers.conf import composed


def test_combinations_that_the_words_promise_build_and_sample(subtests):
    for words in [
        ["paradigm=flow_matching", "schedule=vp"],
        ["paradigm=flow_matching", "schedule=ve"],
        ["paradigm=ot_flow", "schedule=vp"],
        ["paradigm=ve_sde", "schedule=vp"],
        ["paradigm=vp_sde", "weighting=likelihood", "times=importance"],
        ["paradigm=rectified_flow", "times=logit_normal", "target=v"],
        ["experiment=toy", "range=none", "paradigm=edm"],
        ["experiment=toy", "paradigm=exact", "denoiser=known", "sampler=adaptive"],
    ]:
        with subtests.test(" ".join(words)):
            config = composed("trainer=cpu", "precision=fp32", "nfe=6", "logger=local", *words)
            job = Training.of(config)
            drawn = job.sampling.recipe.draw(job.model.denoiser, torch.zeros(2, dtype=torch.long), seed=0)
            assert drawn.x.isfinite().all()


def test_combinations_without_meaning_are_refused_with_what_works(subtests):
    for words, message in [
        (["sampler=adaptive"], "choose sampler=ddim or heun for this run, or train with schedule=vp"),
        (["schedule=linear"], "choose target=v, velocity or x0"),
        (["paradigm=rectified_flow", "target=edm"], r"schedule\.t_max=0\.999"),
        (["paradigm=rectified_flow", "sampler=euler_maruyama"], "sampler=ancestral"),
        (
            ["paradigm=edm", "draws=two"],
            "draws=two has no effect: paradigm=edm has no draws; leave it out, or choose paradigm=ddpm",
        ),
        (["encoder=fixed"], "encoder=fixed has no effect: paradigm=ddpm has no encoder"),
        (["paradigm=vae", "weighting=snr"], "vae reads denoiser$"),
        (["paradigm=hierarchical_vae", "times=logit_normal"], "times=logit_normal has no effect"),
        (["paradigm=gan", "coupling=optimal_transport"], "gan reads denoiser, discriminator, adversary$"),
        (["paradigm=autoencoder", "times=importance"], "autoencoder reads adversary, reconstruction, perceptual$"),
        (["paradigm=autoencoder", "schedule@sampler.schedule=vp"], "paradigm=autoencoder has no sampler"),
        (["paradigm=classifier", "guidance=classifier_free"], "guidance=classifier_free has no effect"),
        (["paradigm=contrastive", "data=emoji_captions", "sampler=ddim"], "sampler=ddim has no effect"),
        (["draws=chain"], "schedule.T=128"),
        (["backbone=mlp"], "choose backbone=unet or dit"),
        (["data=moons"], "choose backbone=mlp"),
        (["model.vlb_weight=1.0"], "backbone.learned_variance=true"),
        (["experiment=toy", "data=checkerboard", "paradigm=exact", "denoiser=known"], "choose denoiser=empirical"),
        (["backbone=half_unet"], "choose backbone=unet or dit, or paradigm=noisy_classifier"),
        (["paradigm=noisy_classifier", "backbone=unet"], "for images choose backbone=half_unet or half_dit"),
        (["paradigm=noisy_classifier", "data=gaussian"], "is a point, not an image"),
        (["protocol.n_likelihood=1"], "give 0, or two at least"),
    ]:
        with subtests.test(" ".join(words)), pytest.raises(ValueError, match=message):
            Training.of(composed("trainer=cpu", "precision=fp32", "logger=local", *words))
