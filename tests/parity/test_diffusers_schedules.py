"""Betas, variances, spacings and shifts of diffusers, whose steps count from zero."""

import numpy as np
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

from difflab.laws import close
from difflab.process.discrete import CosineBetas, LinearBetas, QuadraticBetas, SigmoidBetas
from difflab.process.gaussian import bridge
from difflab.process.schedule import Linear
from difflab.sampler.grid import Leading, Linspace, Shift, Uniform
from helpers.closed_forms import f64
from helpers.laws import assert_law


def test_betas_are_theirs():
    ours = {
        "linear": LinearBetas(),
        "scaled_linear": QuadraticBetas(),
        "squaredcos_cap_v2": CosineBetas(),
        "sigmoid": SigmoidBetas(),
    }
    assert_law(
        close(kind, schedule.betas().float(), DDPMScheduler(1000, 1e-4, 0.02, kind).betas, rtol=1e-5, atol=1e-9)
        for kind, schedule in ours.items()
    )


def test_variances_of_steps_and_strides_are_theirs():
    """The values of their own test suite, and their DDIM scheduler's variance in float32."""
    published = {(420, 400): 0.14771, (980, 960): 0.32460, (487, 486): 0.00979, (999, 998): 0.02}
    theirs, schedule = DDIMScheduler(1000, 1e-4, 0.02, "linear"), LinearBetas()

    def cases():
        for (t, s), variance in published.items():
            lower = bridge(schedule(f64(s + 1)), schedule(f64(t + 1))).lower
            yield close(f"{t} -> {s}", lower, f64(variance), atol=1e-5)
            yield close(f"{t} -> {s} in diffusers", lower.float(), theirs._get_variance(t, s)[None], rtol=1e-4)

    assert_law(cases())


def test_spacings_are_theirs():
    grids = {"leading": Leading(), "trailing": Uniform(), "linspace": Linspace()}
    published = {"leading": range(0, 1000, 100), "trailing": range(99, 1000, 100), "linspace": range(0, 1000, 111)}
    for spacing, grid in grids.items():
        theirs = DDIMScheduler(timestep_spacing=spacing)
        theirs.set_timesteps(10)
        ours = (grid(LinearBetas(), 10)[:-1] - 1).tolist()
        assert ours == theirs.timesteps.tolist() == [*published[spacing]][::-1], spacing


def test_shifts_are_theirs():
    def cases():
        for shift in (0.5, 1.0, 3.0):
            theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
            theirs.set_timesteps(sigmas=np.linspace(1, 0.1, 10))
            ours = Shift(shift)(Linear(), 10)
            yield close(f"shift {shift}", ours, theirs.sigmas.double(), rtol=1e-6, atol=1e-6)

    assert_law(cases())
