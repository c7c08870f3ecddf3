"""The options of conf/: every one composes, builds and takes a step, or fits its class."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from difflab.experiment.config import compose
from difflab.experiment.config.compose import as_plain, conf_dir
from difflab.experiment.parts.build import check
from difflab.experiment.training.job import Training
from difflab.experiment.training.opening import opening_lines
from helpers.conf import composed, options, own_file, settings, with_option

GROUPS = sorted(folder.name for folder in Path(conf_dir()).iterdir() if folder.is_dir())
ELSEWHERE = ("task", "problem", "restoration")  # groups of difflab-sample
ELSEWHERE += ("extractor", "gap", "derivative")  # groups inside the options of others
SIZES = ["images=64", "batch_size=16", "nfe=4", "protocol.n=8", "protocol.n_likelihood=0"]
SIZES += ["logger=local", "trainer=cpu", "precision=fp32"]
IMAGES = ["data=digits", "backbone.width=16", "backbone.multipliers=[1,2]", "backbone.attention=[4]"]
IMAGES += ["backbone.head_channels=null", "backbone.blocks=1"]
POINTS = ["data=moons", "data.source.n=64", "data.source.held_out=64", "backbone=mlp", "protocol=toy"]
CHOOSE = ("paradigm", "experiment", "data", "guidance")
MEASURED = ("data", "experiment", "protocol")
OF_ANY_SHAPE = (  # tried on points
    "coupling",
    "draws",
    "grid",
    "logger",
    "sampler",
    "schedule",
    "target",
    "times",
    "trainer",
    "weighting",
)
TOYS = ("gaussian", "mixture", "eight_gaussians", "moons", "checkerboard", "swiss_roll", "s_curve")
STEPS = [("steps", option, "shortcut") for option in ("dyadic", "sorted")]
STEPS += [("steps", "to_data", "easy_consistency")]
STEPS += [("distance", option, "shortcut") for option in options("distance")]
STEPS += [("residual", option, "lagrangian_flow_map") for option in options("residual")]
STEPS += [("drive", option, "mean_flow") for option in ("data", "own")]
ONE_STEP = ["paradigm=vae", "backbone=autoencoder", "data=digits", "nfe=1"]
LAYERED = ["paradigm=hierarchical_vae", "data=digits", "schedule.T=4"]
GENERATES = ["paradigm=gan", "backbone=conv_generator", "data=digits", "backbone.multipliers=[1,2]", "nfe=1"]
GENERATES_POINTS = ["paradigm=gan", "data=moons", "protocol=toy", "nfe=1"]
ENCODES = ["paradigm=autoencoder", "backbone=autoencoder", "data=digits"]
CAPTIONED = ["data=emoji_captions", "backbone.attention=[]", "backbone.cross=[16]"]
NEEDS = {  # what an option asks of the others
    **dict.fromkeys([("backbone", "autoencoder"), ("denoiser", "vae"), ("paradigm", "vae")], ONE_STEP),
    **{("denoiser", "hierarchical_vae"): LAYERED, ("paradigm", "hierarchical_vae"): LAYERED},
    **{("encoder", option): LAYERED for option in options("encoder")},
    **{("layers", option): LAYERED for option in options("layers")},
    **{("backbone", f"autoencoder_{f}"): ["paradigm=autoencoder", "data=fashion16"] for f in ("f2", "f8")},
    ("paradigm", "autoencoder"): ["backbone=autoencoder", "data=digits"],
    ("paradigm", "gan"): GENERATES,
    ("backbone", "conv_generator"): GENERATES,
    ("denoiser", "generator"): GENERATES,
    ("backbone", "mlp_generator"): [*GENERATES_POINTS, "discriminator=mlp"],
    ("discriminator", "conv"): GENERATES,
    ("discriminator", "patch"): [*GENERATES, "discriminator.layers=1"],
    ("discriminator", "mlp"): [*GENERATES_POINTS, "backbone=mlp_generator"],
    **{("adversary", game): GENERATES for game in ("hinge", "non_saturating")},
    **{("reconstruction", error): ENCODES for error in ("l1", "l2")},
    ("perceptual", "lite0"): ENCODES,
    **{("data", toy): ["backbone=mlp", "protocol=toy"] for toy in TOYS},
    ("backbone", "mlp"): ["data=moons", "protocol=toy"],
    ("backbone", "autoencoder_mlp"): ["paradigm=vae", "data=moons", "protocol=toy", "nfe=1"],
    ("backbone", "dit"): ["data=fashion16"],
    ("backbone", "mmdit"): ["data=emoji_captions"],
    ("protocol", "toy"): ["data=moons", "backbone=mlp"],
    ("denoiser", "known"): ["data=moons", "backbone=mlp", "protocol=toy"],
    ("denoiser", "known_flow_map"): ["data=moons", "backbone=mlp", "protocol=toy"],
    ("denoiser", "flow_map"): ["paradigm=mean_flow"],
    ("denoiser", "slow_flow_map"): ["paradigm=mean_flow"],
    ("denoiser", "guided_flow_map"): ["paradigm=mean_flow", "drive=guided"],
    ("drive", "guided"): ["paradigm=mean_flow", "denoiser=guided_flow_map", "data=digits"],
    **{(group, option): [f"paradigm={preset}"] for group, option, preset in STEPS},
    ("data", "gaussian_array"): ["denoiser=known", "protocol=toy", "range=none"],
    ("experiment", "toy"): ["data=moons", "backbone=mlp"],
    ("experiment", "noise_levels"): ["data=moons", "backbone=mlp", "schedule.T=2"],
    ("experiment", "few_steps_toy"): ["data=moons", "backbone=mlp", "paradigm=mean_flow"],
    ("experiment", "ddpm_objectives"): ["schedule.T=16"],
    ("draws", "chain"): ["schedule.T=16"],
    ("range", "clip_points"): ["data=moons", "backbone=mlp", "protocol=toy"],
    ("model", "classifier"): ["paradigm=noisy_classifier"],
    ("backbone", "half_unet"): ["paradigm=noisy_classifier", "data=fashion16"],
    ("backbone", "half_dit"): ["paradigm=noisy_classifier", "data=fashion16"],
    ("coupling", "optimal_transport"): ["paradigm=rectified_flow"],
    **{("sampler", option): ["schedule=vp"] for option in ("adaptive", "adaptive_sde", "midpoint", "rk4")},
    ("guidance", "interval"): ["guidance=[classifier_free,interval]"],
    ("guidance", "rescale"): ["guidance=[classifier_free,rescale]"],
    ("sampler", "langevin_preconditioned"): ["data=digits"],
    ("grid", "explicit"): ["grid.times=[900,300,40,1]"],
    ("schedule", "linear"): ["target=v"],
    ("schedule", "conditional_ot"): ["target=v"],
    ("schedule", "trigonometric"): ["target=v"],
    ("sampler", "ancestral_learned"): ["backbone.learned_variance=true", "model.vlb_weight=1.0"],
    ("grid", "sections"): ["grid.counts=[1,3]"],
    ("book", "tokens"): CAPTIONED,
    ("book", "vectors"): ["data=fashion16_brightness", "backbone.attention=[8]"],
    ("book", "images"): ["data=fashion16_low_resolution", "backbone.attention=[8]"],
    ("data", "emoji_captions"): CAPTIONED[1:],
    **{("data", f"fashion16_{what}"): ["backbone.attention=[8]"] for what in ("brightness", "low_resolution")},
    ("paradigm", "contrastive"): ["data=emoji_captions", "backbone=half_unet", "backbone.attention=[16]"],
    ("data", "fashion16"): ["backbone.attention=[8]"],
    ("data", "emoji"): ["backbone.attention=[16]"],
    ("experiment", "ho2020"): ["data=fashion16", "backbone.attention=[16]", "backbone.groups=null"],
    ("backbone", "unet_cifar10"): ["data=fashion16", "backbone.width=32", "batch_size=2", "images=4"],
}
NOT_HERE = {  # tested elsewhere
    ("drive", "teacher"),
    ("grid", "optimised"),
    ("steps", "halved"),
    ("steps", "whole_way"),
    ("residual", "paired"),
    *(("paradigm", name) for name in ("one_step_reflow", "reflow")),
    *(("paradigm", f"{way}_distillation") for way in ("consistency", "lagrangian", "progressive")),
    ("data", "folder"),
    ("data", "captioned_folder"),
    ("experiment", "text_to_emoji"),
    ("data", "fashion_mnist"),
    ("protocol", "paper"),
    ("perceptual", "classifier"),
    ("backbone", "autoencoder_sdxl"),
    ("trainer", "ddp"),
    ("trainer", "fsdp"),
    ("logger", "mlflow"),
    ("logger", "tensorboard"),
    ("guidance", "classifier"),
    ("guidance", "autoguidance"),
    *(("backbone", f"dit_{size}") for size in ("s", "b", "l", "xl")),
    *(("backbone", f"mmdit_{size}") for size in ("s", "b")),
}


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in ELSEWHERE])
def test_every_option_composes_builds_and_takes_a_step(group, tmp_path, monkeypatch, subtests):
    monkeypatch.chdir(tmp_path)
    for option in options(group):
        if (group, option) not in NOT_HERE:
            with subtests.test(f"{group}={option}"):
                takes_a_step(group, option, tmp_path)


def test_options_are_what_hydra_composes():
    """The k-th option of every group in one composition; but of those whose options choose others."""
    groups = [group for group in GROUPS if group not in (*ELSEWHERE, *CHOOSE)]
    names = {group: [option for option in options(group) if (group, option) not in NOT_HERE] for group in groups}
    for k in range(max(map(len, names.values()))):
        chosen = {group: some[k] for group, some in names.items() if k < len(some)}
        whole = compose.composed("train", [f"{group}={option}" for group, option in chosen.items()])
        for group, option in chosen.items():
            assert whole.hydra.runtime.choices[group] == option
            if (own := own_file(group, option)) is not None:
                assert OmegaConf.to_container(whole[group]) == OmegaConf.to_container(own), f"{group}={option}"


def base(group, needs):
    """The words that an option of a group is tried with, besides those that it needs."""
    if group == "backbone" or any(need.startswith("backbone=") for need in needs):
        shape = []
    else:
        shape = POINTS if group in OF_ANY_SHAPE and "data=digits" not in needs else IMAGES
    if group not in MEASURED and "protocol=toy" not in (*shape, *needs):
        shape = [*shape, "protocol=toy", "protocol.n=0"]  # without a network that sees images
    return [word for word in (*SIZES, *shape) if not word.startswith(f"{group}=")]


def takes_a_step(group, option, folder):
    """An option composes with what it needs, builds, and gives a finite loss with gradients and finite samples."""
    needs = NEEDS.get((group, option), [])
    words = [*base(group, needs), *needs]
    if any(word.startswith((f"{group}.", f"{group}=")) for word in words):
        config = composed(f"{group}={option}", *words)
    else:
        config = as_plain("train", words, with_option(group, option, *words))
    job = Training.of(config)
    if group == "paradigm":
        assert any("parameters" in line for line in opening_lines(job)) == job.learns
    assert list(folder.iterdir()) == [], "preparing a job writes nothing"
    batch = next(iter(job.data.train_dataloader()))
    x0, label, _ = job.data.on_after_batch_transfer(batch, 0)
    noised = job.model.corrupt(x0, label, 0.5, 0, 0)
    assert (noised.weight > 0).all()
    terms = job.model.loss(noised)
    assert all(term.shape == label.shape and term.isfinite().all() for term in terms.values())
    if parameters := list(job.model.learned.parameters()):
        sum(term.mean() for term in terms.values()).backward()
        assert sum(p.grad.abs().sum() for p in parameters if p.grad is not None) > 0
    if job.sampling is None:
        return
    drawn = job.sampling.recipe.draw(job.model.denoiser, label[:2], seed=0)
    assert drawn.x.shape == (2, *x0.shape[1:])
    assert drawn.x.isfinite().all()
    assert drawn.nfe > 0
    assert drawn.nfe <= config["nfe"] or job.sampling.recipe.sampler.evaluations is None


def test_options_that_need_more_than_this_machine_fit_their_classes(tmp_path, subtests):
    (tmp_path / "one.txt").write_text("one")
    Image.new("L", (4, 4)).save(tmp_path / "one.png")
    needs = {
        "folder": [f"data.source.root={tmp_path}"],
        "captioned_folder": [f"data.source.root={tmp_path}"],
        "classifier": ["guidance.classifier.classifier.run=RUN"],
        "autoguidance": ["guidance.autoguidance.weak.run=RUN"],
    }
    for group, option in sorted(each for each in NOT_HERE if each[0] not in ("paradigm", "experiment")):
        with subtests.test(f"{group}={option}"):
            words = ["perceptual.run=RUN"] if group == "perceptual" else needs.get(option, [])
            check(composed(f"{group}={option}", *words)[group] if words else settings(group, option))


def test_extractors_fit_their_classes(subtests):
    for extractor in options("extractor"):
        with subtests.test(extractor):
            needs = ["protocol.extractor.run=RUN"] if extractor == "classifier" else []
            check(composed(f"extractor@protocol.extractor={extractor}", *needs)["protocol"]["extractor"])
