"""Words of earlier versions, each answered with the one of today."""

from __future__ import annotations

import re

from difflab.experiment.errors import UserError

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
LIMITS = ("clip", "clip_points", "dynamic_threshold")  # options of guidance= once, of range= today


def refuse_earlier(command: str, word: str) -> None:
    """Raise UserError, with the word of today, for a `KEY=VALUE` of an earlier version."""
    key, _, value = word.partition("=")
    if (today := MOVED.get(key.lstrip("+~"))) and (command == "train" or today.startswith(("range.", "logger."))):
        raise UserError(f"{word}: the word for it is {today}, as {today}={value or '...'}")
    options = re.findall(r"\w+", value)
    if key.endswith("guidance") and (limits := [option for option in options if option in LIMITS]):
        others = ",".join(option for option in options if option not in LIMITS)
        own = f"{key}=[{others}] " if "," in others else f"{key}={others} " if others else ""
        raise UserError(
            f"{word}: what limits x0 is a group of its own, which is applied after the guidance: "
            f"{own}{key.removesuffix('guidance')}range={limits[-1]}"
        )
