"""Laws of paradigms: losses that are least at the optimum, gradients that reach all weights, noise known by its key.

A model is given as it is trained, with a batch size of some thousand samples.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.likelihood import bits
from difflab.laws.gaussian import MEAN, VAR
from difflab.laws.optimum import at_the_optimum, samples
from difflab.laws.worst import Worst, close, violations, worst
from difflab.objective.draws import Noised
from difflab.paradigm.base import HELD_OUT, TRAINING, Paradigm
from difflab.paradigm.ddpm import DDPM
from difflab.paradigm.diffusion import Diffusion
from difflab.process.gaussian import Mix, det, scale
from difflab.process.target import PosteriorMean

FEW = 256  # samples of the laws that call a network
SOME = 512  # samples that bits/dim are a mean over
TERMS = ("regression", "simple", "diffusion", "vlb")  # of losses, whose least value is known


def name(model: Paradigm) -> str:
    """The model in the name of a case."""
    return type(model).__name__


def noised(model: Paradigm, n: int, *key: int, dropout: float = 0.0) -> Noised:
    """The model's noisy samples, the first n of a batch."""
    return model.corrupt(*samples(model, n), dropout, *key)


def total(model: Paradigm, batch: Noised) -> Tensor:
    """The weighted loss of each sample, as it is trained; shape `(B,)`."""
    return torch.stack([scale(batch.weight, term) for term in model.loss(batch).values()]).sum(0)


def losses_are_finite_and_one_for_each_sample(model: Paradigm) -> Worst:
    """Every term of the loss, in training and on held-out samples, has shape `(B,)` and is finite."""
    model, cases = copy.deepcopy(model).float(), []
    x0, label = samples(model, FEW)
    batch = model.corrupt(x0.float(), label, 0.5, TRAINING, 0)
    model.on_validation_epoch_start()
    for kind, terms in (("", model.loss(batch)), ("held-out ", model.held_out_loss(batch))):
        for key, term in terms.items():
            case = f"{name(model)}: {kind}{key} of shape {tuple(term.shape)}"
            broken = term.shape != (FEW,) or not bool(term.isfinite().all())
            cases.append(violations(case, torch.tensor([broken])))
    return worst(cases)


def held_out_losses_are_the_same_every_time(model: Paradigm) -> Worst:
    """The held-out loss of the same samples is the same number after any other draws."""
    model, found = copy.deepcopy(model).eval().float(), []
    x0, label = samples(model, FEW)
    model.on_validation_epoch_start()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for seed in (1, 2):
            torch.manual_seed(seed)
            batch = model.corrupt(x0.float(), label, 0.0, HELD_OUT, 3)
            found.append(torch.stack([*model.held_out_loss(batch).values()]))
    return close(f"{name(model)}: held-out loss", found[1], found[0])


def training_noise_is_a_function_of_the_step_and_the_place(model: Paradigm) -> Worst:
    """A step draws the same noise and times for a sample in any part of the batch; another step draws others."""
    with torch.random.fork_rng(devices=[]):
        whole = noised(model, FEW, TRAINING, 7)
        torch.manual_seed(1)
        again, part = noised(model, FEW, TRAINING, 7), noised(model, FEW // 4, TRAINING, 7)
        others = [noised(model, FEW, *key) for key in ((TRAINING, 8), (HELD_OUT, 7))]
    case, cases = name(model), []
    for field in ("x_t", "t", "eps"):
        one, two, few = (getattr(batch, field) for batch in (whole, again, part))
        cases += [close(f"{case}: {field} of the step again", two, one)]
        cases += [close(f"{case}: {field} of a quarter of the batch", few, one[: len(few)])]
    return worst([*cases, *(violations(f"{case}: another step", other.eps == whole.eps) for other in others)])


def noisy_samples_are_the_mix(model: Paradigm) -> Worst:
    """`x_t = alpha x0 + sigma eps` of the pair that the loss compares with; the given share of labels is dropped."""
    batch, case = noised(model, model.batch_size, TRAINING, 0, dropout=0.25), name(model)
    with torch.no_grad():
        mixed = model.schedule(batch.t)(batch.x0, batch.eps)
    cases = [close(f"{case}: x_t", mixed, batch.x_t, rtol=1e-6, atol=1e-6, t=batch.t)]
    if model.learned.classes:
        null = (batch.label == model.learned.classes).double().mean().item()
        cases.append(Worst(f"{case}: share of null labels", abs(null - 0.25), (3 / len(batch.t)) ** 0.5))
    return worst(cases)


def a_loss_that_does_not_follow_the_budget_is_the_same_at_every_share(model: Paradigm) -> Worst:
    """A paradigm whose loss uses the share of the budget that is over must state `follows_budget = True`."""
    if model.follows_budget:
        return Worst(f"{name(model)} states it", 0.0, 0.0)
    model, found = copy.deepcopy(model).float(), []
    x0, label = samples(model, FEW)
    batch = model.corrupt(x0.float(), label, 0.5, TRAINING, 0)
    for share in (0.0, 0.5, 1.0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            found.append(total(copy.deepcopy(model), batch._replace(progress=share)).detach())
    case = f"{name(model)}: the loss at another share of the budget"
    return worst([close(case, each, found[0]) for each in found[1:]])


def every_parameter_learns(model: Paradigm) -> Worst:
    """After some steps of training every parameter has a gradient: zeroed layers open one after another."""
    model = copy.deepcopy(model).train().float()
    x0, label = samples(model, FEW)
    optimiser = torch.optim.Adam(model.learned.parameters(), 1e-3)
    for step in range(4):
        optimiser.step()
        optimiser.zero_grad()
        total(model, model.corrupt(x0.float(), label, 0.1, TRAINING, step)).mean().backward()  # type: ignore[no-untyped-call]  # torch leaves it so
    return worst(
        violations(f"{name(model)}: {key} learns nothing", torch.tensor([p.grad is None or not p.grad.any()]))
        for key, p in model.learned.named_parameters()
    )


@torch.no_grad()
def the_optimum_has_the_least_loss(model: Paradigm) -> Worst:
    """What is off the optimum on Gaussian data has a larger mean loss under the same noise, to either side."""
    batch, cases = noised(model, model.batch_size, TRAINING, 0), []
    least = total(at_the_optimum(model), batch).mean().item()
    for off in (-0.3, 0.3) if isinstance(model.learned, AnyDenoiser) else (-0.7, 0.7):
        loss = total(at_the_optimum(model, off), batch).mean().item()
        case = f"{name(model)}: loss {loss:.4g} at {off:+g} off the optimum, {least:.4g} there"
        cases.append(violations(case, torch.tensor([not loss > least])))
    return worst(cases)


@torch.no_grad()
def terms(model: Paradigm) -> set[str]:
    """The names of the terms of the loss."""
    return {*at_the_optimum(model).loss(noised(model, FEW, TRAINING, 0))}


def irreducible(model: Diffusion, term: str, t: Tensor) -> tuple[Tensor, Tensor]:
    """The least mean of a term of the loss at the times `t`, and the part of it that is a squared error.

    `Var(x0 | x_t) = v sigma^2 / (alpha^2 v + sigma^2)`, carried to the target by the determinant, times the weight. A
    term of the bound is the squared error in the posterior mean by twice its variance, in bits; L_0 has the density's
    normalisation too.
    """
    schedule, network = model.denoiser.schedule, model.denoiser.target
    m = schedule(t)
    variance = VAR * m.sigma**2 / (m.alpha**2 * VAR + m.sigma**2)

    def squared(mix: Mix) -> Tensor:
        return variance * (det(m, mix) / m.sigma) ** 2

    if term != "vlb":
        weight = model.simple_weight if isinstance(model, DDPM) else 1.0
        error = weight * squared(network.mix(schedule, t)) * model.weighting(schedule, network, t)
        return error, error
    assert isinstance(model, DDPM)
    lower = schedule.bridge(t - schedule.step, t).lower
    error = squared(PosteriorMean().mix(schedule, t)) / (2 * lower)
    nats = error + torch.where(t == schedule.step, 0.5 * (2 * math.pi * lower).log(), 0.0)
    return model.vlb_weight * nats / math.log(2), model.vlb_weight * error / math.log(2)


@torch.no_grad()
def the_loss_of_the_optimum_is_irreducible(model: Diffusion) -> Worst:
    """On Gaussian data the optimum's loss is the variance of what it predicts, weighted, within four standard errors.

    Of the terms that are named in TERMS. The standard error itself is less than a twentieth of the loss.
    """
    batch, cases = noised(model, model.batch_size, TRAINING, 0), []
    for key, loss in at_the_optimum(model).loss(batch).items():
        expected, error = irreducible(model, key, batch.t)
        # of chi-square with 2 degrees of freedom: a relative standard deviation of 1 for each sample
        spread = (batch.weight * error).norm().item()
        gap = (batch.weight * (loss - expected)).sum().abs().item()
        cases.append(Worst(f"{name(model)}: {key}", gap, 4 * spread))
        share = spread / abs((batch.weight * error).sum().item())
        cases.append(Worst(f"{name(model)}: {key}, its standard error", share, 0.05))
    return worst(cases)


def bits_per_dim_are_those_of_the_density(model: Diffusion) -> Worst:
    """Of the optimum bits/dim are the density's on Gaussian data, or up to 0.1 above it; less by noise alone."""
    x0, label = samples(model, SOME)
    found: dict[str, Tensor] = at_the_optimum(model).eval().bits_per_dim(x0, label)  # type: ignore[operator]  # of every Diffusion
    exact = bits(0.5 * ((x0 - MEAN) ** 2 / VAR + math.log(2 * math.pi * VAR)))
    cases = [violations(f"{name(model)}: scores {[*found]}", torch.tensor([[*found] != [*model.scores]]))]
    for score, value in found.items():
        gap, case = value - exact, f"{name(model)}: {score} {value.mean():.3f} in place of {exact.mean():.3f}"
        noise = 4 * gap.std().item() / SOME**0.5
        cases += [
            close(f"{case}, shape", torch.zeros_like(value), torch.zeros_like(exact)),
            Worst(f"{case}: less", max(0.0, -gap.mean().item()), noise + 5e-3),
            Worst(f"{case}: more", max(0.0, gap.mean().item()), noise + 0.1),
        ]
    return worst(cases)


Law = Callable[[Paradigm], Worst]
DiffusionLaw = Callable[[Diffusion], Worst]

OPTIMUM_LAWS: tuple[Law, ...] = (the_optimum_has_the_least_loss,)  # of models whose optimum is known
LAWS: tuple[Law, ...] = (
    noisy_samples_are_the_mix,
    training_noise_is_a_function_of_the_step_and_the_place,
)
TRAINED_LAWS: tuple[Law, ...] = (  # of models with parameters
    losses_are_finite_and_one_for_each_sample,
    held_out_losses_are_the_same_every_time,
    a_loss_that_does_not_follow_the_budget_is_the_same_at_every_share,
    every_parameter_learns,
)
DENSITY_LAWS: tuple[DiffusionLaw, ...] = (bits_per_dim_are_those_of_the_density,)  # of those that generate
TERM_LAWS: tuple[DiffusionLaw, ...] = (the_loss_of_the_optimum_is_irreducible,)  # of losses whose terms are in TERMS
