"""Trained weights as they are exchanged: safetensors, and JSON that says how to build the module they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn

from difflab.data.words import Vocabulary
from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.contrast import Contrast
from difflab.denoiser.first_stage import FirstStage
from difflab.experiment.parts.build import build
from difflab.experiment.parts.errors import suggestion
from difflab.experiment.parts.identity import record
from difflab.experiment.parts.sizes import bounded
from difflab.experiment.store.checkpoint import newest
from difflab.experiment.store.facts import FORMAT, facts_of
from difflab.experiment.store.files import atomic, read_json, write_json
from difflab.experiment.store.run import Run
from difflab.experiment.store.snapshots import Damaged, checked, of_length
from difflab.metric.card import digest
from difflab.paradigm.ema import averages_in
from difflab.paradigm.power_average import LONGEST


def save_weights(
    run: Run,
    module: Mapping[str, Any],
    averages: Mapping[float, Mapping[str, Tensor]],
    training: Mapping[str, float],
    snapshots: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
    vocabulary: Vocabulary | None = None,
    best: Mapping[str, Any] | None = None,
) -> None:
    """Write averaged weights, a set for each decay, and then the JSON that vouches for them.

    `module` is the configuration of what they belong to; `training` is what these weights cost: images seen, seconds;
    `snapshots` are the sha256 of those that were kept, by step; `names` are those of the classes, for pictures; the
    `vocabulary` is that of the captions, for prompts; and `best` says of which check the weights are, if they were
    chosen.
    """
    tensors = {f"{decay}/{k}": v.contiguous().cpu() for decay, state in averages.items() for k, v in state.items()}
    data = tensor_bytes(tensors)
    with atomic(run.weights) as unfinished:
        unfinished.write_bytes(data)
    write_json(
        run.facts,
        {
            "format": FORMAT,
            "sha256": hashlib.sha256(data).hexdigest(),
            "ema": list(averages),
            "training": training,
            "snapshots": snapshots or {},
            "names": list(names),
            **({"vocabulary": {"words": list(vocabulary.words), "context": vocabulary.context}} if vocabulary else {}),
            **({"best": best} if best else {}),
            "module": module,
        },
    )


def decay_of(run: Run, ema: float | None) -> float:
    """The decay that was chosen (by default the first), or the length of an average of the run's snapshots.

    Raises ValueError if the run has no such decay, or no snapshots.
    """
    facts = facts_of(run)
    decays: list[float] = facts["ema"]
    if ema is None or ema in decays:
        return decays[0] if ema is None else ema
    if facts.get("snapshots") and 0 < ema < LONGEST:
        return ema
    kept = f"lengths up to {LONGEST:.4f}" if facts.get("snapshots") else "lengths need a training with snapshots=16"
    raise ValueError(f"ema={ema} is not in {run.folder}; {suggestion(str(ema), [*map(str, decays)])}; {kept}")


def weights_identity(run: Run, ema: float | None) -> dict[str, Any]:
    """The weights of one decay by their content: `weights`, the sha256 of the file, and `ema`, the decay.

    Of a length, the sha256 is of all snapshots.
    """
    facts, decay = facts_of(run), decay_of(run, ema)
    return {"weights": facts["sha256"] if decay in facts["ema"] else digest(facts["snapshots"]), "ema": decay}


def kept_of(run: Run) -> dict[str, Any]:
    """What a run stores about another that it is made from: its `record`, and what that run's training cost."""
    training = (read_json(run.facts) or {}).get("training")
    return record(run.config, run.folder.name) | ({"training": training} if training else {})


def weights_name(decay: float, facts: Mapping[str, Any]) -> str:
    """What the weights of a decay, or of a length, are called beside a number."""
    return f"ema={decay}" if decay in facts["ema"] else f"ema={decay} of {len(facts['snapshots'])} snapshots"


def tensors_of(run: Run, decay: float) -> dict[str, Tensor]:
    """The weights of one decay or length. Raises ValueError if a file is damaged."""
    facts = facts_of(run)
    tensors = checked(run.weights, facts["sha256"])
    first = decay if decay in facts["ema"] else facts["ema"][0]
    prefix = f"{first}/"
    found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return found if decay == first else found | of_length(run, facts["snapshots"], decay)


def sha256_of(module: nn.Module) -> str:
    """The sha256 of all tensors of a module, by their names."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in module.state_dict().items()}
    return hashlib.sha256(tensor_bytes(tensors)).hexdigest()


def load_into(module: nn.Module, run: Run, ema: float | None = None) -> str:
    """Load the weights of one decay, by default the first, into a module of the same network; their name.

    Reads tensors only. Raises ValueError if the run has no weights yet, if they are damaged or of another network, or
    if it has no such decay.
    """
    decay = decay_of(run, ema)
    try:
        tensors = tensors_of(run, decay)
        check_values(module, tensors, run)
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{run.weights}: its weights are of another network than this one") from error
    return weights_name(decay, facts_of(run))


def check_values(module: nn.Module, tensors: Mapping[str, Tensor], run: Run) -> None:
    """Raise Damaged for weights that a module's own type would round, and for values that are not finite."""
    own = module.state_dict()
    for name, value in tensors.items():
        if name in own and own[name].is_floating_point() != value.is_floating_point():
            raise Damaged(f"{run.weights}: {name} is of {value.dtype}, the network of {own[name].dtype}")
        if value.is_floating_point() and not value.float().isfinite().all():
            raise Damaged(f"{run.weights}: {name} holds values that are not finite")


def load_module(run: Run, ema: float | None = None, device: torch.device | str = "cpu") -> tuple[nn.Module, str]:
    """What a run trained, with the weights of one decay, by default the first; and the name of these weights.

    Builds difflab's own classes only. Raises ValueError as `load_into` does.
    """
    with bounded(str(run.facts)):
        module = build(facts_of(run)["module"])
    if not isinstance(module, nn.Module):
        raise ValueError(f"{run.facts} is damaged: its module is a {type(module).__name__}, no network")
    name = load_into(module, run, ema)
    return module.to(device).eval().requires_grad_(False), name


def load_denoiser(run: Run, ema: float | None = None, device: torch.device | str = "cpu") -> tuple[AnyDenoiser, str]:
    """The same of a run that generates. Raises ValueError also if it does not."""
    module, weights = load_module(run, ema, device)
    if isinstance(module, FirstStage):
        raise ValueError(
            f"{run.folder.name} is a first stage, which generates nothing by itself: train a model of its latents, by "
            f"difflab-train first_stage={run.folder.name}"
        )
    if isinstance(module, Contrast):
        raise ValueError(
            f"{run.folder.name} is a contrastive pair, which generates nothing: measure how well samples go with their "
            f"texts, by difflab-evaluate run=... protocol=quick protocol.contrastive={run.folder.name}"
        )
    if not isinstance(module, AnyDenoiser):
        raise ValueError(
            f"{run.folder.name} is a {type(module).__name__.lower()}, which generates nothing: give it to another run "
            f"as guidance=classifier guidance.classifier.classifier.run={run.folder.name}"
        )
    return module, weights


def start_from(run: Run, module: nn.Module, ema: float | None = None) -> dict[str, Any]:
    """Load the averaged weights of a run into a module that will be trained; their identity, as `weights_identity`.

    Of a run that did not finish, as one that diverged, those of its last checkpoint. Raises ValueError if it has
    neither, no such decay, or those of another network.
    """
    try:
        checkpoint = None if run.facts.exists() else newest(run)
        if checkpoint is None:
            load_into(module, run, ema)
            return weights_identity(run, ema)
        averages = averages_in(checkpoint.load())
        decay = next(iter(averages)) if ema is None else ema
        module.load_state_dict(averages[decay])
        tensors = {name: value.contiguous() for name, value in averages[decay].items()}
        return {"weights": hashlib.sha256(tensor_bytes(tensors)).hexdigest(), "ema": decay}
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"init={run.folder}: {error}; init=none starts from scratch") from error
