"""Restoration: the methods against Gaussian conditioning, and on real images."""

import functools
import itertools
from dataclasses import replace

import pytest
import torch

from difflab.data.codec import Pixels
from difflab.data.fashion16 import Fashion16
from difflab.denoiser.base import Denoiser
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.guidance.base import Chain
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.guidance.interval import Interval
from difflab.guidance.problem import InpaintPixels, SuperResolution
from difflab.guidance.restoration import DPS, PiGDM, PublishedDPS, Replacement
from difflab.laws import close, violations
from difflab.objective.nearness import psnr
from difflab.process.discrete import CosineBetas
from difflab.process.schedule import EDM, VP, Linear
from difflab.process.target import V
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM
from difflab.sampler.evaluations import counting
from difflab.sampler.generate import generate, trajectory
from difflab.sampler.grid import LogSNR
from difflab.sampler.heun import Heun
from helpers.closed_forms import bound, f64, normal
from helpers.conf import options
from helpers.laws import assert_law
from helpers.networks import narrow
from helpers.problems import matrix, problem

SMALL = (1, 4, 4)
SD, MU = 0.7, 0.2
METHODS = [Replacement(SD), DPS(), PiGDM(SD)]


def small(option):
    """A problem on images of 16 numbers, with as many measurements as matter there."""
    return replace(problem(option, SMALL), **({"width": 0.7} if option == "deblur" else {}))


def test_other_rows_than_those_measured_are_refused():
    operator, denoiser = SuperResolution(SMALL), white(VP())
    restored = PiGDM()(operator, operator(normal(2, *SMALL)))(denoiser)
    with pytest.raises(ValueError, match="2 images were measured and 3 are sampled"):
        restored(normal(3, *SMALL), torch.tensor(0.5), torch.zeros(3, dtype=torch.long))


def white(schedule):
    mean = torch.full(SMALL, MU, dtype=torch.float64)
    return Gaussian(schedule, mean, torch.full_like(mean, SD**2))


def conditioned(prior_var, seen, of, noise_var):
    """The mean of x ~ N(MU, diag prior_var) given `seen = of @ x + noise`, by Gaussian conditioning: rows of `seen`."""
    gain = (prior_var[:, None] * of.mT) @ torch.linalg.pinv(
        (of * prior_var) @ of.mT + noise_var.diag(), rtol=1e-10, hermitian=True
    )
    return MU + (seen - MU * of.sum(1)) @ gain.mT


def test_white_data_are_restored_exactly():
    """E[x0 | x_t, y] by conditioning on both at once; the gradient alone does not know the spectrum of a blur."""
    eye, white_var, cases = torch.eye(16, dtype=torch.float64), torch.full((16,), SD**2, dtype=torch.float64), []
    some = itertools.product(options("problem"), (VP(), EDM(), Linear()), (0.0, 0.3))
    for option, schedule, noise_std in some:
        operator, t = small(option), schedule.time_at(f64(-3.0, 0.0, 4.0))
        m, a = schedule(t), matrix(operator)
        x0 = MU + SD * normal(3, *SMALL)
        x, y = m(x0, normal(3, *SMALL, seed=1)), operator(x0)
        y = y + noise_std * normal(*y.shape, seed=2)
        exact = []
        for k in range(3):
            seen = torch.cat([x[k].flatten(), y[k].flatten()])
            var = torch.cat([m.sigma[k].square().expand(16), torch.full((len(a),), noise_std**2, dtype=torch.float64)])
            exact.append(conditioned(white_var, seen, torch.cat([m.alpha[k] * eye, a]), var))
        for method in METHODS:
            if isinstance(method, DPS) and option in ("deblur", "mri", "tomography"):  # A A^T is no multiple of I
                continue
            estimate = method(operator, y, noise_std)(white(schedule))(x, t, torch.zeros(3, dtype=torch.long))
            case = f"{method} of {option} on {schedule}, noise {noise_std}"
            cases.append(close(case, estimate.x0.flatten(1), torch.stack(exact), rtol=1e-6, atol=1e-6, t=t))
            mixed = m(estimate.x0, estimate.eps)
            cases.append(close(f"{case}: the sample", mixed, x, rtol=1e-7, atol=1e-7, t=t))
    assert_law(cases)


def test_the_pull_of_pigdm_goes_through_the_covariance():
    """On data of unequal variances: `x0 + C A^T (r^2 A A^T + noise^2)^-1 (y - A x0)`, `C = Cov(x0 | x_t)` dense."""
    schedule, t, noise_std = VP(), torch.tensor(0.4, dtype=torch.float64), 0.1
    var = (torch.arange(1, 17, dtype=torch.float64) / 16 * SD**2).view(SMALL)
    denoiser = Gaussian(schedule, torch.full(SMALL, MU, dtype=torch.float64), var)
    operator, m, label = InpaintPixels(SMALL, 0.5), schedule(t), torch.zeros(2, dtype=torch.long)
    a, x, y = matrix(operator), normal(2, *SMALL), normal(2, 8, seed=1)
    before = denoiser(x, t, label).x0
    covariance = (var * m.sigma**2 / (m.alpha**2 * var + m.sigma**2)).flatten().diag()
    spread = SD**2 * m.sigma**2 / (m.alpha**2 * SD**2 + m.sigma**2)
    pull = a.mT @ torch.linalg.inv(spread * a @ a.mT + noise_std**2 * torch.eye(8))
    exact = before.flatten(1) + (y - before.flatten(1) @ a.mT) @ (covariance @ pull).mT
    found = PiGDM(SD)(operator, y, noise_std)(denoiser)(x, t, label).x0
    torch.testing.assert_close(found.flatten(1), exact)


def test_no_step_goes_beyond_what_was_unexplained():
    """Where some directions vary far more than the method assumes, `A x0` changes by `|y - A x0|` at most."""
    schedule, t = VP(), f64(0.6)[0]
    var = torch.logspace(-3, 1, 16, dtype=torch.float64).view(SMALL)
    denoiser, operator = Gaussian(schedule, torch.zeros(SMALL).double(), var), InpaintPixels(SMALL, 0.5)
    x, y, label = normal(4, *SMALL), normal(4, 8, seed=1), torch.zeros(4, dtype=torch.long)
    before = operator(denoiser(x, t, label).x0)
    for method in (DPS(), PiGDM(0.1)):
        after = operator(method(operator, y)(denoiser)(x, t, label).x0)
        torch.testing.assert_close((after - before).norm(dim=1), (y - before).norm(dim=1))


def test_the_published_step_is_that_of_algorithm_1():
    """`x_s` of DDPM's step less `zeta / |r| grad |r|^2`, the gradient by autograd through a mixture's denoiser."""
    schedule, operator, label = CosineBetas(T=100), SuperResolution(SMALL), torch.zeros(3, dtype=torch.long)
    means = normal(5, *SMALL, seed=3)
    denoiser = Mixture(schedule, means, f64(0.3), torch.full((5,), 0.2, dtype=torch.float64))
    y, zeta, step, x = operator(means[:3]) + 0.1, 0.4, Ancestral(), normal(3, *SMALL, seed=4)
    restored = PublishedDPS(zeta)(operator, y)(denoiser).bind(label)
    cases = []
    for t in (3, 50, 97):
        (time,), (before,), noise = f64(t), f64(t - 1), torch.zeros_like
        ours, _ = step.step(restored, x, time, before, None, noise)
        plain, _ = step.step(denoiser.bind(label), x, time, before, None, noise)
        at = x.clone().requires_grad_()
        r = (y - operator(denoiser(at, time, label).x0)).flatten(1).square().sum(1)
        (gradient,) = torch.autograd.grad(r.sum(), at)
        theirs = plain - (zeta / r.sqrt())[:, None, None, None] * gradient
        cases.append(close(f"t={t}", ours, theirs.detach(), rtol=1e-6, atol=1e-9))
    assert_law(cases)


def test_the_flow_leads_to_the_posterior_of_white_data():
    """From the middle of the noise to the posterior mean; what was not measured keeps the data's deviation."""
    schedule, white_var, cases = VP(), torch.full((16,), SD**2, dtype=torch.float64), []
    times = LogSNR()(schedule, 100)
    for option in ("inpaint_pixels", "super_resolution", "compressed_sensing"):
        operator = small(option)
        y, a = operator(MU + SD * normal(1, *SMALL)), matrix(operator)
        hidden = torch.linalg.svd(a).Vh[-1].view(1, *SMALL)  # a unit vector that A does not see
        start = torch.cat([0 * hidden, hidden])
        for method, noise_std in itertools.product(METHODS, (0.0, 0.3)):
            denoiser = method(operator, y.repeat_interleave(2, 0), noise_std)(white(schedule))
            *_, (_, out) = trajectory(bound(denoiser, 2), Heun(), times, start, lambda x, k: x)
            var = torch.full((len(a),), noise_std**2, dtype=torch.float64)
            mean, case = conditioned(white_var, y.flatten(), a, var).view(SMALL), f"{method} of {option}, {noise_std}"
            # At t = 1 the flow is 0.5 % of the data's mean away from the noise.
            cases.append(close(f"{case}: mean", out[0], mean, atol=0.01))
            cases.append(close(f"{case}: deviation", out[1] - out[0], SD * hidden[0], atol=0.01))
    assert_law(cases)


def test_replacement_explains_all_that_was_measured():
    label, cases = torch.zeros(3, dtype=torch.long), []
    for option, sampler in itertools.product(options("problem"), (DDIM(), Ancestral())):
        operator, case = small(option), f"{option} by {sampler}"
        y = operator(normal(3, *SMALL).float().clamp(-1, 1))
        restored = Replacement()(operator, y)(white(VP()).float())
        out = generate(restored, sampler, LogSNR(), nfe=8, labels=label).images
        cases.append(close(case, operator(out), y, atol=1e-5))
        if option.startswith("inpaint"):  # a clip that comes after it leaves known pixels as they are
            out = generate(Clip(1.0)(restored), sampler, LogSNR(), nfe=8, labels=label).images
            cases.append(close(f"{case}, clipped", operator(out), y, atol=1e-6))
            cases.append(violations(f"{case}: the range", out.abs() > 1))
    assert_law(cases)


@functools.cache
def clothes():
    """Every third training image as a narrow Gaussian, and held-out images."""
    images = Fashion16().load()
    means = Pixels().encode(images.train.x[::3])
    law = Mixture(VP(), means, torch.tensor([0.15**2]), torch.full((len(means),), 1 / len(means)))
    return law, Pixels().encode(images.test.x[::250])


@pytest.mark.parametrize(
    ("option", "noise_std"), [("inpaint", 0.0), ("super_resolution", 0.0), ("deblur", 0.1), ("compressed_sensing", 0.0)]
)
def test_held_out_images_are_restored_better_than_by_the_pseudo_inverse(option, noise_std):
    denoiser, truth = clothes()
    operator, label = problem(option, truth.shape[1:]), torch.zeros(len(truth), dtype=torch.long)
    y = operator(truth)
    y = y + noise_std * normal(*y.shape).float()
    alone = psnr(operator.pinv(y).clamp(-1, 1), truth).mean()
    for method in (Replacement(), DPS(), PiGDM()):
        restored = Clip(1.0)(method(operator, y, noise_std)(denoiser))
        out = generate(restored, DDIM(), LogSNR(), nfe=20, labels=label).images
        assert psnr(out, truth).mean() > alone + 1, f"{method}, in dB"


def test_gradients_are_there_in_every_mode(subtests):
    for method in METHODS:
        with subtests.test(str(method)):
            denoiser = Denoiser(narrow("unet", (1, 8, 8), width=16, blocks=1), VP(), V())
            operator = SuperResolution((1, 8, 8))
            with torch.inference_mode():
                x, t, label = torch.randn(2, 1, 8, 8), torch.tensor(0.5).double(), torch.tensor([0, 3])
                restored = method(operator, operator(torch.randn(2, 1, 8, 8)), 0.1)(denoiser)
                with counting(restored) as rows:
                    inside = restored(x, t, label)
                with torch.autocast("cpu", torch.bfloat16):
                    low = restored(x, t, label)
            with torch.no_grad():
                outside = restored(x.clone(), t.clone(), label.clone())
            for a, b, c in zip(inside[:3], outside[:3], low[:3], strict=True):
                assert torch.equal(a, b)
                assert not a.requires_grad
                assert c.isfinite().all()
                assert c.dtype == torch.float32
            assert sum(rows) == len(x) * restored.nfe(t)
            assert all(p.grad is None for p in denoiser.parameters())


def test_pure_noise_is_where_sampling_may_start():
    """There alpha is 0, or too small to divide by."""
    operator, label = InpaintPixels(SMALL, 0.5), torch.zeros(2, dtype=torch.long)
    x = normal(2, *SMALL).float()
    for schedule, method in itertools.product((Linear(), CosineBetas()), METHODS):
        mixture = Mixture(schedule, normal(5, *SMALL).float(), torch.tensor([0.01]), torch.full((5,), 0.2))
        t = f64(schedule.t_max)[0]
        estimate = method(operator, operator(mixture.means[:2]))(mixture)(x, t, label)
        assert estimate.x0.abs().max() < 10, f"{method} on {schedule}"
        torch.testing.assert_close(schedule(t)(estimate.x0, estimate.eps), x)


def test_what_was_measured_holds_under_guidance_in_an_interval_and_with_two_evaluations():
    schedule = VP()
    prior = Gaussian(schedule, torch.zeros(SMALL, dtype=torch.float64), torch.tensor(SD**2))
    prior.classes = 2
    operator, t = small("inpaint"), torch.tensor(0.5, dtype=torch.float64)
    y = operator(normal(3, *SMALL))
    restored = Replacement(SD)(operator, y, 0.0)
    guided = Chain((restored, ClassifierFree(3.0), Interval(1e-3, 1e-2)))(prior)
    for denoiser in (guided, ClassifierFree(3.0)(restored(prior))):
        estimate = denoiser(normal(3, *SMALL, seed=1), t, torch.tensor([0, 1, 2]))
        torch.testing.assert_close(operator(estimate.x0), y)
