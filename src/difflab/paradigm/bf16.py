"""Whether bf16 is fast here: other hardware emulates it, at a twentieth of the speed of fp32."""

from __future__ import annotations

import torch


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware: AMX or AVX512-BF16 on a CPU."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False
