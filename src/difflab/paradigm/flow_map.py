"""Flow maps: models of few steps and of one, by every method that drives a residual to zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.flow_map import FlowMap, Fraction
from difflab.objective.coupling import Coupling
from difflab.objective.derivative import full_precision
from difflab.objective.distance import Adaptive, Distance
from difflab.objective.draws import Noised
from difflab.objective.residual import Drive, Eulerian, Paired, Residual, Step, TrainedMap
from difflab.objective.steps import Halved, Sorted, Steps, ToData
from difflab.objective.times import LogitNormal, Times
from difflab.objective.weighting import Weighting
from difflab.paradigm.defaults import Defaults, Sampling
from difflab.paradigm.diffusion import Codec, Diffusion
from difflab.paradigm.drive import DriveOf, FromData, FromItself, FromTeacher
from difflab.paradigm.held import Current, Held, Rounds
from difflab.paradigm.optimisation import Optimisation
from difflab.process.chord import chord, from_start
from difflab.process.gaussian import scale
from difflab.process.noise import keyed, seed_dropout
from difflab.process.ranges import Chance, Seed
from difflab.process.schedule import Linear, Schedule
from difflab.process.target import Target, Velocity
from difflab.sampler.ddim import DDIM

ENDS = 2**20  # the last number of the key of a batch's steps


@dataclass(frozen=True)
class BatchMap:
    """A flow map in training, for samples of some labels; all its calls have the same dropout masks."""

    trained: FlowMap
    held: FlowMap
    label: Tensor
    mask: int

    @property
    def schedule(self) -> Schedule:
        """The schedule that times refer to."""
        return self.trained.schedule

    @property
    def target(self) -> Target:
        """What the output is in."""
        return self.trained.target

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The output of the weights that are trained."""
        seed_dropout(self.mask, x.device)
        return self.trained.output(x, t, self.label, s)[0]

    @torch.no_grad()
    def fixed(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The output of those that are held fixed."""
        seed_dropout(self.mask, x.device)
        return self.held.output(x, t, self.label, s)[0]


class FlowMapMatching(Diffusion):
    """Drive a residual of the flow map to zero, on steps between two times, along the flow of a drive.

    Steps of no length are the drive's own output: with the data as drive, flow matching. A method is a choice of
    `residual`, `drive`, `steps`, `distance`, `held`, schedule and target; where they are None it is MeanFlow, Geng et
    al. 2025 (arXiv:2505.13447). `held` are the weights that the residual is regressed on, and that a drive of its own
    follows; None takes the weights as they are.

    Boffi et al. 2025 (arXiv:2505.18825), for any schedule and target.
    """

    defaults: ClassVar[Defaults] = Defaults(Linear(), Velocity(), Sampling(DDIM(), nfe=1), LogitNormal(-0.4, 1.0))
    follows_budget: ClassVar[bool] = True
    hint: ClassVar[str] = "difflab-sample run={run} sampler=ddim nfe=1"
    denoiser: FlowMap

    def __init__(
        self,
        denoiser: nn.Module,
        residual: Residual | None = None,
        drive: DriveOf | None = None,
        steps: Steps | None = None,
        distance: Distance | None = None,
        held: Held | None = None,
        times: Times | None = None,
        weighting: Weighting | None = None,
        coupling: Coupling | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        label_dropout: Chance = 0.1,
        seed: Seed = 0,
        codec: Codec | None = None,
        schedule: Schedule | None = None,
        target: Target | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        if not hasattr(denoiser, "schedule"):  # a backbone
            choices = schedule or self.defaults.schedule, target or self.defaults.target
            denoiser = FlowMap(denoiser, *choices, Fraction())
            schedule = target = None
        general = times, weighting, coupling, optimisation, batch_size, label_dropout, seed, codec
        super().__init__(denoiser, *general, schedule, target, sampling)
        residual, drive, steps = residual or Eulerian(), drive or FromData(), steps or Sorted()
        if residual.follows and not drive.everywhere:
            raise ValueError(
                f"{type(residual).__name__} follows the flow where its steps end, and the data know it at the noised "
                f"samples alone: choose drive=own, or residual=eulerian or semigroup"
            )
        if drive.guides != self.denoiser.guidance_learned or (drive.guides and not self.denoiser.classes):
            raise ValueError(
                "a drive with guidance, as drive=guided or teacher.guidance=classifier_free, and "
                "denoiser=guided_flow_map belong together, and to data with labels: the run then refuses to be guided "
                "again. Choose both, or neither"
            )
        tied = isinstance(held, Rounds) or (residual.driven and not isinstance(drive, FromItself))
        if not tied and not steps.diagonal:
            raise ValueError(
                f"nothing ties {type(residual).__name__} to the data where no step has length 0: choose steps=sorted "
                f"or dyadic with steps.diagonal > 0"
            )
        t = self.schedule.time(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
        to_data = isinstance(residual, Eulerian) and isinstance(steps, ToData)
        if to_data and not from_start(self.schedule, self.denoiser.target, t, 0 * t).sigma.any():
            raise ValueError(
                f"{self.denoiser.target} is the end of a step to the data itself, so that residual=eulerian on "
                f"steps=to_data has no gradient: choose target=v or velocity, or residual=eulerian_discrete"
            )
        self.residual, self.drive, self.steps = residual, drive, steps
        self.needs_pairs = isinstance(residual, Paired)
        self.follows_teacher, self.starts_trained = isinstance(drive, FromTeacher), isinstance(held, Rounds)
        self.rounds = max((each.rounds for each in (steps, held) if isinstance(each, Halved | Rounds)), default=1)
        self.distance = distance or Adaptive()
        self.rule = held or Current()
        self.followed = 0  # steps
        self.kept = self.rule.start(self.denoiser)

    def check(self) -> None:
        """Raise ValueError also for a denoiser that is given one time, a table, and times that learn from the loss."""
        super().check()
        if not isinstance(self.denoiser, FlowMap):
            raise ValueError(
                f"{type(self).__name__} trains a flow map, and {type(self.denoiser).__name__} is none: choose "
                f"denoiser=flow_map backbone.second_time=true"
            )
        if self.denoiser.schedule.discrete:
            raise ValueError(
                f"a flow map steps between any two times, and {self.denoiser.schedule} is a table: choose a continuous "
                f"schedule, as schedule=vp in place of ddpm_linear, or trigonometric"
            )
        if self.times.observes:
            raise ValueError(f"{self.times} are chosen by the loss at one time, and a flow map has two: choose uniform")

    @override
    def draw_times(self, n: int, g: torch.Generator, progress: float, *key: int) -> Sequence[Tensor]:
        t, weight = super().draw_times(n, g, progress)
        ends = keyed(self.seed, *key, ENDS)
        t, s = self.steps(self.schedule, self.times, t, ends, progress)
        return t, weight, s, torch.rand(n, generator=ends, dtype=torch.float64)

    @property
    def held(self) -> FlowMap:
        """The flow map by the weights that are held fixed."""
        return self.rule.network(self.kept, self.denoiser)

    def on_train_start(self) -> None:
        """Hold the weights that training starts from, not where it goes on. Raises ValueError for too few steps."""
        if (steps := int(self.trainer.estimated_stepping_batches)) < self.rounds:
            raise ValueError(f"{steps} steps are too few: each of {self.rounds} rounds needs one")
        start = self.rule.start(self.denoiser)
        if self.kept is not None and start is not None and not self.global_step:
            self.kept.load_state_dict(start.state_dict())

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The distance of the residual from zero, and of the output from the drive's where a step has no length."""
        return self.loss_against(self.held, noised)

    def held_out_loss(self, noised: Noised) -> dict[str, Tensor]:
        """The same against the weights themselves, so that a run that is taken up after its training has the same."""
        return self.loss_against(self.denoiser, noised)

    def loss_against(self, held: FlowMap, noised: Noised) -> dict[str, Tensor]:
        """The loss where the residual is regressed on some weights."""
        mask, steps = torch.initial_seed(), steps_of(noised)
        losses = noised.x_t.new_empty(len(steps.t))
        schedule, target = self.denoiser.schedule, self.denoiser.target
        kinds = (steps.s < steps.t, self.residual, self.drive), (steps.s == steps.t, tangent, self.drive.tangent)
        for rows, residual, drive in kinds:
            if not rows.any():
                continue
            part = some(noised, rows)
            step, found = steps_of(part), self.found(part, residual, drive, held, mask)
            length = span = torch.ones_like(step.t)
            if residual is self.residual:
                length, span = chord(schedule, target, step.t, step.s).sigma, self.residual.span(schedule, step)
            loss = self.distance(scale(span, found), length)
            losses[rows.to(losses.device)] = scale(self.weighting(schedule, target, step.t) / span, loss)
        return {"residual": losses}

    def found(
        self,
        noised: Noised,
        residual: Callable[[TrainedMap, Drive, Step], Tensor],
        drive: Callable[[Noised, AnyDenoiser, Target], Drive],
        held: FlowMap,
        mask: int = 0,
    ) -> Tensor:
        """A residual on the steps of a batch, `(B, *)`, against `held` weights; `mask` is the seed of dropout."""
        flow = BatchMap(self.denoiser, held, noised.label, mask)
        return residual(flow, drive(noised, held, self.denoiser.target), steps_of(noised))

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as Lightning's
        """As Lightning's, without TF32: the gradient of a difference is one of large terms that cancel."""
        with full_precision(self.device):
            super().backward(loss, *args, **kwargs)

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Have the held weights follow."""
        steps = int(self.trainer.estimated_stepping_batches)
        if (done := self.global_step) > self.followed:
            self.rule.follow(self.kept, self.denoiser, (done - 1) / steps, done / steps)
            self.followed = done


def tangent(flow: TrainedMap, drive: Drive, step: Step) -> Tensor:
    """What a residual is where a step has no length: `y - y'`, with `y'` the drive's output."""
    return flow(step.x, step.t, step.t) - drive.output(step.x, step.t)


def steps_of(noised: Noised) -> Step:
    """The steps of a batch. Raises ValueError if it has none."""
    if noised.s is None or noised.u is None:
        raise ValueError("a flow map is trained on steps, which have two times: give the paradigm `steps`")
    return Step(noised.x_t, noised.t, noised.s, noised.u, noised.progress)


def some(noised: Noised, rows: Tensor) -> Noised:
    """Some rows of a batch of steps."""
    steps = steps_of(noised)
    tensors = steps.t, noised.weight, steps.x, noised.x0, noised.eps, noised.label, steps.s, steps.u
    t, weight, x_t, x0, eps, label, s, u = (each[rows.to(each.device)] for each in tensors)
    return Noised(t, weight, x_t, x0, eps, label, noised.progress, s, u)
