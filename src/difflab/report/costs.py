"""The costs that quality is plotted against, and the devices that the times were measured on."""

from __future__ import annotations

from collections.abc import Collection

COSTS = {"nfe": "network evaluations a sample", "seconds_per_sample": "seconds a sample"}  # by the keys of `cost`


def devices_note(devices: Collection[str]) -> str:
    """A warning that names the devices if the times were measured on several; empty otherwise."""
    return f"The seconds are of different devices: {'; '.join(sorted(devices))}." if len(devices) > 1 else ""
