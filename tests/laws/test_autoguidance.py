"""Autoguidance: closed forms, whatever the schedule and the target of the weak denoiser."""

import torch

from difflab.denoiser.base import Denoiser
from difflab.guidance.autoguidance import Autoguidance
from difflab.laws import close
from difflab.process.schedule import VE, VP
from difflab.process.target import X0, Eps, V, Velocity
from helpers.closed_forms import normal
from helpers.guided import LABEL, Network, X, score, time
from helpers.labelled import VAR, Labelled, density
from helpers.laws import assert_law


def test_autoguidance_is_the_score_of_the_ratio_of_strong_and_weak():
    """The weak one may be on another schedule."""
    schedule, strength, wide = VP(), 1.7, 4 * VAR
    t, null = time(0.5, schedule), torch.full_like(LABEL, 2)
    m = schedule(t)
    strong, weak = (score(density(m, slice(None), var).log_prob, X) for var in (VAR, wide))
    exact, cases = -m.sigma * (strength * strong + (1 - strength) * weak), []
    for other in (VP(), VE()):
        denoiser = Labelled(other, wide)
        estimate = Autoguidance(lambda d=denoiser: d, strength)(Labelled(schedule))(X, t, null)
        cases.append(close(f"eps, weak on {other}", estimate.eps, exact, rtol=1e-7, atol=1e-7))
        cases.append(close(f"output, weak on {other}", estimate.out, estimate.x0, rtol=1e-7, atol=1e-7))
    assert_law(cases)


def test_the_weak_network_may_predict_another_target():
    schedule, x, label = VP(), normal(2, 3, 4, 4, seed=1), torch.tensor([0, 1])
    strong, t = Denoiser(Network(), schedule, V()).double(), time(1.0, schedule)
    for target in (Eps(), X0(), V(), Velocity()):
        weak = Denoiser(Network(classes=0), schedule, target).double()
        estimate = Autoguidance(lambda d=weak: d, 3.0)(strong)(x, t, label)
        torch.testing.assert_close(estimate.x0, 3 * strong(x, t, label).x0 - 2 * weak(x, t, 0 * label).x0)
        torch.testing.assert_close(estimate.out, V().mix(schedule, t)(estimate.x0, estimate.eps))
        assert torch.equal(estimate.unguided, strong(x, t, label).out)
