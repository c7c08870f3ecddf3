"""Metrics that are fed batch by batch: in any batches, order and processes they are those of all samples at once."""

import math

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from difflab.experiment.machine.launch import together
from difflab.metric import FeatureMetric, FrechetDistance, InceptionScore, MeanAndError, comparable_manifold, kernel
from difflab.metric.cache import uncached
from difflab.metric.classes import inception_score
from difflab.metric.distance import frechet
from difflab.metric.memorisation import memorisation
from difflab.metric.moments import BUFFER, extended, moments, moments_of
from difflab.metric.reference import measure
from helpers.batches import (
    REAL,
    D,
    Layers,
    N,
    collection,
    feed,
    measured,
    on_two,
    pairs,
    results,
    rng,
    samples,
    shuffled,
)


def vectors(n, d, seed, shift=0.0):
    mix = torch.randn(d, d, generator=rng(seed), dtype=torch.float64) / d**0.5
    return (torch.randn(n, d, generator=rng(seed + 1), dtype=torch.float64) @ mix + shift).float()


@pytest.fixture(scope="module")
def whole():
    """Every value by the plain functions of all samples at once."""
    x, log_probs, real, other = samples()
    copies = memorisation(x, real, other, uncached)
    found = measure(Layers(), x, real, other, uncached, "other") | copies.scores
    found |= {f"copy{i}": k.item() for i, k in enumerate(torch.cat(copies.pairs(10)))}
    bits = log_probs[:, 0].double()
    found |= {"is": inception_score(log_probs), "bits": bits.mean().item(), "bits_se": bits.std().item() / N**0.5}
    wide = Layers()(x)["wide"], Layers()(real.x)["wide"]
    return found | {"frechet": frechet(*wide), "kernel": kernel(x, real.x)}


def test_moments_of_batches_are_those_of_all_vectors_however_few(subtests):
    for n, d, most in [(1500, 6, 40), (1300, 3, 700), (20, 64, 1), (65, 64, 7), (2, 1, 1), (300, 200, 50)]:
        with subtests.test(f"{n} vectors of {d}"):
            x, rows = vectors(n, d, seed=0, shift=30.0), []
            for k in shuffled(n, 1, most):
                rows = extended(rows, x[k])
            expected = torch.from_numpy(np.cov(x.double().numpy().T)).reshape(d, d)
            for found in (moments_of(torch.cat(rows)), moments(x.double())):
                torch.testing.assert_close(found.mean, x.double().mean(0), rtol=1e-12, atol=1e-12)
                torch.testing.assert_close(found.root.T @ found.root, expected, rtol=1e-10, atol=1e-10)


def test_the_frechet_distance_keeps_as_much_of_many_samples_as_of_some():
    metric, most = FrechetDistance(), 0
    for seed in range(40):
        metric.update(vectors(200, 8, seed), real=False)
        most = max(most, sum(rows.numel() for rows in metric.generated))
    assert most <= BUFFER * (8 + 1)
    metric.update(vectors(20_000, 8, 50), real=False)
    assert sum(rows.numel() for rows in metric.generated) == 9 * 9


def test_any_batches_in_any_order_are_all_samples_at_once(whole, subtests):
    for seed, most in [(0, 1), (1, 7), (2, 40), (3, N)]:
        with subtests.test(f"batches of at most {most}"):
            found = measured(shuffled(N, seed, most), shuffled(REAL, seed, most))
            assert found == pytest.approx(whole, rel=1e-9, abs=1e-12)


def test_merged_states_are_those_of_all_samples(whole, subtests):
    """torchmetrics' own `merge_state`, over random partitions."""
    for seed in range(3):
        with subtests.test(f"partition {seed}"):
            generated, real_ones = shuffled(N, seed), shuffled(REAL, seed)
            (first, two_sided), *others = parts = [(collection(), pairs()) for _ in range(3)]
            for i, (metrics, more) in enumerate(parts):
                feed(metrics, more, generated[i::3], real_ones[i::3])
            for metrics, more in others:
                for name, metric in first.items(keep_base=True):
                    metric.merge_state(metrics[name])
                for name, metric in two_sided.items():
                    metric.merge_state(more[name])
            assert results(first, two_sided) == pytest.approx(whole, rel=1e-9, abs=1e-12)


def test_two_processes_are_one_however_they_share_the_samples(whole, subtests):
    for name, (first, second) in together([torch.device("cpu")] * 2, on_two).items():
        with subtests.test(name):
            assert first == second == pytest.approx(whole, rel=1e-9, abs=1e-12)


# In a loop of one's own


def images(n, seed):
    return torch.randint(0, 256, (n, 3, 4, 4), generator=rng(seed), dtype=torch.uint8)


class Flat(nn.Module):
    """Images as float vectors of numbers in [0, 1], as torchmetrics scales them."""

    num_features = 48

    def forward(self, x):
        return (x / 255 if x.dtype == torch.uint8 else x).flatten(1).float()


def test_a_loop_over_images_gives_what_torchmetrics_and_prdc_give():
    ours, kid, shares = FrechetDistance(Flat()), *(FeatureMetric(f, Flat()) for f in (kernel, comparable_manifold))
    theirs = FrechetInceptionDistance(Flat(), normalize=True, input_img_size=(3, 4, 4)).set_dtype(torch.float64)
    generated, real = images(300, 0), (images(300, 1).float() ** 1.1).clamp(0, 255).to(torch.uint8)
    for _ in range(2):  # and again after `reset`
        for metric in (ours, kid, shares, theirs):
            metric.reset()
            for x, is_real in ((generated, False), (real, True)):
                for batch in x.split(64):
                    metric.update(batch / 255 if metric is theirs else batch, real=is_real)
        assert ours.compute().item() == pytest.approx(theirs.compute().item(), rel=1e-7)
        a, b = (Flat()(x).double() for x in (generated, real))
        assert kid.compute().item() == pytest.approx(float(poly_mmd(a, b)), rel=1e-7)
        expected = compute_prdc(real_features=b.numpy(), fake_features=a.numpy(), nearest_k=5)
        assert {name: share.item() for name, share in shares.compute().items()} == pytest.approx(expected, abs=1e-6)


def test_a_layer_is_chosen_where_there_are_several(lite0):
    x = images(4, 0)
    metric = FrechetDistance(lite0, "pool")
    metric.update(x, real=True)
    assert metric.real[0].shape == (4, 1 + 1280)
    for layer in (None, "head"):
        with pytest.raises(ValueError, match="choose one of block10, pool"):
            FrechetDistance(lite0, layer).update(x, real=True)


def test_the_value_of_a_batch_is_that_of_the_batch_alone():
    """`metric(batch)`, as torchmetrics has it: the batch's own value, and the batch is taken in."""
    _, log_probs, _, _ = samples()
    metric = InceptionScore(5)
    for part in log_probs.split(50):
        assert metric(part).item() == pytest.approx(inception_score(part), rel=1e-12)
    assert metric.compute().item() == pytest.approx(inception_score(log_probs), rel=1e-12)


def test_metrics_that_are_attributes_of_a_module_are_not_saved_with_it():
    module = nn.Module()
    for name, metric in {**pairs(), "is": InceptionScore(3), "bits": MeanAndError()}.items():
        module.add_module(name, metric)
    for metric in (module.frechet, module.kernel):
        metric.update(samples()[0], real=False)
    assert module.state_dict() == {}
    assert module.double().frechet.generated[0].shape == (N, 1 + 300)


def test_too_few_samples_are_refused():
    metric = FrechetDistance()
    metric.update(vectors(1, D, 0), real=True)
    metric.update(vectors(9, D, 0), real=False)
    with pytest.raises(ValueError, match="two vectors or more, not 1"):
        metric.compute()
    assert math.isfinite(frechet(vectors(2, D, 0), vectors(9, D, 0)))
