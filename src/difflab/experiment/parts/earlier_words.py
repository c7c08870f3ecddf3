"""Words of earlier versions and of other programs, each answered with the one that does it here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from difflab.experiment.parts.errors import UserError, suggestion

MOVED = {
    "model.optimisation.lr": "lr",
    "model.optimisation.warmup": "lr_schedule.warmup",
    "model.optimisation.weight_decay": "optimizer.weight_decay",
    "model.optimisation.betas": "optimizer.betas",
    "guidance.clip.limit": "range.limit",
    "guidance.clip_points.limit": "range.limit",
    "guidance.dynamic_threshold.limit": "range.limit",
    "guidance.dynamic_threshold.quantile": "range.quantile",
    "logger.project": "logger.wandb.project",
    "logger.entity": "logger.wandb.entity",
}
ELSEWHERE = {  # words of other programs, and what does it here
    "epochs": "images=N, the budget: epochs times the number of training images",
    "steps": "images=N, the budget: steps times batch_size",
    "batch": "batch_size=N",
    "cfg": "guidance=classifier_free guidance.classifier_free.scale=X",
    "device": "trainer.accelerator=cpu or gpu",
    "gpus": "trainer.devices=N",
    "learning_rate": "lr=X",
    "model": "backbone=OPTION for the network, paradigm=OPTION for what it is trained for",
    "num_samples": "n=N",
    "output_dir": "runs_dir=FOLDER, or out=FOLDER for samples and scores",
    "resume": "nothing: the same command goes on; init=RUN starts another training from a run's weights",
    "name": "study=NAME for jobs that belong together",
    "size": "data.shape=[C,H,W]",
    "wandb": "logger=wandb or local",
    "workers": "data.workers=N",
}
SYNONYMS = {
    **dict.fromkeys(("epoch", "num_epochs", "max_epochs", "n_epochs", "num_train_epochs"), "epochs"),
    **dict.fromkeys(("step", "num_steps", "max_steps", "iterations", "iters", "train_num_steps"), "steps"),
    **dict.fromkeys(("bs", "batchsize", "train_batch_size"), "batch"),
    **dict.fromkeys(("cfg_scale", "guidance_scale", "scale"), "cfg"),
    **dict.fromkeys(("gpu", "devices", "num_gpus"), "gpus"),
    **dict.fromkeys(("n_samples", "samples", "num_images"), "num_samples"),
    **dict.fromkeys(("out_dir", "outdir", "output", "save_dir", "logdir", "log_dir", "results_folder"), "output_dir"),
    **dict.fromkeys(("resume_from", "resume_from_checkpoint", "ckpt", "checkpoint"), "resume"),
    **dict.fromkeys(("run_name", "exp_name", "experiment_name", "tag"), "name"),
    **dict.fromkeys(("image_size", "img_size", "resolution"), "size"),
    **dict.fromkeys(("use_wandb", "project"), "wandb"),
    **dict.fromkeys(("num_workers",), "workers"),
    **dict.fromkeys(("network", "arch"), "model"),
    **dict.fromkeys(("learningrate",), "learning_rate"),
}
OPTIONS = {  # names of other programs for options, by group
    "data": {
        **dict.fromkeys(("mnist", "cifar", "cifar10", "celeba", "imagenet"), "folder data.source.root=FOLDER"),
        "fashionmnist": "fashion_mnist",
    },
    "guidance": {"cfg": "classifier_free", "cg": "classifier", "false": "none", "off": "none"},
    "logger": dict.fromkeys(("none", "false", "off", "null", "disabled", "no", "files"), "local"),
    "paradigm": {"diffusion": "ddpm", "flow": "flow_matching", "fm": "flow_matching", "rf": "rectified_flow"},
    "protocol": {"fid": "paper"},
}
LIMITS = ("clip", "clip_points", "dynamic_threshold")  # options of guidance= once, of range= today


def refuse_earlier(command: str, word: str) -> None:
    """Raise UserError, with the word of today, for a `KEY=VALUE` of an earlier version."""
    key, _, value = word.partition("=")
    if (today := MOVED.get(key.lstrip("+~"))) and (command == "train" or today.startswith(("range.", "logger."))):
        raise UserError(f"{word}: the word for it is {today}, as {today}={value or '...'}")
    if key.lstrip("+") == "model":  # a node, which no value can replace
        raise UserError(f"{word}: {elsewhere(key).rstrip('; ')}")
    options = re.findall(r"\w+", value)
    if key.endswith("guidance") and (limits := [option for option in options if option in LIMITS]):
        others = ",".join(option for option in options if option not in LIMITS)
        own = f"{key}=[{others}] " if "," in others else f"{key}={others} " if others else ""
        raise UserError(
            f"{word}: what limits x0 is a group of its own, which is applied after the guidance: "
            f"{own}{key.removesuffix('guidance')}range={limits[-1]}"
        )


def no_option(group: str, option: str, valid: Sequence[str]) -> str:
    """That a group has no such option, which it has, and the one that may have been meant."""
    name = re.sub(r"[\W_]+", "", option).lower()
    if group == "data" and "/" in option:
        other = f"what uses a folder of images is data=folder data.source.root={option}; "
    else:
        known = OPTIONS.get(group, {}).get(name)
        other = f"the word for it here is {group}={known}; " if known else elsewhere(group)
    return f"{group}={option} does not exist; {other}{suggestion(option, valid)}"


def elsewhere(key: str) -> str:
    """What does here what a key of other programs does there, for the middle of a sentence; empty if none is known."""
    word = key.lstrip("+").replace("-", "_").lower()
    return f"what does it here is {found}; " if (found := ELSEWHERE.get(SYNONYMS.get(word, word))) else ""
