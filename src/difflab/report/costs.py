"""The costs that quality is held against, and the devices that they were taken on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from difflab.report.study import Cell

COSTS = {"nfe": "network evaluations a sample", "seconds_per_sample": "seconds a sample"}  # by the keys of `cost`


def asked(nfe: float) -> str:
    """A number of evaluations as it was asked for: 0 stands for what a tolerance needs."""
    return f"{nfe:g}" if nfe else "by tolerance"


def unlike_devices(cells: Sequence[Cell]) -> str:
    """That the times are of different devices, and which; empty where they are of one."""
    devices = sorted({device for cell in cells for device in cell.devices})
    return f"The seconds are of different devices: {'; '.join(devices)}." if len(devices) > 1 else ""
