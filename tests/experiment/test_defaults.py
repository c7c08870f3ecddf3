"""The defaults of the paradigms, their papers' choices, and what the presets of conf/paradigm choose instead."""

from difflab.experiment.parts.build import build, target
from difflab.paradigm import CleanClassifier, Diffusion
from helpers.conf import composed, options

TRAINING = ("schedule", "target", "times", "weighting", "coupling")
SAMPLING = ("sampler", "grid")
# Where a preset, for small images and few evaluations, differs from its class; nfe and guidance are the command's.
PRESETS = {
    "ddpm": {  # ho2020, below, is the paper's
        "schedule": "CosineBetas(T=1000, offset=0.008, beta_max=0.999)",
        "sampler": "Ancestral(v=0.0, noise=1.0)",
        "grid": "Quadratic()",
    },
    "improved_ddpm": {"schedule": "CosineBetas(T=1000, offset=0.008, beta_max=0.999)", "grid": "Quadratic()"},
    "ncsn": {  # Song & Ermon 2020
        "schedule": "GeometricSigmas(T=100, sigma_min=0.02, sigma_max=20.0)",
        "sampler": "Langevin(corrections=2, step_size=None, precondition=None)",
    },
    "ve_sde": {
        "schedule": "VE(sigma_min=0.02, sigma_max=20.0, t_min=1e-05, t_max=1.0)",  # of the data
        "sampler": "PredictorCorrector(predictor=Ancestral(v=0.0, noise=1.0), corrections=1, snr=0.16)",
    },
    "vp_sde": {"sampler": "Ancestral(v=0.0, noise=1.0)", "grid": "Quadratic()"},
    "sub_vp_sde": {"sampler": "Ancestral(v=0.0, noise=1.0)", "grid": "Quadratic()"},
    "edm": {
        "target": "Preconditioned(sigma_data=0.628)",  # of the data
        "weighting": "EDM(sigma_data=0.628)",
        "grid": "LogSNR(noisy=-9.0, clean=7.0)",
    },
    "flow_matching": {"sampler": "Heun()", "grid": "Quadratic()"},
    "rectified_flow": {"sampler": "Euler()", "grid": "Quadratic()"},
    "vdm": {
        "schedule": "LearnedSchedule(log_snr_max=13.3, log_snr_min=-5, hidden=64)",
        "grid": "LogSNR(noisy=-9.0, clean=7.0)",
    },
}
VARIANTS = {  # of another preset
    *("ddim", "pf_ode"),  # sampled otherwise
    "ot_flow",  # with another coupling
    "improved_ddpm_vlb",  # with another loss
    "reflow",  # on pairs
    "exact",  # without a network
    "consistency_training_2023",
    *("scm", "consistency_training", "consistency_distillation", "easy_consistency", "mean_flow"),  # of flow maps
    *("shortcut", "lagrangian_flow_map", "lagrangian_distillation", "progressive_distillation"),
    "one_step_reflow",  # all of one class
}
GENERATE_NOTHING = {"autoencoder", "contrastive"}
CLASSIFIERS = {"noisy_classifier": "CosineBetas(T=1000, offset=0.008, beta_max=0.999)", "classifier": None}


def chosen(*words):
    """What a preset chooses, as text, and its class."""
    config = composed(*words, "data=fashion16")
    parts = {name: str(build(config[name])) for name in (*TRAINING, *SAMPLING)}
    return parts, target(config["model"]["_target_"]), config


def own(cls):
    """What a class takes by itself, as text."""
    default = cls.defaults
    parts = {name: str(getattr(default, name)) for name in TRAINING}
    return parts | {name: str(getattr(default.sampling, name)) for name in SAMPLING}


def test_presets_differ_from_their_classes_as_listed():
    for preset in set(options("paradigm")) - VARIANTS - CLASSIFIERS.keys() - GENERATE_NOTHING:
        found, cls, _ = chosen(f"paradigm={preset}")
        theirs = own(cls)
        assert {name: value for name, value in found.items() if value != theirs[name]} == PRESETS.get(preset, {}), (
            preset
        )


def test_the_published_ddpm_is_the_classs_own():
    """experiment=ho2020, where nfe and guidance are the paper's too."""
    found, cls, config = chosen("experiment=ho2020", "paradigm=ddpm")
    assert found == own(cls)
    assert config["nfe"] == cls.defaults.sampling.nfe
    assert build(config["range"]) == cls.defaults.sampling.range


def test_the_weight_of_the_hybrid_loss_is_that_of_the_preset():
    """0.001 T: Nichol & Dhariwal 2021, eq. 16, on a bound of T terms; of the class and of the preset, at any T."""
    for preset, T in [("ddpm", 1000), *(("improved_ddpm", T) for T in (100, 1000, 4000))]:
        _, cls, config = chosen(f"paradigm={preset}", f"schedule.T={T}")
        assert config["model"]["vlb_weight"] == cls.hybrid * T
        assert build({**config["model"], "vlb_weight": None}).vlb_weight == cls.hybrid * T
    assert composed("paradigm=improved_ddpm", "schedule=vp")["model"]["vlb_weight"] == 1.0  # of steps of 1e-3


def test_classifiers_differ_in_the_schedule_as_listed():
    for preset, listed in CLASSIFIERS.items():
        config = composed(f"paradigm={preset}")
        cls, schedule = target(config["model"]["_target_"]), str(build(config["schedule"]))
        assert schedule == (listed or str(cls.default_schedule)), preset
        assert not issubclass(cls, Diffusion)
    assert CleanClassifier.default_schedule.t_max == 0
