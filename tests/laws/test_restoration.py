"""Inverse problems: operators against dense linear algebra, methods against Gaussian conditioning, and real images."""

import functools
from dataclasses import replace

import pytest
import torch
import torchmetrics
from networks import narrow
from omegaconf import OmegaConf

from conftest import options
from difflab.data.fashion16 import Fashion16
from difflab.data.images import to_float
from difflab.denoiser.base import Denoiser
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.experiment.config import build, conf_dir
from difflab.guidance.base import Chain
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.guidance.interval import Interval
from difflab.guidance.problem import CompressedSensing, Deblur, InpaintBox, InpaintPixels, SuperResolution
from difflab.guidance.restoration import DPS, PiGDM, Replacement
from difflab.metric.psnr import psnr
from difflab.process.discrete import CosineBetas
from difflab.process.gaussian import scale
from difflab.process.schedule import EDM, VP, Linear
from difflab.process.target import V
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM
from difflab.sampler.evaluations import counting
from difflab.sampler.generate import generate, trajectory
from difflab.sampler.grid import LogSNR
from difflab.sampler.heun import Heun

SMALL = (1, 4, 4)
SD, MU = 0.7, 0.2
METHODS = [Replacement(SD), DPS(), PiGDM(SD)]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def problem(option, shape, **changes):
    node = OmegaConf.to_container(OmegaConf.load(f"{conf_dir()}/problem/{option}.yaml"))
    return build({**node, **changes}, shape=shape)


def small(option):
    """A problem on images of 16 numbers, with as many measurements as matter there."""
    return replace(problem(option, SMALL), **({"width": 0.7} if option == "deblur" else {}))


def matrix(operator):
    """The operator as a matrix (m, n)."""
    size = operator.size
    return operator(torch.eye(size, dtype=torch.float64).view(size, *operator.shape)).flatten(1).mT


@pytest.mark.parametrize("option", options("problem"))
@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 8, 12)], ids=str)
def test_operators_are_those_of_dense_linear_algebra(option, shape):
    """`pinv` against the singular value decomposition, its ridge against a solve, autograd against the transpose."""
    operator = problem(option, shape)
    a, x = matrix(operator), normal(3, *shape).requires_grad_()
    y = operator(x)
    torch.testing.assert_close(y.flatten(1), x.flatten(1) @ a.mT)
    z = normal(*y.shape, seed=1)
    (transposed,) = torch.autograd.grad(y, x, z)
    torch.testing.assert_close(transposed.flatten(1), z.flatten(1) @ a)
    inverse = torch.linalg.pinv(a, rtol=1e-6)
    torch.testing.assert_close(operator.pinv(z).flatten(1), z.flatten(1) @ inverse.mT, rtol=1e-7, atol=1e-9)
    ridge = torch.tensor([0.01, 0.5, 20.0], dtype=torch.float64)
    rows = zip(ridge, z.flatten(1), strict=True)
    solved = [a.mT @ torch.linalg.solve(a @ a.mT + k * torch.eye(len(a)), row) for k, row in rows]
    torch.testing.assert_close(operator.pinv(z, ridge).flatten(1), torch.stack(solved))
    torch.testing.assert_close(operator.pinv(z, ridge[1])[1], operator.pinv(z, ridge)[1])


@pytest.mark.parametrize("option", options("problem"))
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 10, 6)], ids=str)
def test_penroses_laws(option, shape):
    operator = problem(option, shape)
    x = normal(2, *shape, dtype=torch.float32)
    y = operator(x)
    z = normal(*y.shape, seed=1, dtype=torch.float32)
    back = operator.pinv(z)
    torch.testing.assert_close(operator(operator.pinv(y)), y, rtol=0, atol=1e-4)
    torch.testing.assert_close(operator.pinv(operator(back)), back, rtol=0, atol=1e-3)

    def dot(a, b):
        return (a.double() * b.double()).flatten(1).sum(1)

    torch.testing.assert_close(dot(operator(back), y), dot(z, operator(operator.pinv(y))), rtol=1e-4, atol=1e-3)
    w = normal(2, *shape, seed=2, dtype=torch.float32)
    torch.testing.assert_close(dot(operator.pinv(y), w), dot(x, operator.pinv(operator(w))), rtol=1e-4, atol=1e-3)


def test_what_is_drawn_is_a_function_of_the_seed():
    x = normal(2, 1, 8, 8)
    for option in ("inpaint_pixels", "compressed_sensing"):
        one, same, other = (problem(option, (1, 8, 8), seed=seed)(x) for seed in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: SuperResolution((1, 16, 18), factor=4), "factor=4 must be 2 or more and divide 16 and 18"),
        (lambda: Deblur((2,)), r"images \(C, H, W\)"),
        (lambda: Deblur(SMALL, width=0), "width=0"),
        (lambda: InpaintBox(SMALL, rows=(0.5, 0.2)), "rising shares"),
        (lambda: InpaintBox(SMALL, rows=(0, 1), columns=(0, 1)), "lose no pixel"),
        (lambda: InpaintPixels(SMALL, share=1.0), "share=1.0"),
        (lambda: CompressedSensing(SMALL, ratio=0.01), "ratio=0.01"),
        (lambda: DPS()(SuperResolution(SMALL), normal(1, 1, 2, 2), -0.1), "noise_std=-0.1"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


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


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
@pytest.mark.parametrize("schedule", [VP(), EDM(), Linear()], ids=str)
@pytest.mark.parametrize("option", options("problem"))
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_white_data_are_restored_exactly(method, option, schedule, noise_std):
    """E[x0 | x_t, y] by conditioning on both at once; the gradient alone does not know the spectrum of a blur."""
    if isinstance(method, DPS) and option == "deblur":
        pytest.skip("A A^T is no multiple of I")
    operator, t = small(option), schedule.time_at(torch.tensor([-3.0, 0.0, 4.0], dtype=torch.float64))
    m = schedule(t)
    x0 = MU + SD * normal(3, *SMALL)
    x, y = m(x0, normal(3, *SMALL, seed=1)), operator(x0)
    y = y + noise_std * normal(*y.shape, seed=2)
    estimate = method(operator, y, noise_std)(white(schedule))(x, t, torch.zeros(3, dtype=torch.long))
    a, eye = matrix(operator), torch.eye(16, dtype=torch.float64)
    for k in range(3):
        seen = torch.cat([x[k].flatten(), y[k].flatten()])
        var = torch.cat([m.sigma[k].square().expand(16), torch.full((len(a),), noise_std**2, dtype=torch.float64)])
        exact = conditioned(torch.full((16,), SD**2).double(), seen, torch.cat([m.alpha[k] * eye, a]), var)
        torch.testing.assert_close(estimate.x0[k].flatten(), exact, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(m(estimate.x0, estimate.eps), x)


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


@pytest.mark.parametrize("method", [DPS(), PiGDM(0.1)], ids=lambda m: type(m).__name__)
def test_no_step_goes_beyond_what_was_unexplained(method):
    """Where some directions vary far more than the method assumes, `A x0` changes by `|y - A x0|` at most."""
    schedule, t = VP(), torch.tensor(0.6, dtype=torch.float64)
    var = torch.logspace(-3, 1, 16, dtype=torch.float64).view(SMALL)
    denoiser, operator = Gaussian(schedule, torch.zeros(SMALL).double(), var), InpaintPixels(SMALL, 0.5)
    x, y, label = normal(4, *SMALL), normal(4, 8, seed=1), torch.zeros(4, dtype=torch.long)
    before = operator(denoiser(x, t, label).x0)
    after = operator(method(operator, y)(denoiser)(x, t, label).x0)
    torch.testing.assert_close((after - before).norm(dim=1), (y - before).norm(dim=1))


@pytest.mark.parametrize("noise_std", [0.0, 0.3])
@pytest.mark.parametrize("option", ["inpaint_pixels", "super_resolution", "compressed_sensing"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_the_flow_leads_to_the_posterior_of_white_data(method, option, noise_std):
    """From the middle of the noise to the posterior mean; what was not measured keeps the data's deviation."""
    schedule, operator = VP(), small(option)
    y = operator(MU + SD * normal(1, *SMALL))
    a = matrix(operator)
    hidden = torch.linalg.svd(a).Vh[-1].view(1, *SMALL)  # a unit vector that A does not see
    denoise = method(operator, y.repeat_interleave(2, 0), noise_std)(white(schedule))
    times = LogSNR()(schedule, 100)
    start = torch.cat([0 * hidden, hidden])
    *_, (_, out) = trajectory(denoise.bind(torch.zeros(2).long()), Heun(), times, start, lambda x, k: x)
    var = torch.full((len(a),), noise_std**2, dtype=torch.float64)
    mean = conditioned(torch.full((16,), SD**2).double(), y.flatten(), a, var).view(SMALL)
    # At t = 1 the flow is 0.5 % of the data's mean away from the noise.
    torch.testing.assert_close(out[0], mean, rtol=0, atol=0.01)
    torch.testing.assert_close(out[1] - out[0], SD * hidden[0], rtol=0, atol=0.01)


@pytest.mark.parametrize("option", options("problem"))
@pytest.mark.parametrize("sampler", [DDIM(), Ancestral()], ids=str)
def test_replacement_explains_all_that_was_measured(option, sampler):
    operator, label = small(option), torch.zeros(3, dtype=torch.long)
    y = operator(normal(3, *SMALL, dtype=torch.float32).clamp(-1, 1))
    restored = Replacement()(operator, y)(white(VP()).float())
    out = generate(restored, sampler, LogSNR(), nfe=8, labels=label).images
    torch.testing.assert_close(operator(out), y, rtol=0, atol=1e-5)
    if option.startswith("inpaint"):  # a clip that comes after it leaves known pixels as they are
        out = generate(Clip(1.0)(restored), sampler, LogSNR(), nfe=8, labels=label).images
        torch.testing.assert_close(operator(out), y, rtol=0, atol=1e-6)
        assert out.abs().max() <= 1


@functools.cache
def clothes():
    """Every third training image as a narrow Gaussian, and held-out images."""
    images = Fashion16().load()
    means = to_float(images.train.x[::3])
    law = Mixture(VP(), means, torch.tensor([0.15**2]), torch.full((len(means),), 1 / len(means)))
    return law, to_float(images.test.x[::250])


@pytest.mark.parametrize("method", [Replacement(), DPS(), PiGDM()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(
    ("option", "noise_std"), [("inpaint", 0.0), ("super_resolution", 0.0), ("deblur", 0.1), ("compressed_sensing", 0.0)]
)
def test_held_out_images_are_restored_better_than_by_the_pseudo_inverse(option, noise_std, method):
    law, truth = clothes()
    operator = problem(option, truth.shape[1:])
    y = operator(truth)
    y = y + noise_std * normal(*y.shape, dtype=torch.float32)
    label = torch.zeros(len(truth), dtype=torch.long)
    out = generate(Clip(1.0)(method(operator, y, noise_std)(law)), DDIM(), LogSNR(), nfe=20, labels=label).images
    alone = psnr(operator.pinv(y).clamp(-1, 1), truth)
    assert psnr(out, truth).mean() > alone.mean() + 1  # dB


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_gradients_are_there_in_every_mode(method):
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


@pytest.mark.parametrize("schedule", [Linear(), CosineBetas()], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_pure_noise_is_where_sampling_may_start(method, schedule):
    """There alpha is 0, or too small to divide by."""
    mixture = Mixture(schedule, normal(5, *SMALL).float(), torch.tensor([0.01]), torch.full((5,), 0.2))
    operator = InpaintPixels(SMALL, 0.5)
    y = operator(mixture.means[:2])
    x = scale(torch.tensor(1.0), normal(2, *SMALL, dtype=torch.float32))
    t = torch.tensor(schedule.t_max, dtype=torch.float64)
    estimate = method(operator, y)(mixture)(x, t, torch.zeros(2, dtype=torch.long))
    assert estimate.x0.abs().max() < 10
    torch.testing.assert_close(schedule(t)(estimate.x0, estimate.eps), x)


def test_the_signal_to_noise_ratio_is_that_of_torchmetrics():
    x, truth = normal(4, 3, 8, 8).clamp(-1, 1), normal(4, 3, 8, 8, seed=1).clamp(-1, 1)
    theirs = torchmetrics.functional.image.peak_signal_noise_ratio(
        x, truth, data_range=2.0, reduction="none", dim=(1, 2, 3)
    )
    torch.testing.assert_close(psnr(x, truth), theirs, check_dtype=False)
    assert psnr(x, x).isinf().all()


def test_what_was_measured_holds_under_guidance_that_is_limited_and_asks_twice():
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
