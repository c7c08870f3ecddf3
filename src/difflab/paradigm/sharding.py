"""Tensors of which each process holds a part: how modules come to hold them, and how they become whole."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from difflab.paradigm.batch import place

T = TypeVar("T")


def full(value: Tensor) -> Tensor:
    """The whole of a tensor that the processes hold parts of, all of which must ask; another tensor as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def part_like(whole: Tensor, other: Tensor) -> Tensor:
    """The part of a tensor that this process has where `other`, of the same shape, is divided; else all of it."""
    if not isinstance(other, DTensor) or isinstance(whole, DTensor) or whole.shape != other.shape:
        return whole
    here = whole.detach().to(other.device).contiguous()
    return distribute_tensor(here, other.device_mesh, other.placements, src_data_rank=None)


def gathered(state: T) -> T:
    """A nested state with whole tensors on the CPU where there were parts: in the first process, which writes it.

    All processes must ask; in the others these tensors are left empty.
    """

    def whole(value: DTensor) -> Tensor:
        found = full(value.detach())
        return found.new_empty(0, device="cpu") if place()[0] else found.cpu()

    return cast(T, tree_map_only(DTensor, whole, state))


def divide_like(module: nn.Module, other: nn.Module) -> None:
    """Leave this process the parts of a module that it has of another one of the same network."""
    for own, theirs in zip(module.modules(), other.modules(), strict=True):
        for (name, p), q in zip(own.named_parameters(recurse=False), theirs.parameters(recurse=False), strict=True):
            if (part := part_like(p, q)) is not p:
                own.register_parameter(name, nn.Parameter(part, p.requires_grad))


def whole_copy(module: nn.Module) -> nn.Module:
    """A copy with whole parameters of a module that the processes hold parts of; another module as it is."""
    if not any(isinstance(p, DTensor) for p in module.parameters()):
        return module
    copied = copy.deepcopy(module)
    for own in copied.modules():
        for name, p in [*own.named_parameters(recurse=False)]:
            own.register_parameter(name, nn.Parameter(full(p.detach()), p.requires_grad))
    return copied
