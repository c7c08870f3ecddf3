"""Made-up studies: configurations as the commands compose them, with scores that follow a known formula."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from difflab.experiment.parts import identity
from difflab.experiment.store.run import Run
from difflab.metric.card import ProtocolCard
from difflab.report.record import Record

SCHEDULES = {
    "ddpm": ("ddpm_cosine", {"_target_": "difflab.process.CosineBetas", "T": 1000}),
    "vp_sde": ("vp", {"_target_": "difflab.process.VP", "beta_max": 20.0}),
    "rectified_flow": ("linear", {"_target_": "difflab.process.Linear"}),
}
MODELS = {"ddpm": "DDPM", "vp_sde": "VPSDE", "rectified_flow": "RectifiedFlow"}
SOURCES = {"digits": "Digits"}  # by the option of data; else Fashion16
TARGETS = {"rectified_flow": ("velocity", "Velocity")}
PARADIGMS = {"ddpm": 12.0, "vp_sde": 9.0, "rectified_flow": 7.0}  # a distance at NFE 8 above the best, by paradigm
SAMPLERS = {"DDIM(eta=0.0)": 1.0, "Heun()": 0.7}  # and a factor of it
NFES, SEEDS = (5, 10, 20, 50), (0, 1, 2)


def config(paradigm="ddpm", seed=0, data="fashion16", **overrides):
    schedule, schedule_node = SCHEDULES[paradigm]
    target, target_class = TARGETS.get(paradigm, ("eps", "Eps"))
    denoiser = {
        "_target_": "difflab.denoiser.Denoiser",
        "backbone": {"_target_": "difflab.backbone.UNet", "shape": [1, 16, 16], "classes": 10, "width": 48},
        "schedule": copy.deepcopy(schedule_node),
        "target": {"_target_": f"difflab.process.{target_class}"},
    }
    made = {
        "format": 3,
        "seed": seed,
        "images": 80_000,
        "batch_size": 128,
        "precision": "fp32",
        "ema": [0.999],
        "init": None,
        "model": {
            "_target_": f"difflab.paradigm.{MODELS[paradigm]}",
            "denoiser": denoiser,
            "times": {"_target_": "difflab.objective.Uniform"},
            "weighting": {"_target_": "difflab.objective.Simple"},
            "coupling": {"_target_": "difflab.objective.Independent"},
            "optimisation": {"_target_": "difflab.paradigm.Optimisation", "lr": 0.002},
            "batch_size": 128,
            "seed": seed,
        },
        "data": {
            "_target_": "difflab.data.DataModule",
            "source": {"_target_": f"difflab.data.{SOURCES.get(data, 'Fashion16')}"},
            "shape": [1, 16, 16],
            "classes": 10,
            "seed": seed,
        },
        "choices": {
            "paradigm": paradigm,
            "data": data,
            "schedule": schedule,
            "target": target,
            "weighting": "simple",
            "coupling": "independent",
            "times": "uniform",
            "backbone": "unet",
        },
        "command": f"difflab-train paradigm={paradigm} seed={seed}",
        "runs_dir": "elsewhere",
        "origins": {"data": {"sha256": data}},
        "extensions": {},
    }
    for key, value in overrides.items():
        *path, last = key.split("__")
        node = made
        for part in path:
            node = node[part]
        node[last] = value
    return made


def card(**changes):
    facts = {
        "n_generated": 2000,
        "n_likelihood": 0,
        "n_reference": 2000,
        "reference": "Fashion16/test",
        "reference_sha256": "52d6" * 16,
        "extractor": "efficientnet_lite0",
        "extractor_sha256": "7b1f" * 16,
        "resize": "224 bicubic",
        "sampler": "Heun()",
        "grid": "LogSNR()",
        "path": "as trained",
        "nfe": 20,
        "guidance": "Clip(limit=1.0)",
        "weights": "ema=0.999",
        "labels": "balanced",
        "classifier": "none",
        "precision": "fp32",
        "seed": 0,
        "versions": {"difflab": "0.1.0", "torch": "2.13.0"},
    }
    return ProtocolCard(**(facts | changes))


def distance(paradigm, sampler, nfe):
    """The made-up distance of a cell, without noise."""
    return 1.5 + PARADIGMS[paradigm] * SAMPLERS[sampler] * (8 / nfe) ** 0.8


def record(config, card, folder=Path("runs"), choices=None, **metrics):
    """One evaluation of a run with this configuration."""
    paradigm, seed = config["choices"]["paradigm"], config["seed"]
    sampler = card.sampler.partition("(")[0].lower()
    chosen = {"sampler": sampler, "grid": "log_snr", "guidance": "none", "range": "clip", **(choices or {})}
    run = Run(folder / f"{paradigm}-{config['choices']['data']}-s{seed}-0123456{seed}")
    nfe = card.nfe - 1 if card.nfe else 61.3  # as counted
    cost = {"nfe": nfe, "seconds": 40.0, "seconds_per_sample": nfe / 1000, "network_share": 0.9}
    command = f"difflab-evaluate paradigm={paradigm} seed={seed} sampler={sampler} nfe={card.nfe:g}"
    metrics = {"n": card.n_generated, "n_reference": card.n_reference, "n_floor": 2000, **metrics}
    return Record(run, card.fingerprint, config, card, metrics, cost, chosen, command)


def started_from(record):
    """The origin of a training that starts from the run of a record, or is taught by it."""
    return {"sha256": record.run.folder.name, "ema": 0.999, **identity.record(record.config, record.run.folder.name)}


def write_record(record, pictures=True):
    """Write the files of an evaluation and its run, as the commands leave them; return the evaluation's path."""
    folder = record.run.folder
    path = folder / "evaluations" / f"{record.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(record.config), sort_keys=False))
    errors = {str(level): 0.9 / (1 + 1.5 ** (level + record.seed / 10)) for level in range(-8, 9, 2)}
    result = {"loss": 0.1, "training": {"images_seen": 79_872, "seconds": 300.0}, "denoising_error": errors}
    if record.config["choices"]["paradigm"] == "rectified_flow":
        result["straightness"] = 0.2
    if record.config["choices"]["paradigm"] == "ddpm":  # as if it were a flow map
        result["residual"] = [[0.1], [1.0 + record.seed, None]]
    (folder / "result.json").write_text(json.dumps(result))
    parts = ("metrics", "notes", "cost", "choices", "command")
    path.write_text(json.dumps({"card": record.card.to_dict(), **{key: getattr(record, key) for key in parts}}))
    if pictures:
        for kind in ("samples", "steps", "pairs"):
            Image.new("L", (40, 20), 128).save(path.with_name(f"{path.stem}-{kind}.png"))
    return path


def grid(folder=Path("runs"), nfes=NFES, **changes):
    """3 paradigms x 2 samplers x the NFE x 3 seeds, each seed with a noise that all its cells share."""
    rng = np.random.default_rng(0)
    common = {seed: rng.normal() for seed in SEEDS}
    return [
        record(
            config(paradigm, seed),
            card(sampler=sampler, nfe=nfe, **changes),
            folder,
            fd_lite0=distance(paradigm, sampler, nfe) + 0.3 * common[seed] + 0.05 * rng.normal(),
            fd_lite0_floor=1.2,
            precision_lite0=0.9 - 1 / nfe,
            precision_lite0_floor=0.95,
        )
        for paradigm in PARADIGMS
        for sampler in SAMPLERS
        for nfe in nfes
        for seed in SEEDS
    ]
