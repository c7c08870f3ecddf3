"""Every metric on the same samples, which come in batches, on one process or shared by two."""

from types import SimpleNamespace

import numpy as np
import torch
from torchmetrics import MetricCollection

from difflab.experiment.machine.processes import everyone, rank
from difflab.metric import (
    Copies,
    FeatureMetric,
    FrechetDistance,
    InceptionScore,
    MeanAndError,
    Score,
    comparable_manifold,
    energy,
    kernel,
    wasserstein,
)
from difflab.metric.cache import uncached
from difflab.metric.extrapolated import Halves, frechet_and_limit
from difflab.metric.reference import compared, keeper_names, keepers

N, REAL, D, WIDE = 203, 150, 6, 300


def rng(seed):
    return torch.Generator().manual_seed(seed)


def gap(generated, real):
    """A score of one's own: a plain function of all features."""
    return (generated.mean(0) - real.mean(0)).norm().item()


class Layers:
    """Samples as they are, and in more dimensions than there are of them; every kind of score."""

    name, sha256, resize = "layers", "none", "none"
    scores = (
        Score("block.narrow", ("fd", "fd_inf"), frechet_and_limit, Halves),
        Score("wide", ("fd_wide", "fd_inf_wide"), frechet_and_limit, Halves),
        Score.single("block.narrow", "kid", kernel),
        Score.single("wide", "energy", energy),
        Score.single("block.narrow", "w2", wasserstein),
        Score("block.narrow", ("precision", "recall", "density", "coverage"), comparable_manifold),
        Score.single("wide", "gap", gap),
    )

    def __init__(self):
        self.mix = torch.randn(D, WIDE, generator=rng(9))

    def __call__(self, x):
        wide = (x.double() @ self.mix.double()).relu()  # in float32 a row depends on the batch that it is in
        return {"block.narrow": x, "wide": wide.float()}


def split(x):
    return SimpleNamespace(x=x, sha256=str(len(x)))


def samples():
    """N generated samples, their log-probabilities, and two splits of real ones."""
    g = rng(0)
    x, real, other = (torch.randn(n, D, generator=g) + shift for n, shift in ((N, 0.3), (REAL, 0), (90, 0)))
    return x, (2 * torch.randn(N, 5, generator=g)).log_softmax(1), split(real), split(other)


def shuffled(n, seed, most=40):
    """The numbers 0..n-1 in random order, in batches of random sizes from 1 to `most`."""
    draw = np.random.default_rng(seed)
    cuts = np.cumsum(draw.integers(1, most + 1, n))
    return [torch.from_numpy(part) for part in np.split(draw.permutation(n), cuts[cuts < n])]


def collection():
    _, _, real, other = samples()
    metrics = {**keepers(Layers(), N), "copies": Copies(real, other), "is": InceptionScore(5), "bits": MeanAndError()}
    return MetricCollection(metrics, compute_groups=False)


def pairs():
    """Metrics that are fed real samples, too."""
    return {"frechet": FrechetDistance(Layers(), "wide"), "kernel": FeatureMetric(kernel, Layers(), "block.narrow")}


def feed(metrics, two_sided, generated, real_ones):
    """Give them batches of the numbers of generated and of real samples."""
    x, log_probs, real, _ = samples()
    extractor = Layers()
    for k in generated:
        metrics.update(seen=extractor(x[k]), log_probs=log_probs[k], samples=x[k], values=log_probs[k][:, 0], k=k)
    for metric in two_sided.values():
        for k in generated:
            metric.update(x[k], real=False)
        for k in real_ones:
            metric.update(real.x[k], real=True)


def results(metrics, two_sided):
    """Every value by name."""
    _, _, real, other = samples()
    found, extractor = metrics.compute(), Layers()
    kept = [found[name] for name in keeper_names(extractor)]
    values = compared(extractor, kept, N, real, other, uncached, "other") | found["copies"].scores
    values |= {"is": found["is"].item(), "bits": found["bits"][0].item(), "bits_se": found["bits"][1].item()}
    values |= {f"copy{i}": k.item() for i, k in enumerate(torch.cat(found["copies"].pairs(10)))}
    return values | {name: metric.compute().item() for name, metric in two_sided.items()}


def measured(generated, real_ones):
    metrics, two_sided = collection(), pairs()
    feed(metrics, two_sided, generated, real_ones)
    return results(metrics, two_sided)


SHARES = {  # which batches each of two processes sees
    "unequal": (slice(0, 3), slice(3, None)),
    "second empty": (slice(None), slice(0, 0)),
    "first empty": (slice(0, 0), slice(None)),
}


def on_two():
    """One of two processes: what each metric computes in each of them, by how the samples are shared."""
    generated, real_ones = shuffled(N, 1), shuffled(REAL, 2)
    mine = {name: own[rank()] for name, own in SHARES.items()}
    return {name: everyone(measured(generated[own], real_ones[own])) for name, own in mine.items()}
