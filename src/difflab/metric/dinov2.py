"""The extractor of FD-DINOv2. Stein et al. 2023 (arXiv:2306.04675)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from difflab.metric.distance import kernel, kernel_within
from difflab.metric.extrapolated import Halves, frechet_and_limit
from difflab.metric.features import FrozenNetwork, Score, sha256_of
from difflab.metric.manifold import EQUAL_SETS, comparable_manifold
from difflab.metric.sample_size import InverseBias, Unbiased

HUB = "facebook/dinov2-large"
FILES = ("config.json", "model.safetensors")
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
INSTALL = "DINOv2 needs transformers: pip install 'difflab[dinov2]'"


class DINOv2(FrozenNetwork):
    """The class token of DINOv2 ViT-L/14, which agrees with human judgement better than Inception's features do.

    `weights` is a folder with config.json and model.safetensors; without one, that of facebook/dinov2-large is fetched
    from the Hugging Face hub, once. A smaller DINOv2 gives other numbers, and its own sha256 distinguishes them.
    Images are resized by torch's antialiased bicubic filter, which has Pillow's kernel and rounds nothing. Published
    values come from torch hub's copy of the network, which resizes the position codes a little differently.
    Raises ModuleNotFoundError without transformers, FileNotFoundError if files are missing or cannot be fetched,
    ValueError if they are not a DINOv2.
    """

    name = "dinov2"
    resize = "bicubic antialias 224"
    paths: ClassVar[tuple[str, ...]] = ("weights",)
    scores: ClassVar[tuple[Score, ...]] = (
        Score("cls", ("fd_dinov2", "fd_inf_dinov2"), frechet_and_limit, Halves, InverseBias()),
        Score.single("cls", "kid_dinov2", kernel, Unbiased(), kernel_within),
        Score(
            "cls",
            ("precision_dinov2", "recall_dinov2", "density_dinov2", "coverage_dinov2"),
            comparable_manifold,
            size=EQUAL_SETS,
        ),
    )

    def __init__(self, weights: str | Path | None = None, device: torch.device | str = "cpu") -> None:
        folder = fetch() if weights is None else Path(weights)
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise FileNotFoundError(
                f"no {' and no '.join(missing)} in {folder}, which must hold {' and '.join(FILES)} as {HUB} has them"
            )
        super().__init__(ClassToken(load_dinov2(folder)), device)
        self.sha256 = sha256_of(folder / "model.safetensors")


class ClassToken(nn.Module):
    """DINOv2 on images as they are stored."""

    mean: Tensor
    std: Tensor

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.vit = vit
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(STD).view(3, 1, 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The normalised class token of RGB images (N, 3, H, W) in 0..255: `cls` (N, D)."""
        x = F.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        return {"cls": self.vit(pixel_values=(x - self.mean) / self.std).pooler_output}


def load_dinov2(folder: Path) -> nn.Module:
    """The network of a folder, frozen, in float32. Raises ModuleNotFoundError, ValueError."""
    try:
        from transformers import Dinov2Model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(INSTALL) from error
    refused = f"{folder} does not hold the weights of the DINOv2 that its config.json describes"
    try:
        read: Any = Dinov2Model.from_pretrained  # its types know of no report
        vit, report = read(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            attn_implementation="sdpa",  # config.json might name code of the hub
            output_loading_info=True,
        )
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(refused) from error
    if wrong := {*report["missing_keys"], *report["unexpected_keys"]}:  # the missing ones would be random
        raise ValueError(f"{refused}: {', '.join(sorted(wrong))}")
    frozen: nn.Module = vit.eval().requires_grad_(False)
    return frozen


def fetch() -> Path:
    """The folder of the published files, from the hub's cache if they are there. Raises FileNotFoundError."""
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(INSTALL) from error
    try:
        return Path(snapshot_download(HUB, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"no DINOv2 weights: {HUB} could not be fetched ({error}). Fetch its {' and '.join(FILES)} elsewhere, and "
            "name their folder with protocol.extractor.weights=FOLDER; protocol=quick needs no download."
        ) from error
