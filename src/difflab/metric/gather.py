"""How the states of metrics come together over processes."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(own: Tensor, group: Any = None) -> list[Tensor]:  # noqa: ANN401  # torch's type is private
    """The tensors of all processes in the order of rank: a `dist_sync_fn` of torchmetrics.

    torchmetrics' own wants one number of axes and one type. Here a process that saw no sample, whose "cat" states are
    empty float32 vectors, takes part all the same, and states may lie on the CPU with any backend of the processes.
    """
    facts: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(facts, (own.shape, own.dtype), group)
    shape, dtype = next((fact for fact in facts if math.prod(fact[0])), facts[0])  # of one that saw some
    shapes = [each if math.prod(each) else torch.Size((0, *shape[1:])) for each, _ in facts]
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else own.device
    padded = torch.zeros(max(map(math.prod, shapes)), dtype=dtype, device=device)
    padded[: own.numel()] = own.flatten()
    parts = [torch.empty_like(padded) for _ in shapes]
    dist.all_gather(parts, padded, group)
    return [part[: math.prod(each)].view(each).to(own.device) for part, each in zip(parts, shapes, strict=True)]


# How our metrics keep their states: on the CPU, where features come to, and gathered from there.
ON_CPU: dict[str, Any] = {"dist_sync_fn": gathered, "compute_on_cpu": True}
