"""A space of latents: what models see are draws of a frozen encoder's posterior, whitened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from difflab.data.codec import Codec
from difflab.data.images import Batch, Split
from difflab.data.order import Block, normal_rows

ENCODED = 128  # samples that are encoded or decoded at once

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


class Encoder(Protocol):
    """A frozen network between samples as its own model sees them and latents; both `(B, C, ...)`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """That of its samples."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """That of its latents."""

    def posterior(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of `q(z | x0)`."""

    def decode(self, z: Tensor) -> Tensor:
        """The samples of latents."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """`w = W (z - m)` over the channels at each position: mean 0 and variance 1 over the training set.

    `W` is diagonal, or with `full` the symmetric square root of the inverse covariance: uncorrelated channels. Raises
    ValueError for latents with a channel that does not vary.
    """

    mean: Tensor  # (C,)
    matrix: Tensor  # (C, C)

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor, full: bool) -> Whitening:
        """That of latents with this mean `(C,)` and covariance `(C, C)`, both in float64."""
        covariance = covariance if full else covariance.diag().diag()
        variances, axes = torch.linalg.eigh(covariance)
        if not variances.min() > 1e-12 * variances.max():
            raise ValueError(
                f"the latents of first_stage= vary in {int((variances > 1e-12 * variances.max()).sum())} of "
                f"{len(variances)} channels: its KL term is too strong, or it has more channels than it uses"
            )
        return cls(mean, axes @ (variances**-0.5).diag() @ axes.T)

    def __call__(self, z: Tensor) -> Tensor:
        """Latents `(B, C, ...)` whitened."""
        return mixed(self.matrix, z - self.mean.to(z).reshape(-1, *[1] * (z.ndim - 2)))

    def inverse(self, w: Tensor) -> Tensor:
        """Whitened latents `(B, C, ...)` as they were."""
        return mixed(self.matrix.inverse(), w) + self.mean.to(w).reshape(-1, *[1] * (w.ndim - 2))


def mixed(matrix: Tensor, z: Tensor) -> Tensor:
    """A linear map of the channels; a diagonal one scales them."""
    diagonal = matrix.diag()
    if torch.equal(diagonal.diag(), matrix):
        return diagonal.to(z).reshape(-1, *[1] * (z.ndim - 2)) * z
    return torch.einsum("ij,bj...->bi...", matrix.to(z), z)


@dataclass(frozen=True)
class FrozenStage:
    """A frozen encoder and decoder, by what its latents are known in a `cache`, and how they are whitened."""

    network: Encoder
    identity: Mapping[str, object]  # of its weights
    cache: Callable[[str, Sequence[object], Callable[[], dict[str, Tensor]]], dict[str, Tensor]]
    bar: Bar  # shows how far the encoding is
    device: torch.device
    full: bool = False  # see `Whitening`

    @property
    def weights(self) -> dict[str, object]:
        """What the latents depend on before they are whitened."""
        return {key: value for key, value in self.identity.items() if key != "whitening"}


def space_name(shape: Sequence[int], identity: Mapping[str, object]) -> str:
    """A space of latents in words, by its shape and what is known of its first stage."""
    sha256, whitening = str(identity["sha256"])[:12], identity["whitening"]
    return f"latents {'x'.join(map(str, shape))} of sha256 {sha256}, whitening {whitening}"


class Latents(Codec):
    """The codec of a space of latents: stored samples are those of the `inner` codec.

    `encode` gives the whitened mean of `q(z | x)`; training sees draws of it, see `LatentBlocks`. `decode` goes by
    way of the decoder. The posteriors of a whole split are computed once, and kept in the cache by the content of the
    weights and of the samples, and by the inner codec.
    """

    def __init__(self, inner: Codec, stage: FrozenStage, training: Callable[[], Split], flip: bool) -> None:
        self.inner, self.stage, self.training, self.flip = inner, stage, training, flip
        self.cloud, self.mirrors = inner.cloud, inner.mirrors  # type: ignore[misc]  # of other codecs they are the class's

    @property
    @override
    def space(self) -> str:
        return space_name(self.stage.network.latent_shape, self.stage.identity)

    @override
    def check(self, x: Tensor) -> None:
        self.inner.check(x)

    @override
    def encode(self, x: Tensor) -> Tensor:
        return self.whitening(self.posterior(x)[0])

    @override
    def decode(self, x: Tensor) -> Tensor:
        return self.decode_latents(self.whitening.inverse(x.float()))

    @override
    def show(self, x: Tensor) -> Tensor:
        return self.inner.show(x)

    @override
    def measure(self, x: Tensor) -> Tensor:
        return self.inner.measure(x)

    @torch.no_grad()
    def decode_latents(self, z: Tensor) -> Tensor:
        """Latents, not whitened, as samples are stored."""
        decode, device = self.stage.network.decode, self.stage.device
        return torch.cat([self.inner.decode(decode(part.to(device)).to(z.device)) for part in torch.split(z, ENCODED)])

    @torch.no_grad()
    def posterior(self, x: Tensor, seen: Callable[[int], None] = lambda done: None) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of the latents of stored samples, not whitened."""
        found, done = [], 0
        for part in torch.split(x, ENCODED):
            pair = self.stage.network.posterior(self.inner.encode(part).to(self.stage.device))
            found.append(torch.stack(pair, 1).to(x.device))
            seen(done := done + len(part))
        mean, log_var = torch.cat(found).unbind(1)
        return mean, log_var

    def posteriors(self, split: Split, flip: bool = False) -> dict[str, Tensor]:
        """`mean` and `log_var` of a split, each `(N, F, *latent_shape)`: F is 2 where mirrored samples are seen, too.

        Of what is kept in the cache.
        """

        def compute() -> dict[str, Tensor]:
            ways = [split.x, split.x.flip(-1)] if flip else [split.x]
            with self.stage.bar("latents", len(ways) * len(split)) as progress:
                pairs = [
                    self.posterior(x, lambda done, k=k: progress(k * len(split) + done))  # type: ignore[misc]
                    for k, x in enumerate(ways)
                ]
            mean, log_var = (torch.stack(each, 1) for each in zip(*pairs, strict=True))
            return {"mean": mean, "log_var": log_var}

        known_by = [self.stage.weights, split.sha256, str(self.inner), flip, "float32"]
        return self.stage.cache("latents", known_by, compute)

    @cached_property
    def whitening(self) -> Whitening:
        """That of the training set: over its samples, mirrored ones too, positions, and draws of the posterior."""
        found = self.posteriors(self.training(), self.flip)
        mean, log_var = (found[name].double().flatten(0, 1) for name in ("mean", "log_var"))
        channels = mean.movedim(1, 0).flatten(1)  # (C, all positions)
        within = log_var.exp().movedim(1, 0).flatten(1).mean(1)
        covariance = channels.cov(correction=0).reshape(len(within), -1) + within.diag()
        return Whitening.of(channels.mean(1), covariance, self.stage.full)

    def blocks(self, split: Split, seed: int, flip: bool = False) -> LatentBlocks:
        """A split as batches of draws."""
        return LatentBlocks(self.posteriors(split, flip), split.y, self.whitening, seed)

    def drawn(self, split: Split, rows: slice | Tensor = slice(None)) -> Tensor:
        """A draw of the latents of samples of a split, not whitened: of each sample the same every time."""
        found, k = self.posteriors(split), torch.arange(len(split))[rows]
        mean, log_var = found["mean"][k, 0], found["log_var"][k, 0]
        return mean + (0.5 * log_var).exp() * normal_rows(k.tolist(), mean.shape[1:])

    def reconstructed(self, split: Split) -> Split:
        """The samples of these draws, which no model of the latents can be expected to better, as they are stored."""
        x = self.stage.cache(
            "reconstructions",
            [self.stage.weights, split.sha256, str(self.inner)],
            lambda: {"x": self.decode_latents(self.drawn(split))},
        )["x"]
        return Split(x, split.y)


class LatentBlocks(Dataset[Batch]):
    """A split of latents indexed by whole blocks: `W (mean + std n - m)`.

    The noise `n` is a function of the seed, the key of the block and the place in the global batch.
    """

    def __init__(self, posteriors: Mapping[str, Tensor], y: Tensor, whitening: Whitening, seed: int) -> None:
        self.mean, self.log_var, self.y = posteriors["mean"], posteriors["log_var"], y
        self.whitening, self.seed = whitening, seed

    def __getitem__(self, block: Block) -> Batch:
        rows, way = torch.from_numpy(block.images), torch.from_numpy(block.mirrored).long()
        mean, log_var = self.mean[rows, way], self.log_var[rows, way]
        z = mean + (0.5 * log_var).exp() * block.normal(self.seed, tuple(mean.shape[1:]))
        return Batch(self.whitening(z), self.y[rows] + torch.from_numpy(block.form))
