"""How several processes train one model: with a copy each, or with a part each."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer
from typing_extensions import override

from difflab.backbone.layers import Block
from difflab.paradigm.base import Paradigm
from difflab.paradigm.optimisation import Muon
from difflab.paradigm.sharding import gathered, part_like


class Copies(DDPStrategy):
    """A copy of the model in each process, whose gradients are averaged: Li et al. 2020 (arXiv:2006.15704).

    The gradients are views of the buckets that are sent. Every parameter takes part in every step, and every step has
    the same graph, so that the buckets are sent in the order in which they are ready.
    """

    def __init__(self) -> None:
        super().__init__(static_graph=True, gradient_as_bucket_view=True, find_unused_parameters=False)


def network_of(model: Paradigm) -> nn.Module:
    """The network that is trained, as `fully_shard` takes it: all that it is given lies on the device."""
    return cast(nn.Module, getattr(model.learned, "backbone", model.learned))


def in_order(optimizer: Optimizer) -> list[Tensor]:
    """The parameters of an optimizer in the order of its state."""
    return [*chain.from_iterable(group["params"] for group in optimizer.param_groups)]


class Shards(DDPStrategy):
    """A part of the parameters, gradients, averages and of the optimizer's state in each process: FSDP2.

    Zhao et al. 2023 (arXiv:2304.11277). Each `Block` of the network is a unit, and the rest is one more: a process
    gathers the parameters of a unit while it computes with them. Checkpoints have whole tensors, as those of one
    process, so that a training may go on with any number of processes, sharded or not. In validation and outside of
    `fit` every process has the whole network, since the processes have different numbers of held-out batches.

    Lightning's own ModelParallelStrategy shards before the averages are made and a checkpoint is read, and in all that
    it runs, for which each process must have as many batches.
    """

    layouts: Mapping[Tensor, tuple[int, ...]]  # the strides of each parameter before, as fused optimizers go by them

    @staticmethod
    def check(model: Paradigm) -> None:
        """Raise ValueError for a model that cannot be trained in parts."""
        if model.adversary is not None:
            raise ValueError(
                f"trainer=fsdp shards the network alone, and {type(model).__name__} trains a discriminator, too: "
                f"choose trainer=ddp"
            )
        network = {*network_of(model).parameters()}
        if any(p.requires_grad and p not in network for p in model.learned.parameters()):
            raise ValueError(
                f"trainer=fsdp shards the network alone, and {type(model).__name__} learns more, as its schedule: "
                f"choose trainer=ddp"
            )
        if isinstance(model.optimisation.optimizer, Muon):
            raise ValueError(
                "optimizer=muon makes whole matrices orthogonal, of which trainer=fsdp leaves each process some rows: "
                "choose optimizer=adamw, or trainer=ddp"
            )

    @override
    def model_to_device(self) -> None:
        """Shard the network a unit at a time, so that the whole of it is never on the device."""
        model = cast(Paradigm, self.lightning_module)
        network = network_of(model)
        if model.trainer.state.fn == TrainerFn.FITTING and not isinstance(network, FSDPModule):
            self.check(model)
            strides = [p.stride() for p in network.parameters()]
            mesh = init_device_mesh(self.root_device.type, (dist.get_world_size(),))
            for p in network.parameters():
                p.data = p.data.contiguous()
            for unit in (*(part for part in network.modules() if isinstance(part, Block)), network):
                fully_shard(unit, mesh=mesh, reshard_after_forward=True)
            self.layouts = dict(zip(network.parameters(), strides, strict=True))
        super().model_to_device()

    @property
    def units(self) -> list[FSDPModule]:
        """What is gathered at once."""
        return [part for part in cast(nn.Module, self.lightning_module).modules() if isinstance(part, FSDPModule)]

    @override
    def on_validation_start(self) -> None:
        """Gather the network, and keep it."""
        for unit in self.units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()

    @override
    def on_validation_end(self) -> None:
        """Leave this process its part again."""
        for unit in self.units:
            unit.set_reshard_after_forward(True, recurse=False)
            unit.reshard()

    @override
    def configure_ddp(self) -> None:
        """The network is sharded, and nothing is wrapped around the model."""

    @override
    def lightning_module_state_dict(self) -> dict[str, Any]:
        """That of the model, whole, in the first process."""
        return gathered(super().lightning_module_state_dict())

    @override
    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The same of an optimizer."""
        found: dict[str, Any] = gathered(super().optimizer_state(optimizer))
        parameters = in_order(optimizer)
        for k, state in found["state"].items():
            for name, value in state.items():
                if value.shape == parameters[k].shape:
                    state[name] = value.new_empty_strided(value.shape, self.layouts[parameters[k]]).copy_(value)
        return found

    @override
    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read from the file only what this process has a part of, when it takes it."""
        found: dict[str, Any] = torch.load(checkpoint_path, map_location="cpu", mmap=True, weights_only=weights_only)
        return found

    @override
    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of the whole state."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = in_order(optimizer)
            state = {
                k: {name: part_like(value, parameters[k]) for name, value in each.items()}
                for k, each in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})
