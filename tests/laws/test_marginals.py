"""Laws of densities: the SDE and the flow share their marginals; two forms of flow matching share their gradient."""

import torch

from difflab.denoiser.base import velocity
from difflab.denoiser.exact import Mixture
from difflab.laws import close
from difflab.process.schedule import VP, Linear, SubVP, Trigonometric, derivative
from helpers.closed_forms import f64
from helpers.laws import assert_law

SCHEDULES = VP(), SubVP(), Linear(), Trigonometric()
MEANS, VARS, WEIGHTS = f64(-1.5, 0.5, 2.0)[:, None], f64(0.04, 0.09, 0.25), f64(0.3, 0.5, 0.2)


def partial(f, x):
    """The derivative of `f(x)`, a value for each row of x (N, 1), by its row."""
    (found,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
    return found[:, 0]


def test_sde_and_probability_flow_obey_one_fokker_planck_equation():
    """`dp/dt = -(v p)' = -(f x p)' + g^2 p'' / 2` on a mixture: Song et al. 2021 (arXiv:2011.13456), appendix D.1."""
    x, cases = torch.linspace(-4, 4, 81, dtype=torch.float64)[:, None].requires_grad_(), []
    label = torch.zeros(len(x), dtype=torch.int64)
    for schedule in SCHEDULES:
        law = Mixture(schedule, MEANS, VARS, WEIGHTS)
        for t in f64(0.1, 0.4, 0.8):

            def p(x, t=t, law=law):
                return law.log_prob(x, t).exp()

            def flow(x, t=t, law=law, p=p):
                return velocity(law.bind(label), x, t)[:, 0] * p(x)

            def drift(x, t=t, schedule=schedule, p=p):
                return schedule.drift(t) * x[:, 0] * p(x)

            rate = derivative(lambda t, law=law: law.log_prob(x.detach(), t).exp(), t)
            spread = schedule.diffusion(t) ** 2 / 2 * partial(lambda x, p=p: partial(p, x), x)
            cases += [
                close(f"{schedule} at t={t:g}: flow", -partial(flow, x), rate, atol=1e-9),
                close(f"{schedule} at t={t:g}: SDE", -partial(drift, x) + spread, rate, atol=1e-9),
            ]
    assert_law(cases)


def test_conditional_flow_matching_has_the_gradient_of_flow_matching():
    """`E |v - (alpha' x0 + sigma' eps)|^2` and `E |v - E[alpha' x0 + sigma' eps | x_t]|^2`, by quadrature over x_t.

    Lipman et al. 2023 (arXiv:2210.02747), theorem 2. The losses differ by a constant, the gradients in no parameter.
    """
    x = torch.linspace(-9, 9, 6001, dtype=torch.float64)[:, None]
    step, label, cases = float(x[1] - x[0]), torch.zeros(len(x), dtype=torch.int64), []
    for schedule in SCHEDULES:
        atoms = Mixture(schedule, MEANS, f64(0.0), WEIGHTS)  # data of three points
        for t in f64(0.2, 0.6):
            w = f64(0.3, -0.7, 0.2, 0.5).requires_grad_()
            model = w[0] + w[1] * x + w[2] * torch.sin(2 * x) + w[3] * torch.tanh(x)  # (N, 1)
            m, rate = schedule(t), schedule.rate(t)
            eps = (x - m.alpha * MEANS.T) / m.sigma  # (N, K): of each point that may have led to x
            conditional = rate.alpha * MEANS.T + rate.sigma * eps
            joint = atoms.log_joint(x, m, label).exp() * step  # (N, K)
            marginal = velocity(atoms.bind(label), x, t)
            losses = (
                (joint * (model - conditional).square()).sum(),
                (joint.sum(1, keepdim=True) * (model - marginal).square()).sum(),
            )
            conditioned, matched = (torch.autograd.grad(loss, w, retain_graph=True)[0] for loss in losses)
            assert losses[0] > losses[1] + 0.01, "the constant is the variance of the conditional velocity"
            cases.append(close(f"{schedule} at t={t:g}", conditioned, matched, rtol=1e-8, atol=1e-10))
    assert_law(cases)
