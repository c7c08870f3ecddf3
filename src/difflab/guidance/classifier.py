"""Guidance by a classifier of noisy samples."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from typing_extensions import override

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.denoiser.classifier import AnyClassifier
from difflab.denoiser.rescheduled import matched
from difflab.guidance.base import Guided
from difflab.process.gaussian import scale


@dataclass(frozen=True)
class ClassifierGuidance:
    """`eps - (scale - 1) sigma grad log p(y | x_t)`, and the `x0` that then explains `x_t`.

    With exact parts, the score of `p(x_t) p(y | x_t)^(scale - 1)`. Dhariwal & Nichol 2021 (arXiv:2105.05233),
    Algorithm 2, for any sampler. `scale = 1` is no guidance. Others' numbers::

        scale = 1 + s           the s of Dhariwal & Nichol; 2 is Bayes' rule for a denoiser without classes

    The classifier may have been trained on another schedule. Samples of the null label are not guided; a denoiser
    without classes takes the classifier's. It takes an evaluation of each. Raises ValueError for what is no classifier,
    and for one of other samples or other classes.
    """

    classifier: Callable[[], nn.Module]
    scale: float = 2.0

    @torch.inference_mode(False)  # so that what is loaded here can be differentiated
    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The guided denoiser; at scale 1 the denoiser itself."""
        return denoiser if self.scale == 1 else Classified(denoiser, self.classifier(), self.scale - 1)


class Classified(Guided):
    """A denoiser that goes where a classifier sees the label."""

    def __init__(self, denoiser: AnyDenoiser, classifier: nn.Module, strength: float) -> None:
        super().__init__(denoiser)
        denoiser.require_mixes("guidance=classifier")
        if not isinstance(classifier, AnyClassifier):
            raise ValueError(
                "guidance=classifier needs a run that classifies, as paradigm=noisy_classifier trains, "
                f"and this one is a {type(classifier).__name__.lower()}"
            )
        if classifier.shape != denoiser.shape or denoiser.classes not in (0, classifier.classes):
            raise ValueError(
                f"guidance=classifier needs a classifier of samples of shape {denoiser.shape} and of "
                f"{denoiser.classes or 'any'} classes, not {classifier.shape} and {classifier.classes}"
            )
        self.classifier, self.strength = classifier.to(denoiser.device), strength
        self.classes = classifier.classes

    @override
    def nfe(self, t: Tensor) -> int:
        return self.denoiser.nfe(t) + 1

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` as in `Denoise`."""
        estimate: Estimate = self.denoiser(x, t, label, s)
        m, pull = self.schedule(t), self.strength * self.gradient(x, t, label)
        informed = m.alpha > 0  # pure noise says nothing of the class
        x0 = scale(torch.where(informed, m.sigma**2 / m.alpha, 0.0), pull)
        eps = scale(torch.where(informed, -m.sigma, 0.0), pull)
        return estimate._replace(
            x0=estimate.x0 + x0,
            eps=estimate.eps + eps,
            out=estimate.out + self.target.mix(self.schedule, t)(x0, eps),
            unguided=estimate.out if estimate.unguided is None else estimate.unguided,
        )

    def gradient(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """`d log p(label | x_t) / d x_t`, of the shape of `x`; 0 where the label is null. It has a graph if `x` has."""
        graph = torch.is_grad_enabled() and x.requires_grad
        with torch.inference_mode(False), torch.enable_grad():
            x, t, label = x.clone(), t.clone(), label.clone()  # those of inference mode cannot be differentiated
            x = x if x.requires_grad else x.requires_grad_()
            theirs = self.classifier.schedule
            seen = (x, t) if theirs == self.schedule else matched(theirs, x, self.schedule(t))
            with sdpa_kernel(SDPBackend.MATH) if graph else nullcontext():  # fused attention has no second derivative
                log_p = self.classifier(*seen)
            of_label = log_p.gather(1, label.clamp(max=self.classes - 1)[:, None])[:, 0]
            total = torch.where(label < self.classes, of_label, 0.0).sum()
            (gradient,) = torch.autograd.grad(total, x, create_graph=graph)
        return gradient
