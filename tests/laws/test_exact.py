"""Closed-form denoisers against autograd, brute force and torch's distributions."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torchdiffeq import odeint

from difflab.data.toy import Checkerboard, EightGaussians
from difflab.denoiser import exact
from difflab.denoiser.base import velocity
from difflab.denoiser.exact import Empirical, Gaussian, Known, Mixture
from difflab.laws import close
from difflab.process.discrete import CosineBetas
from difflab.process.schedule import EDM, VP, Linear
from helpers.closed_forms import bound, f64, normal
from helpers.conf import schedules
from helpers.laws import assert_law

MEANS = torch.tensor([[[0.5, -1.0, 0.2]], [[-0.7, 0.4, 1.1]], [[1.5, 1.0, -0.3]]], dtype=torch.float64)
VAR = torch.tensor([0.3, 0.05, 0.6], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def interior(schedule, n=5):
    return schedule.time_at(torch.linspace(-4, 4, n, dtype=torch.float64))


def labelled(n=200, shape=(1, 4, 4), classes=3, dtype=torch.float64):
    x0, y = normal(n, *shape).to(dtype), torch.arange(n) % max(classes, 1)
    return SimpleNamespace(shape=shape, classes=classes, source=object(), samples=lambda: (x0, y))


def test_tweedie():
    """score(x_t) = (alpha E[x0 | x_t] - x_t) / sigma^2 = -E[eps | x_t] / sigma, for one time and for one each."""

    def cases():
        for schedule in schedules().values():
            mixture, times = Mixture(schedule, MEANS, VAR, WEIGHTS), interior(schedule)
            for t in (times, times[2]):
                m, case = schedule(t), f"{schedule}, t of shape {tuple(t.shape)}"
                x = m(MEANS[[0, 1, 2, 0, 1]], normal(5, 1, 3)).detach().requires_grad_()
                (score,) = torch.autograd.grad(mixture.log_prob(x, t).sum(), x)
                estimate = mixture(x, t, torch.zeros(5, dtype=torch.long))
                sigma = m.sigma.expand(5).reshape(5, 1, 1)
                yield close(f"{case}: score", -estimate.eps / sigma, score, rtol=1e-8, atol=1e-8, t=times)
                yield close(f"{case}: x_t", m(estimate.x0, estimate.eps), x, rtol=1e-7, atol=1e-7, t=times)

    assert_law(cases())


def test_the_density_of_a_mixture_is_that_of_torch():
    schedule, t = VP(), torch.tensor(0.3, dtype=torch.float64)
    m = schedule(t)
    std = (m.alpha**2 * VAR + m.sigma**2).sqrt()
    parts = Independent(Normal(m.alpha * MEANS, std[:, None, None]), 2)
    x = normal(7, 1, 3)
    found = Mixture(schedule, MEANS, VAR, WEIGHTS).log_prob(x, t)
    torch.testing.assert_close(found, MixtureSameFamily(Categorical(WEIGHTS), parts).log_prob(x))


def test_a_mixture_of_one_is_the_gaussian():
    x, label = normal(5, 1, 3), torch.zeros(5, dtype=torch.long)

    def cases():
        for schedule in schedules().values():
            t = interior(schedule)
            one = Mixture(schedule, MEANS[:1], VAR[:1], WEIGHTS[:1])(x, t, label)
            known = Gaussian(schedule, MEANS[0], VAR[0].expand(1, 3))(x, t, label)
            for part in ("x0", "eps", "out"):
                found, expected = getattr(one, part), getattr(known, part)
                yield close(f"{schedule}: {part}", found, expected, rtol=1e-7, atol=1e-7, t=t)

    assert_law(cases())


def test_the_probability_flow_of_a_mixture_keeps_quantiles():
    """In one dimension paths do not cross: F_t(x_t) is constant, so the flow joins the data's law and the noise's."""
    means, start = MEANS[:, 0, :1], torch.linspace(-2, 3, 9, dtype=torch.float64)[:, None]

    def share_below(m, x):
        return (WEIGHTS * Normal(m.alpha * means[:, 0], (m.alpha**2 * VAR + m.sigma**2).sqrt()).cdf(x)).sum(1)

    def cases():
        for schedule in schedules().values():
            span = f64(schedule.t_min, schedule.t_max)
            denoise = bound(Mixture(schedule, means, VAR, WEIGHTS), 9)
            ode = {"rtol": 1e-7, "atol": 1e-7, "method": "dopri5", "options": {"step_t": span[1:]}}
            end = odeint(lambda t, x, denoise=denoise: velocity(denoise, x, t), start, span, **ode)[-1]
            first, last = (schedule(t) for t in span)
            yield close(str(schedule), share_below(last, end), share_below(first, start), atol=1e-5)

    with torch.no_grad():
        assert_law(cases())


@pytest.mark.parametrize("cells", [2**22, 7 * 200])
def test_the_empirical_denoiser_is_the_weighted_mean_of_the_points_of_its_class(cells, monkeypatch):
    monkeypatch.setattr(exact, "CELLS", cells)  # all rows at once, or seven at a time
    data, label = labelled(), torch.arange(20) % 4  # 3 is the null label
    x0, y = data.samples()

    def mean(x, m, i):
        points = x0 if label[i] == 3 else x0[y == label[i]]
        distance = ((x[i] - m.alpha[i] * points) ** 2).flatten(1).sum(1)
        share = (-distance / (2 * m.sigma[i] ** 2)).softmax(0)
        return (share[:, None, None, None] * points).sum(0)

    def cases():
        for schedule in (VP(), EDM(), Linear(), CosineBetas()):
            t = interior(schedule, 20)
            m = schedule(t)
            x = m(x0[:20], normal(20, 1, 4, 4))
            expected = torch.stack([mean(x, m, i) for i in range(20)])
            yield close(str(schedule), Empirical(schedule, data)(x, t, label).x0, expected, rtol=1e-7, atol=1e-7, t=t)

    assert_law(cases())


def test_at_little_noise_the_empirical_denoiser_returns_the_nearest_point():
    """In float32, with the images' 256 dimensions."""
    data = labelled(3000, (1, 16, 16), classes=10, dtype=torch.float32)
    x0, y = data.samples()
    empirical, eps = Empirical(EDM(), data), normal(50, 1, 16, 16).float()
    for sigma in (0.002, 0.02):
        x, t = x0[:50] + sigma * eps, f64(sigma / 80)[0]
        estimate = empirical(x, t, y[:50])
        torch.testing.assert_close(estimate.x0, x0[:50], rtol=0, atol=1e-6)
        torch.testing.assert_close(estimate.eps, eps, rtol=0, atol=2e-3)
        other = (y[:50] + 1) % 10
        elsewhere = empirical(x, t, other).x0
        for i in range(50):
            assert (x0[y == other[i]] - elsewhere[i]).flatten(1).abs().amax(1).min() < 1e-5, sigma


def test_the_known_denoiser_is_that_of_the_law_behind_the_data():
    source = EightGaussians(n=10, held_out=10)
    data = SimpleNamespace(shape=(2,), classes=0, source=source, samples=lambda: None)
    known = Known(EDM(), data)
    x = normal(6, 2)
    clean = torch.tensor(1e-7, dtype=torch.float64)
    torch.testing.assert_close(known.log_prob(x, clean), source.log_prob(x), rtol=1e-4, atol=1e-4)
    assert (known.shape, known.classes) == ((2,), 0)


def test_closed_forms_have_nothing_to_train_or_to_save():
    for denoiser in (
        Gaussian(VP(), MEANS[0], VAR[0].expand(1, 3)),
        Mixture(VP(), MEANS, VAR, WEIGHTS),
        Empirical(VP(), labelled()),
    ):
        assert not denoiser.state_dict()
        assert not list(denoiser.parameters())
        assert denoiser.target.mix(VP(), torch.ones(())) == (1, 0)
        assert denoiser.device == torch.device("cpu")


def test_what_has_no_closed_form_is_refused():
    board = SimpleNamespace(shape=(2,), classes=0, source=Checkerboard(n=10, held_out=10), samples=lambda: None)
    with pytest.raises(ValueError, match="denoiser=empirical"):
        Known(VP(), board)
    with pytest.raises(ValueError, match=r"means \(K, \*shape\)"):
        Mixture(VP(), MEANS, VAR[:2], WEIGHTS)
    with pytest.raises(ValueError, match="no training sample has the label 5"):
        Empirical(
            VP(), SimpleNamespace(**{**vars(labelled(5)), "classes": 7, "samples": labelled(5, classes=5).samples})
        )


def test_without_classes_every_label_is_the_null_label():
    data = labelled(classes=0)
    empirical, t = Empirical(VP(), data), torch.tensor(0.5, dtype=torch.float64)
    found = empirical(normal(4, 1, 4, 4), t, torch.zeros(4, dtype=torch.long)).x0
    assert found.isfinite().all()
    assert math.isclose(empirical.weights.sum().item(), 1)
