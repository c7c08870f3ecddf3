"""Laws of guidance: what changes nothing when off, estimates that explain the sample, and declared evaluations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.guidance.base import Guidance
from difflab.laws.worst import Worst, close, violations, worst
from difflab.process.gaussian import scale
from difflab.sampler.evaluations import counting

LEVELS = (-4.0, -1.0, 1.0, 4.0)  # log-SNRs


def examples(denoiser: AnyDenoiser) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Noisy samples `(B, *)`, a time `()` and labels `(B,)`, all classes and the null label, at some noise levels."""
    found, generator = [], torch.Generator().manual_seed(0)
    label = torch.arange(denoiser.classes + 1).repeat(2)
    dtype = next((part.dtype for part in denoiser.buffers() if part.dtype == torch.float64), torch.float32)
    for log_snr in LEVELS:
        t = denoiser.schedule.time_at(torch.tensor(log_snr, dtype=torch.float64))
        x = torch.randn(len(label), *denoiser.shape, generator=generator, dtype=dtype)
        found.append((scale(torch.hypot(*denoiser.schedule(t)), x), t, label))
    return found


def equal(case: str, found: Estimate, expected: Estimate) -> Worst:
    """Estimates of the clean sample, the noise and the output that are the same numbers."""
    return worst(
        close(f"{case}: {part}", getattr(found, part), getattr(expected, part)) for part in ("x0", "eps", "out")
    )


def off_is_the_identity(guidance: Guidance, denoiser: AnyDenoiser) -> Worst:
    """Guidance that is off (`scale = 1` in every guidance) changes no estimate and takes no evaluation."""
    guided, cases = guidance(denoiser), []
    for x, t, label in examples(denoiser):
        case = f"{guidance} at t={t:.3g}"
        cases.append(equal(case, guided(x, t, label), denoiser(x, t, label)))
        cases.append(violations(f"{case}: evaluations", torch.tensor([guided.nfe(t) != denoiser.nfe(t)])))
    return worst(cases)


def estimates_explain_the_sample(guidance: Guidance, denoiser: AnyDenoiser) -> Worst:
    """`x_t = alpha x0 + sigma eps` holds between the guided estimates, and `out` is their mix in the target."""
    guided, cases = guidance(denoiser), []
    for x, t, label in examples(denoiser):
        estimate, case, exact = guided(x, t, label), f"{guidance} at t={t:.3g}", 1e-9 if x.dtype.itemsize == 8 else 1e-4
        out = guided.target.mix(guided.schedule, t)(estimate.x0, estimate.eps)
        mixed = guided.schedule(t)(estimate.x0, estimate.eps)
        cases.append(close(f"{case}: the sample", mixed, x, rtol=exact, atol=exact * x.abs().max().item()))
        cases.append(close(f"{case}: the output", out, estimate.out, rtol=exact, atol=exact * out.abs().max().item()))
    return worst(cases)


def nfe_is_counted(guidance: Guidance, denoiser: AnyDenoiser) -> Worst:
    """`nfe(t)` is the number of network evaluations a sample that a call takes, at every noise level."""
    guided, cases = guidance(denoiser), []
    for x, t, label in examples(denoiser):
        with counting(guided) as rows:
            guided(x, t, label)
        case = f"{guidance} at t={t:.3g}: nfe={guided.nfe(t)}, {sum(rows) / len(x):g} counted"
        cases.append(violations(case, torch.tensor([sum(rows) != len(x) * guided.nfe(t)])))
    return worst(cases)


def a_sample_depends_on_itself_alone(guidance: Guidance, denoiser: AnyDenoiser) -> Worst:
    """The estimate of a sample is the same alone, to rounding error."""
    guided, cases = guidance(denoiser), []
    for x, t, label in examples(denoiser):
        together, exact = guided(x, t, label).x0, 1e-9 if x.dtype.itemsize == 8 else 1e-4
        alone = torch.cat([guided(x[k, None], t, label[k, None]).x0 for k in range(len(x))])
        cases.append(
            close(f"{guidance} at t={t:.3g}: alone", alone, together, atol=exact * together.abs().max().item())
        )
    return worst(cases)


Law = Callable[[Guidance, AnyDenoiser], Worst]

LAWS: tuple[Law, ...] = (estimates_explain_the_sample, nfe_is_counted, a_sample_depends_on_itself_alone)
OFF_LAWS: tuple[Law, ...] = (off_is_the_identity,)  # of guidance with its scale set to 1
