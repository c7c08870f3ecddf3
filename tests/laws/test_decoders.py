"""How bounds decode the least noisy sample: against the formulas that were published."""

import math

import torch
from torch.distributions import Normal

from difflab.denoiser.base import Estimate
from difflab.denoiser.likelihood import FlatPrior, GaussianBin, vlb_term
from difflab.laws import Worst, close
from difflab.process.discrete import CosineBetas, LinearBetas
from helpers.closed_forms import f64, normal
from helpers.laws import assert_law, mean_between

BITS = math.log(2)


def values(n, *shape):
    """Random values of 8-bit images in [-1, 1]."""
    return torch.randint(256, (n, *shape), generator=torch.Generator().manual_seed(1)).double() / 127.5 - 1


def test_a_chain_decodes_by_the_published_variance():
    """log_variance of openai/improved-diffusion at its t = 0: the clipped one, as Ho et al.'s; or log beta_1."""

    def cases():
        for schedule, clipped, beta in [
            (LinearBetas(), -9.8167251353, 1e-4),
            (CosineBetas(), -10.734082532, 4.1284224822e-5),
        ]:
            x0 = values(4, 3, 5, 5)
            mean, one = x0 + 0.004 * normal(4, 3, 5, 5), torch.ones(4, dtype=torch.float64)
            for decoder_v, log_var in [(0.0, clipped), (1.0, math.log(beta))]:
                law = Normal(mean, math.exp(0.5 * log_var))
                above = torch.where(x0 > 0.999, 1.0, law.cdf(x0 + 1 / 255))
                below = torch.where(x0 < -0.999, 0.0, law.cdf(x0 - 1 / 255))
                expected = -(above - below).log().flatten(1).mean(1) / BITS
                for v in (0.0, 1.0):  # which is the variance of the other steps
                    found = vlb_term(schedule, Estimate(mean, mean, mean), x0, mean, one, v, decoder_v)
                    yield close(f"{schedule}: decoder_v={decoder_v}, v={v}", found, expected, rtol=1e-8)

    assert_law(cases())


def test_vdm_decodes_by_its_likelihood_under_a_flat_prior():
    """The softmax over 256 values of `-(z - value)^2 exp(log_snr) / 2`: Kingma et al. 2021's code."""

    def cases():
        x0, eps = values(5, 1, 4, 4), normal(5, 1, 4, 4)
        for log_snr in f64(0, 5, 8, 11, 13.3).unbind():
            z = x0 + (-0.5 * log_snr).exp() * eps
            levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
            logits = -0.5 * log_snr.exp() * (z[..., None] - levels) ** 2
            index = ((x0 + 1) * 127.5).round().long()
            expected = -logits.log_softmax(-1).gather(-1, index[..., None])[..., 0]
            yield close(f"log_snr={log_snr:g}", FlatPrior()(x0, z, log_snr, 256), expected, rtol=1e-8, atol=1e-10)

    assert_law(cases())


def test_the_flat_prior_lies_below_the_bin_s_mass():
    """By .041 bits/dim at VDM's end."""
    x0, end = values(20_000, 1), f64(13.3)[0]
    z = x0 + (-0.5 * end).exp() * normal(20_000, 1)
    gap = (GaussianBin()(x0, z, end, 256) - FlatPrior()(x0, z, end, 256))[:, 0] / BITS
    assert_law([mean_between("GaussianBin - FlatPrior", gap, 0.040, 0.042)])


def test_of_continuous_samples_both_are_the_density():
    x0, z, log_snr = normal(3, 2), normal(3, 2, seed=1), f64(1.7)[0]
    expected = -Normal(z, (-0.5 * log_snr).exp()).log_prob(x0)
    assert_law(
        close(str(each), each(x0, z, log_snr, None), expected, rtol=1e-10) for each in (FlatPrior(), GaussianBin())
    )


def test_the_flat_prior_is_a_distribution_over_the_values():
    levels, end = (torch.arange(256, dtype=torch.float64) / 127.5 - 1)[:, None], f64(6)[0]
    total = (-FlatPrior()(levels, torch.full_like(levels, 0.3), end, 256)).exp().sum().item()
    assert_law([Worst("sum over the 256 values", abs(total - 1), 1e-10)])
