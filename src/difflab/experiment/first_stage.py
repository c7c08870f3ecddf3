"""First stages of other runs, whose latents a model is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from difflab.data.latents import FrozenStage
from difflab.data.module import DataModule
from difflab.denoiser.first_stage import FirstStage
from difflab.denoiser.generator import VariationalAutoencoder
from difflab.experiment.build import build
from difflab.experiment.errors import suggestion
from difflab.experiment.identity import identity
from difflab.experiment.processes import rank
from difflab.experiment.progress import Drawing, silently
from difflab.experiment.run import Run, find
from difflab.experiment.tensor_cache import TensorCache
from difflab.experiment.weights import facts_of, load_module, weights_identity

WHITENINGS = ("channels", "full")
Stage = FirstStage | VariationalAutoencoder


@dataclass(frozen=True)
class Unlabelled:
    """A first stage without classes, as a space of latents uses it."""

    stage: Stage

    @property
    def shape(self) -> tuple[int, ...]:
        """That of its samples."""
        return self.stage.shape

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """That of its latents."""
        return self.stage.latent_shape

    def posterior(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of `q(z | x0)`."""
        return self.stage.posterior(x0, torch.zeros(len(x0), dtype=torch.int64, device=x0.device))

    def decode(self, z: Tensor) -> Tensor:
        """The samples of latents."""
        return self.stage.decode(z, torch.zeros(len(z), dtype=torch.int64, device=z.device))


def checked_stage(module: nn.Module, name: str) -> Stage:
    """What a run trained, as a first stage. Raises ValueError if it has no latents, or if they depend on a class."""
    if not isinstance(module, FirstStage | VariationalAutoencoder):
        raise ValueError(
            f"first_stage={name} is a {type(module).__name__}, which has no latents: choose a run of "
            f"paradigm=autoencoder or vae, or the words that train one, as 'first_stage=\"paradigm=autoencoder\"'"
        )
    if module.classes:
        raise ValueError(
            f"first_stage={name} is conditioned on {module.classes} classes, and samples are decoded without: train it "
            f"with backbone.classes=0"
        )
    return module


def first_stage_run(config: Mapping[str, Any]) -> tuple[Run, float | None] | None:
    """The run of a configuration's first stage, and the decay of its weights; None where there is none.

    Of a stored configuration it is the run with the same weights, whatever its name is by now. Raises ValueError if
    there is none.
    """
    words = config.get("first_stage") or {}
    if not words.get("run"):
        return None
    folder, name, ema = Path(config["runs_dir"]), words["run"], words.get("ema")
    sha256 = config.get("origins", {}).get("first_stage", {}).get("sha256")
    try:
        run = find(folder, name, "first_stage")
        if sha256 in (None, weights_identity(run, ema)["weights"]):
            return run, ema
    except ValueError:
        if sha256 is None:
            raise
    for path in sorted(folder.glob("*/weights.json")):
        if facts_of(Run(path.parent)).get("sha256") == sha256:
            return Run(path.parent), ema
    raise ValueError(
        f"first_stage={name}: no run in {folder}/ has its weights, whose sha256 is {sha256[:12]}..; put the folder of "
        f"that run there"
    )


def stage_origin(config: Mapping[str, Any]) -> tuple[Run, dict[str, Any]] | None:
    """The run of the first stage, and what of it decides the latents; None where there is none."""
    found = first_stage_run(config)
    if found is None:
        return None
    run, ema = found
    weights, whitening = weights_identity(run, ema), config["first_stage"]["whitening"]
    if whitening not in WHITENINGS:
        raise ValueError(f"first_stage.whitening={whitening}; {suggestion(str(whitening), WHITENINGS)}")
    return run, {"sha256": weights["weights"], "ema": weights["ema"], "whitening": whitening}


def data_module(config: Mapping[str, Any], device: torch.device | str = "cpu", **more: object) -> DataModule:
    """The data of a configuration, in the latents of its first stage where it has one; `more` replaces settings.

    Raises ValueError for a first stage of samples of another shape or type.
    """
    node = {**config["data"], **more}
    found = stage_origin(config)
    if found is None:
        data: DataModule = build(node)
        return data
    run, weights = found
    module, _ = load_module(run, weights["ema"], device)
    stage, theirs = checked_stage(module, run.folder.name), run.config["data"]
    if tuple(stage.shape) != tuple(node["shape"]):
        raise ValueError(
            f"first_stage={run.folder.name} encodes samples of shape {list(stage.shape)}, and those of data= have "
            f"{list(node['shape'])}: choose one that was trained on such data"
        )
    if identity(theirs.get("codec")) != identity(node.get("codec")):
        raise ValueError(
            f"first_stage={run.folder.name} was trained on samples of data.codec={theirs.get('codec')}, and these are "
            f"of {node.get('codec')}: choose one that was trained on such data"
        )
    frozen = FrozenStage(
        Unlabelled(stage),
        weights,
        TensorCache(Path(config["runs_dir"]) / ".cache"),
        silently if rank() else Drawing,
        torch.device(device),
        weights["whitening"] == "full",
    )
    latent: DataModule = build(node, stage=frozen)
    return latent
