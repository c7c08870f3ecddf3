"""Generative adversarial networks."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from difflab.denoiser.generator import Generator
from difflab.objective.draws import Noised
from difflab.objective.times import Times
from difflab.paradigm.adversary import Adversary, Judged
from difflab.paradigm.defaults import Defaults, Sampling
from difflab.paradigm.diffusion import Codec, Diffusion
from difflab.paradigm.optimisation import Optimisation
from difflab.process.ranges import Chance, Seed
from difflab.process.schedule import Linear
from difflab.process.target import X0
from difflab.sampler.ddim import DDIM


class GAN(Diffusion):
    """A generator `x0 = G(z, label)`, `z ~ N(0, I)`, trained against a discriminator, both in every step.

    Goodfellow et al. 2014 (arXiv:1406.2661); see `Adversary` for the losses and for what differs. `train/d_real` and
    `train/d_fake` are the discriminator's mean logits. It has no density: `val/loss` is the discriminator's loss on
    held-out samples without R1, `log 4 = 1.386` of the non-saturating game, 2 of the hinge game, where it separates
    nothing. Quality and lost modes show in the distance, recall and coverage of its samples.

    The first argument is a backbone with `decode(z, label)`, as `difflab.backbone.ConvGenerator`, or a `Generator`.
    """

    defaults: ClassVar[Defaults] = Defaults(Linear(), X0(), Sampling(DDIM(), nfe=1))
    hint: ClassVar[str] = "difflab-sample run={run} n=100"
    scores: ClassVar[tuple[str, ...]] = ()
    follows_budget: ClassVar[bool] = False
    at_times: ClassVar[bool] = False
    denoiser: Generator
    adversary: Adversary

    def __init__(
        self,
        denoiser: nn.Module,
        adversary: Adversary | None = None,
        times: Times | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        label_dropout: Chance = 0.0,
        seed: Seed = 0,
        codec: Codec | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        if not hasattr(denoiser, "schedule"):  # a backbone
            denoiser = Generator(denoiser)
        super().__init__(
            denoiser, times, None, None, optimisation, batch_size, label_dropout, seed, codec, sampling=sampling
        )
        if adversary is None:
            raise ValueError(
                "GAN trains against a discriminator: choose adversary=non_saturating or hinge, with discriminator=conv "
                "for images or mlp for points"
            )
        self.adversary = adversary

    def check(self) -> None:
        """Raise ValueError also for a denoiser that is no generator."""
        super().check()
        if not isinstance(self.denoiser, Generator):
            raise ValueError(
                f"GAN trains a generator of one step, and {type(self.denoiser).__name__} is none: choose "
                f"denoiser=generator, with backbone=conv_generator for images or mlp_generator for points"
            )

    def fake(self, noised: Noised) -> Tensor:
        """The generator's samples of the batch's noise and labels."""
        return self.denoiser.decode(self.denoiser.latent(noised.eps), noised.label)

    def note(self, judged: Judged) -> dict[str, Tensor]:
        """The discriminator's losses, and note its logits."""
        self.noted = {"d_real": judged.real, "d_fake": judged.fake}
        return judged.losses

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The losses of both players, each with a gradient for its own player alone, each of shape `(B,)`."""
        fake = self.fake(noised)
        against = self.adversary.against(fake, noised.label)
        return {"generator": against, **self.note(self.adversary.judged(noised.x0, fake, noised.label))}

    def held_out_loss(self, noised: Noised) -> dict[str, Tensor]:
        """The discriminator's, without R1."""
        return self.adversary.judged(noised.x0, self.fake(noised), noised.label, penalised=False).losses
