"""Few evaluations: no deterministic sampler is an outlier on a paradigm's grid, or it is named with a better one."""

import re
from functools import cache

import pytest
import torch

from difflab.denoiser.exact import Mixture
from difflab.experiment.config.compose import compose
from difflab.experiment.config.files import options
from difflab.experiment.parts.build import build
from difflab.guidance import Clip, DynamicThreshold
from difflab.laws.worst import Worst
from difflab.process.discrete import CosineBetas
from difflab.process.schedule import VP, Linear
from difflab.process.target import X0, Eps, V, Velocity
from difflab.sampler import regime
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import GAIN, noisiest_start, times_for
from difflab.sampler.grid import Explicit, LogSNR
from difflab.sampler.heun import Heun
from difflab.sampler.regime import WORSE, advice, mixtures
from helpers.conf import samplers
from helpers.laws import assert_law

NFE = (5, 10, 20)
# Heun's and Runge-Kutta's methods take 2 to 5 steps here. Euler's, the midpoint rule and Runge-Kutta's step in time,
# over which sigma of VE grows exponentially.
OUTLIERS = {("edm", "edm"), ("edm", "heun"), ("edm", "rk4"), ("sub_vp_sde", "edm"), ("vdm", "edm")}
# A block of DPM-Solver-3 is all of the 5 evaluations, and VP begins at alpha = sigma / 150.
OUTLIERS |= {(paradigm, "dpm_solver_singlestep") for paradigm in ("exact", "sub_vp_sde")}
OUTLIERS |= {("ve_sde", "euler"), ("ve_sde", "midpoint"), ("ve_sde", "rk4"), ("ncsn", "euler")}
CLEAN = ("contrastive",)  # of images as they are


def deterministic():
    """The samplers that step over a grid and draw no noise."""
    return {name: each for name, each in samplers().items() if not each.stochastic and each.evaluations}


@cache
def defaults():
    """The schedule and the grid of each preset that generates in any number of steps, without repetitions."""
    found = {}
    for paradigm in options("paradigm"):
        config = compose("train", [f"paradigm={paradigm}"])
        if paradigm not in CLEAN and "classifier" not in paradigm and config["schedule"].get("T", max(NFE)) >= max(NFE):
            found.setdefault(str((config["schedule"], config["grid"])), (paradigm, config))
    return {name: (build(each["schedule"]), build(each["grid"])) for name, each in found.values()}


@pytest.mark.long
def test_errors_are_those_of_their_kind_and_fall_with_the_evaluations(monkeypatch):
    """At most the spread of the data, or three times that of DDIM; and less at 20 evaluations than at 5."""
    named, known = set(), {}

    def times_once(denoiser, *how):
        """The times, which are those of either mixture."""
        key = denoiser.schedule, *how
        if key not in known:
            known[key] = times_for(denoiser, *how)
        return known[key]

    monkeypatch.setattr(regime, "times_for", times_once)

    def cases():
        for paradigm, (schedule, grid) in defaults().items():
            for data in mixtures():
                ddim = [data.error(DDIM(), schedule, grid, nfe) for nfe in NFE]
                for name, sampler in deterministic().items():
                    errors = ddim if name == "ddim" else [data.error(sampler, schedule, grid, nfe) for nfe in NFE]
                    allowed = [max(data.spread, WORSE * each) for each in ddim]
                    what = f"{name} on the grid of {paradigm}, data in {data.name}"
                    if (paradigm, name) not in OUTLIERS:
                        for nfe, error, most in zip(NFE, errors, allowed, strict=True):
                            if error == error:  # a table has no rates for Runge-Kutta's methods
                                yield Worst(f"{what}, {nfe} evaluations", error, most)
                    elif any(error > most for error, most in zip(errors, allowed, strict=True)):
                        named.add((paradigm, name))
                    if errors[0] == errors[0]:
                        yield Worst(f"{what}: 20 evaluations after 5", errors[2], errors[0])

    assert_law(cases())
    assert named == OUTLIERS


def test_an_outlier_is_named_with_a_choice_that_is_none():
    preset = compose("train", ["paradigm=edm"])
    schedule, grid = build(preset["schedule"]), build(preset["grid"])
    line = advice(Heun(), schedule, grid, 5)
    found = re.search(r"Heun.* off by (\S+), DDIM's by (\S+), .* is (\S+); (.*) is off by (\S+)$", line)
    error, ddim, spread, words, better = found.groups()
    assert float(error) > max(float(spread), 3 * float(ddim)) > float(better)
    config = compose("train", ["paradigm=edm", "sampler=heun", *words.split()])
    assert not advice(build(config["sampler"]), schedule, build(config["grid"]), 5)
    assert not advice(DDIM(), schedule, grid, 5)


class Network(Mixture):
    """The optimal denoiser, with the output of a network of another target."""

    def __init__(self, schedule, target):
        super().__init__(schedule, torch.zeros(1, 2), torch.ones(1), torch.ones(1))
        self.target = target


def test_the_gain_is_the_error_of_x0_for_a_relative_error_of_the_output():
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    for schedule, target in ((VP(), Eps()), (VP(), V()), (Linear(), Velocity()), (Linear(), Eps()), (VP(), X0())):
        denoiser, m, n = Network(schedule, target), schedule(t), target.mix(schedule, t)
        size = torch.hypot(*n)
        x0 = lambda out, m=m, n=n: (n.sigma * 0 - m.sigma * out) / (m.alpha * n.sigma - m.sigma * n.alpha)  # noqa: E731
        torch.testing.assert_close(denoiser.gain(t), (x0(1e-3 * size) - x0(0 * size)).abs() / 1e-3)


def test_without_a_range_flows_start_where_x0_is_no_error_of_the_network():
    """`sigma / alpha = GAIN` for eps, to the gain at log-SNR 0; at the noisiest time for targets of bounded gain."""
    for schedule in (VP(), CosineBetas(T=1000)):
        m = schedule(noisiest_start(Network(schedule, Eps())))
        assert 0.9 * GAIN < m.sigma / m.alpha <= GAIN
        for target in (V(), X0()):
            assert noisiest_start(Network(schedule, target)) == schedule.t_max
        for limit in (Clip(), DynamicThreshold()):
            assert noisiest_start(limit(Network(schedule, Eps()))) == schedule.t_max
        times = times_for(Network(schedule, Eps()), DDIM(), LogSNR(), 10)
        assert times[0] == noisiest_start(Network(schedule, Eps()))
        assert len(times) == 11
        assert times_for(Network(schedule, Eps()), DDIM(eta=1.0), LogSNR(), 10)[0] == schedule.t_max


def test_a_grid_of_stated_times_is_kept_and_a_start_in_noise_is_told(caplog):
    network = Network(CosineBetas(T=1000), Eps())
    assert times_for(network, DDIM(), Explicit((1000, 500)), 2).tolist() == [1000, 500, 0]
    assert "starts at t=1000, and not at t=9" in caplog.text
    caplog.clear()
    times_for(network, DDIM(), Explicit((900, 500)), 2)
    times_for(Clip()(network), DDIM(), Explicit((1000, 500)), 2)
    times_for(network, DDIM(eta=1.0), Explicit((1000, 500)), 2)
    assert not caplog.text
