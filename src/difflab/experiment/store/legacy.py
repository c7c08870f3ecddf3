"""Configurations that earlier versions wrote, as today's, so that their runs can be sampled, evaluated, gone on with.

Version 0.1 wrote no format number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from difflab.experiment.parts.earlier_words import LIMITS

FOLDERS = {  # where the classes of each module of 0.1 are exported today
    "gaussian": "process",
    "schedule": "process",
    "table": "process",
    "learned": "process",
    "target": "process",
    "times": "objective",
    "weighting": "objective",
    "coupling": "objective",
    "paradigm.draws": "objective",
    "denoiser": "denoiser",
    "exact": "denoiser",
    "classifier": "denoiser",
    "operator": "guidance",
    "grid": "sampler",
    "judge": "experiment",
    "weights": "experiment",
    "logger": "experiment",
    "task": "experiment",
}
CLASSES = {
    "table.LinearTable": "LinearBetas",
    "table.QuadraticTable": "QuadraticBetas",
    "table.SigmoidTable": "SigmoidBetas",
    "table.CosineTable": "CosineBetas",
    "table.GeometricTable": "GeometricSigmas",
    "learned.Learned": "LearnedSchedule",
    "target.EDM": "Preconditioned",
    "target.Mean": "PosteriorMean",
    "paradigm.score_sde.ScoreSDE": "Diffusion",
}
OPTIMISATION = {  # by group, the class whose arguments stood in `model.optimisation` before format 3
    "optimizer": ("AdamW", ("weight_decay", "betas")),
    "lr_schedule": ("Cosine", ("warmup",)),
}
UNGUIDED = {"_target_": "difflab.guidance.Unguided"}
ADDED = {  # by class, the arguments that it got later: where a configuration lacks them, the values that mean as before
    "difflab.objective.OptimalTransport": {"classes": 0},
}
PARADIGMS = {  # by preset, the classes that 0.1 had one name for
    "ncsn": "NCSN",
    "ve_sde": "VESDE",
    "vp_sde": "VPSDE",
    "sub_vp_sde": "SubVPSDE",
    "pf_ode": "VPSDE",
    "edm": "EDM",
    "flow_matching": "FlowMatching",
    "ot_flow": "FlowMatching",
    "improved_ddpm": "ImprovedDDPM",
    "improved_ddpm_vlb": "ImprovedDDPM",
}


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of any format as one of today's."""
    version = config.get("format", 1)
    found = dict(config) if version > 1 else translated(config)
    found = with_optimizer(found) if version < 3 else found
    completed: dict[str, Any] = with_added(with_range(found) if version < 4 else found)
    return completed


def with_range(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of format 3, in which the last guidance may have been the limit of x0, with the group `range`.

    Where it stood before other guidances it stays there: they were applied to limited estimates.
    """
    found = dict(config)
    if "guidance" in found:
        found |= cut(found["guidance"])
    if (found.get("teacher") or {}).get("run"):
        taught = found["teacher"].get("guidance")
        found["teacher"] = {**found["teacher"], **(cut(taught) if taught else {"range": None})}
    if chosen := found.get("choices", {}).get("guidance"):
        *others, last = chosen if isinstance(chosen, list) else [chosen]
        own = {"guidance": others or "none", "range": last} if last in LIMITS else {"range": "none"}
        found["choices"] = {**found["choices"], **own}
    return found


def cut(guidance: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes of a guidance by name as that of `guidance` and of `range`."""
    *others, (name, last) = guidance.items()
    if name not in LIMITS:
        return {"guidance": dict(guidance), "range": UNGUIDED}
    return {"guidance": dict(others) or {"none": UNGUIDED}, "range": last}


def with_added(node: Any) -> Any:  # noqa: ANN401  # plain values
    """Plain values with the arguments that classes got later, at the values that mean as before."""
    if isinstance(node, Mapping):
        return {**ADDED.get(node.get("_target_", ""), {}), **{key: with_added(value) for key, value in node.items()}}
    return [with_added(item) for item in node] if isinstance(node, list) else node


def with_optimizer(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of format 2, in which all trained by AdamW under a cosine, with the groups of format 3."""
    old = config.get("model", {}).get("optimisation")
    if old is None:
        return dict(config)
    given = {key: each for key, each in old.items() if key in ("lr", "clip", "_target_")}
    parts = {
        group: {"_target_": f"difflab.paradigm.{name}", **{key: old[key] for key in keys if key in old}}
        for group, (name, keys) in OPTIMISATION.items()
    }
    found = {**config, **parts, "lr": old["lr"], "callbacks": None}
    found["model"] = {**config["model"], "optimisation": {**given, **parts}}
    if "choices" in config:
        found["choices"] = {"optimizer": "adamw", "lr_schedule": "cosine", **config["choices"]}
    return found


def translated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of 0.1, or a part of one, with the classes of today."""
    found: dict[str, Any] = renamed(config)
    if "reach" in found.get("data", {}):
        found["data"] = {**found["data"], "max_distance": found["data"]["reach"]}
        del found["data"]["reach"]
    preset = found.get("choices", {}).get("paradigm", "").removesuffix(" reflowed")
    if preset in PARADIGMS:
        found["model"] = {**found["model"], "_target_": f"difflab.paradigm.{PARADIGMS[preset]}"}
    return found


def renamed(node: Any) -> Any:  # noqa: ANN401  # plain values
    """Plain values with today's `_target_`s."""
    if isinstance(node, Mapping):
        return {key: today(str(value)) if key == "_target_" else renamed(value) for key, value in node.items()}
    return [renamed(item) for item in node] if isinstance(node, list) else node


def today(path: str) -> str:
    """The class that 0.1 called `difflab.module.Class`; other names stay."""
    package, _, old = path.partition(".")
    module, _, name = old.rpartition(".")
    if package != "difflab":
        return path
    folder = FOLDERS.get(module) or FOLDERS.get(module.partition(".")[0]) or module.partition(".")[0]
    return f"difflab.{folder}.{CLASSES.get(old, name)}"
