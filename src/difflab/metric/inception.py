"""The extractor of the Frechet Inception Distance. Heusel et al. 2017 (arXiv:1706.08500)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from difflab.metric.distance import kernel, kernel_within
from difflab.metric.extrapolated import Halves, frechet_and_limit
from difflab.metric.features import FrozenNetwork, Score, load
from difflab.metric.inception_v3 import InceptionNetwork
from difflab.metric.manifold import EQUAL_SETS, comparable_manifold
from difflab.metric.sample_size import InverseBias, Unbiased

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
FILES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")  # one file, two names


class Inception(FrozenNetwork):
    """Features of the Frechet and Kernel Inception Distances: `fid` and `kid` of the literature.

    `weights` is a local file; without one, torch hub's cache is searched, then the file is downloaded into it.
    Raises FileNotFoundError if there is none, ValueError if it is another file.
    """

    name = "inception-2015-12-05"
    sha256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
    resize = "bilinear tensorflow1 299"
    paths: ClassVar[tuple[str, ...]] = ("weights",)
    scores: ClassVar[tuple[Score, ...]] = (
        Score("pool", ("fid", "fid_inf"), frechet_and_limit, Halves, InverseBias()),
        Score.single("pool", "kid", kernel, Unbiased(), kernel_within),
        Score("pool", ("precision", "recall", "density", "coverage"), comparable_manifold, size=EQUAL_SETS),
    )

    def __init__(self, weights: str | Path | None = None, device: torch.device | str = "cpu") -> None:
        super().__init__(load(InceptionNetwork, find_weights(weights), self.sha256), device)


def find_weights(weights: str | Path | None, url: str = URL) -> Path:
    """The given file, or else the one in torch hub's cache, downloaded if need be. Raises FileNotFoundError."""
    if weights is not None:
        if not Path(weights).is_file():
            raise FileNotFoundError(f"no Inception weights at {weights}; the file is published as {URL}")
        return Path(weights)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    for path in (cache / name for name in FILES):
        if path.is_file():
            return path
    target = cache / FILES[0]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), hash_prefix=Inception.sha256)
    except OSError as error:
        raise FileNotFoundError(
            f"no Inception weights: neither {' nor '.join(FILES)} is in {cache}, and the download failed ({error}). "
            f"Fetch {URL} elsewhere, and put it there or name it with protocol.extractor.weights=FILE; "
            "protocol=quick needs no download."
        ) from error
    return target
