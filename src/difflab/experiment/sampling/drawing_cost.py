"""What drawing samples cost, over all processes of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from difflab.experiment.machine.hardware import device_name
from difflab.experiment.machine.processes import everyone


def drawing_cost(own: Mapping[str, float], n: int, device: torch.device) -> dict[str, Any]:
    """The cost of `n` samples from that of this process's share: `nfe`, `seconds`, `network` and `peak_memory`.

    Network evaluations are those of each sample, seconds those of the slowest process, decoding included.
    """
    every = everyone(own)
    seconds = max(each["seconds"] for each in every)
    return {
        "nfe": sum(each["nfe"] for each in every) / n,
        "seconds": seconds,
        "seconds_per_sample": seconds / n,
        "network_share": sum(each["network"] for each in every) / len(every),
        "peak_memory": max(each["peak_memory"] for each in every),
        "device": " and ".join(everyone(device_name(device))),
    }
