"""Guidance against the installed diffusers: the rescaled output and the dynamic threshold."""

import torch
from diffusers import DDPMScheduler
from diffusers.guiders.guider_utils import rescale_noise_cfg

from difflab.denoiser.base import Denoiser
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.guidance.dynamic_threshold import DynamicThreshold
from difflab.guidance.rescale import Rescale
from difflab.process.gaussian import scale
from difflab.process.schedule import VP
from difflab.process.target import V


class Network(torch.nn.Module):
    """A network that is not linear."""

    shape, classes, learned_variance = (3, 4, 4), 2, False

    def forward(self, x, timestep, label):
        return 0.3 + torch.tanh(2 * x.flip(-1) + scale(1 + timestep / 1000 + label, torch.ones_like(x)))


def time(log_snr, schedule):
    return schedule.time_at(torch.tensor(log_snr, dtype=torch.float64))


def same(a, b):
    return all(map(torch.equal, a[:3], b[:3]))


def batch():
    """Images, their labels, and a network that predicts v for them."""
    x = 2 * torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    return x, torch.tensor([0, 1, 1]), Denoiser(Network(), VP(), V())


def test_rescale_is_that_of_diffusers():
    x, label, denoiser = batch()
    t = time(0.0, VP())
    guided = ClassifierFree(4.0)(denoiser)
    before, after = guided(x, t, label), Rescale(0.7)(guided)(x, t, label)
    unguided = denoiser(x, t, label).out
    torch.testing.assert_close(before.unguided, unguided)
    torch.testing.assert_close(after.out, rescale_noise_cfg(before.out, unguided, guidance_rescale=0.7))
    for mix, mixed in ((VP()(t), x), (V().mix(VP(), t), after.out)):
        torch.testing.assert_close(mix(after.x0, after.eps), mixed)


def test_the_dynamic_threshold_is_that_of_diffusers():
    x, label, denoiser = batch()
    t = time(-2.0, VP())
    guided = ClassifierFree(4.0)(denoiser)
    theirs = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=1e6)
    before, after = guided(x, t, label), DynamicThreshold(0.9)(guided)(x, t, label)
    assert before.x0.abs().flatten(1).quantile(0.9, 1).min() > 1
    torch.testing.assert_close(after.x0, theirs._threshold_sample(before.x0))
    torch.testing.assert_close(VP()(t)(after.x0, after.eps), x)
    assert same(DynamicThreshold(0.0, 0.7)(guided)(x, t, label), Clip(0.7)(guided)(x, t, label))
    half = DynamicThreshold(0.9, 0.5)(guided)(x, t, label)
    torch.testing.assert_close(half.x0, 0.5 * theirs._threshold_sample(before.x0 / 0.5))
