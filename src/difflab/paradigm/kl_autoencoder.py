"""The autoencoder of latent diffusion: a first stage, whose latents another model works on."""

from __future__ import annotations

import logging
import math
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from difflab.denoiser.first_stage import FirstStage, check_size, drawn, first_numbers, kl_to_standard_normal
from difflab.objective.draws import Noised
from difflab.objective.nearness import nearness
from difflab.objective.reconstruction import L1, Maps, Reconstruction, perceptual
from difflab.objective.times import Times, Uniform
from difflab.paradigm.adversary import Adversary, adaptive_weight
from difflab.paradigm.base import Paradigm
from difflab.paradigm.latents import LatentSums
from difflab.paradigm.optimisation import Optimisation
from difflab.process.ranges import Chance, Seed, Size

log = logging.getLogger(__name__)


class KLAutoencoder(Paradigm):
    """`E_q |x - decode(z)| + kl_weight KL(q(z | x) || N(0, I)) / n`, and perhaps a perceptual and an adversarial term.

    Rombach et al. 2022 (arXiv:2112.10752), section 3.1 and appendix G, with one draw of `z` for each image.

    **Units.** The reconstruction and the perceptual term are means over the `n` numbers of an image, and the KL in nats
    an image is divided by `n`. The paper's code sums the first two over an image and adds the KL times 1e-6: that is
    `n` times this loss at `kl_weight=1e-6`. On small images the posterior is then a point: its standard deviation was
    0.001 of the latents' on 32-pixel emoji. With `kl_weight=1` and L1 the loss is `-ELBO / n` of `p(x | z)` that is
    Laplace with scale 1, but for a constant.

    - reconstruction: a distance by numbers, None for L1;
    - perceptual: feature maps that samples are compared by, too, with `perceptual_weight`: see `perceptual`;
    - adversary: a discriminator that separates reconstructions from images, with the weight `adversarial_weight` times
      `adaptive_weight` at the decoder's last layer. It is trained and counts after the share `adversarial_start` of the
      budget; before, it costs as much, because in several processes every step must have one graph.

    Held-out samples give `psnr` in dB and `ssim` of the posterior's mean decoded, clipped to [-1, 1], `perceptual` of
    it, `kl` in nats an image and `kl_per_latent` in nats a latent number, `posterior_std` and `latent_std`. SSIM is
    left out for images of fewer than 11 pixels a side. Their loss has no adversarial term.

    The first argument is an autoencoder, as `difflab.backbone.Autoencoder`, or a `FirstStage` made of one. Raises
    ValueError for weights below 0, a start outside [0, 1), and a decoder without `readout` under an adversary.
    """

    follows_budget: ClassVar[bool] = True
    at_times: ClassVar[bool] = False
    learns: ClassVar[str] = "first_stage"
    hint: ClassVar[str] = "difflab-train paradigm=rectified_flow first_stage={run}"

    def __init__(
        self,
        first_stage: nn.Module,
        kl_weight: Size = 0.03,
        reconstruction: Reconstruction | None = None,
        perceptual: Maps | None = None,
        perceptual_weight: Size = 1.0,
        adversary: Adversary | None = None,
        adversarial_weight: Size = 0.5,
        adversarial_start: Chance = 0.5,
        times: Times | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        seed: Seed = 0,
    ) -> None:
        super().__init__(times or Uniform(), optimisation, batch_size, seed)
        first_stage = first_stage if isinstance(first_stage, FirstStage) else FirstStage(first_stage)
        check_size(first_stage.latent_shape, first_stage.shape)
        weights = {"kl": kl_weight, "perceptual": perceptual_weight, "adversarial": adversarial_weight}
        if below := [f"model.{name}_weight={weight}" for name, weight in weights.items() if not weight >= 0]:
            raise ValueError(f"{', '.join(below)} must be 0 or more")
        if not 0 <= adversarial_start < 1:
            raise ValueError(f"model.adversarial_start={adversarial_start} is a share of the budget, in [0, 1)")
        if adversary and not hasattr(first_stage.backbone, "readout"):
            raise ValueError(
                f"{type(first_stage.backbone).__name__} has no `readout`, the decoder's last layer, at which the "
                f"adversarial term is weighed: add the property, or leave adversary= out"
            )
        self.first_stage, self.reconstruction, self.maps = first_stage, reconstruction or L1(), perceptual
        self.kl_weight, self.perceptual_weight = kl_weight, perceptual_weight
        self.adversary = adversary
        self.adversarial_weight, self.adversarial_start = adversarial_weight, adversarial_start
        self.means = nn.ModuleDict()  # over held-out images, by name
        self.latents = LatentSums(first_stage.latent_shape[0])

    def check_training(self) -> None:
        """Raise ValueError also for feature maps that cannot see these samples, as those of another run."""
        super().check_training()
        if self.maps is not None:
            with torch.no_grad():
                self.maps(torch.zeros(1, *self.first_stage.shape, device=self.device))

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The terms, each a mean over the numbers of an image, of shape `(B,)`."""
        terms, decoded = self.terms(noised)
        if self.adversary is None:
            return terms
        apart = torch.stack([term for name, term in terms.items() if name != "kl"]).sum(0)
        against = self.adversary.against(decoded, noised.label)
        weight = adaptive_weight(apart.mean(), against.mean(), cast(nn.Module, self.first_stage.backbone.readout))
        judged = self.adversary.judged(noised.x0, decoded, noised.label)
        on = float(noised.progress >= self.adversarial_start)
        self.noted = {"d_real": judged.real, "d_fake": judged.fake, "adaptive_weight": weight}
        terms["generator"] = on * self.adversarial_weight * weight * against
        return terms | {name: on * loss for name, loss in judged.losses.items()}

    def terms(self, noised: Noised) -> tuple[dict[str, Tensor], Tensor]:
        """Those without the adversary, and the decoded samples."""
        x0, label, stage = noised.x0, noised.label, self.first_stage
        mean, log_var = stage.posterior(x0, label)
        decoded = stage.decode(drawn(mean, log_var, first_numbers(noised.eps, stage.latent_shape)), label)
        kl = kl_to_standard_normal(mean, log_var) / math.prod(stage.shape)
        found = {"reconstruction": self.reconstruction(decoded, x0), "kl": self.kl_weight * kl}
        if self.maps is not None:
            found["perceptual"] = self.perceptual_weight * perceptual(self.maps, decoded, x0)
        return found, decoded

    def held_out_loss(self, noised: Noised) -> dict[str, Tensor]:
        """The terms without the adversary; and take in how near the posterior's mean comes, and the latents."""
        x0, label, stage = noised.x0, noised.label, self.first_stage
        mean, log_var = stage.posterior(x0, label)
        decoded = stage.decode(mean, label).clamp(-1, 1)
        self.latents.update(mean, log_var)
        for name, values in self.nearness(decoded.float(), x0.float()).items():
            if name not in self.means:
                self.means[name] = MeanMetric("disable").to(self.device)
            cast(MeanMetric, self.means[name]).update(values)
        return self.terms(noised)[0]

    def nearness(self, x: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """How near images are to the true ones, by name; each of shape `(B,)`."""
        found = nearness(x, truth)
        if self.maps is not None:
            found["perceptual"] = perceptual(self.maps, x, truth)
        return found

    def on_validation_epoch_start(self) -> None:
        """Start the means, too."""
        super().on_validation_epoch_start()
        self.latents.reset()
        self.means = nn.ModuleDict()

    def on_validation_epoch_end(self) -> None:
        """Log them, too; and at the end of a training say what is wrong with the latents."""
        super().on_validation_epoch_end()
        for name, mean in self.means.items():
            self.log(f"{self.split}/{name}", cast(MeanMetric, mean).compute(), sync_dist=True)
        facts, numbers = self.latents.compute(), math.prod(self.first_stage.latent_shape)
        logged = {
            "kl": facts.kl.mean() * numbers,
            "kl_per_latent": facts.kl.mean(),
            "posterior_std": facts.posterior_std.mean(),
            "latent_std": facts.std.mean(),
        }
        self.log_dict({f"{self.split}/{name}": value.item() for name, value in logged.items()}, sync_dist=True)
        if self.trainer.state.fn != "fit" and self.trainer.is_global_zero:
            for warning in facts.warnings():
                log.warning(warning)
