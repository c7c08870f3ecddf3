"""What a training costs in network evaluations, which do not depend on the machine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from difflab.data.module import DataModule
from difflab.paradigm.base import HELD_OUT, Paradigm

SAMPLES = 64


@torch.no_grad()
def evaluations_an_image(model: Paradigm, data: DataModule) -> float:
    """Network evaluations that the loss takes for each image, a mean over `SAMPLES` held-out ones or a batch.

    The trained network, its held copy and a teacher each count as one, of any size; guidance adds evaluations of the
    teacher. Backward passes are not counted, and a derivative in forward mode counts as one evaluation.
    """
    split = data.held_out
    rows = torch.arange(min(SAMPLES, model.batch_size)) % len(split)
    device = next(model.parameters()).device
    x0, label = data.encoded(split, rows).to(device), split.y[rows].to(device)
    eps = None if split.eps is None else split.eps[rows].to(device)
    seen = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401  # any input of a module
        nonlocal seen
        if hasattr(module, "outer_layers") and isinstance(inputs[0], Tensor):  # a network
            seen += len(inputs[0])

    was_training = model.training
    hook = register_module_forward_hook(count)
    try:
        with torch.compiler.set_stance("force_eager"):
            model.eval().loss(model.corrupt(x0, label, 0.0, HELD_OUT, eps=eps))
    finally:
        hook.remove()
        model.train(was_training)
    return seen / len(x0)
