"""Grids of one's own that find their times: once for a run and a sampler, and by the distance of its scores."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from difflab.backbone import MLP, Vectors
from difflab.denoiser import Denoiser
from difflab.denoiser.exact import Gaussian
from difflab.experiment.model.conditions import Prompts, between
from difflab.experiment.sampling.found_times import FoundTimes, beside_weights
from difflab.experiment.sampling.recipe import Recipe
from difflab.guidance.base import Chain
from difflab.guidance.clip import Clip
from difflab.process import VP, Eps
from difflab.sampler import DDIM, Grid, Heun, Uniform
from difflab.sampler.regime import mixtures

searches = []  # the samplers that times were found for


@dataclass(frozen=True)
class Bent(Grid):
    """The times of a uniform grid, to a power that is found: here by counting, so that a test knows it."""

    finds: ClassVar[bool] = True
    power: float = 2.0

    def __call__(self, schedule, steps):
        return Uniform()(schedule, steps)

    def fit(self, denoiser, sampler, times, distance=None):
        searches.append(sampler)
        apart = distance(torch.zeros(4, 2), torch.full((4, 2), self.power))
        return times**apart


@dataclass(frozen=True)
class Cheap(Bent):
    """The same, by a formula that nothing needs to be kept of."""

    finds: ClassVar[bool] = False

    def fit(self, denoiser, sampler, times, distance=None):
        return times**self.power


def test_times_of_any_grid_that_finds_them_are_found_once(cache, capsys):
    denoiser, uniform = mixtures()[0].denoiser(VP()), torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64)
    found = FoundTimes(cache)
    recipes = [Recipe(DDIM(), Bent(power), Chain(()), 4, found=found) for power in (2.0, 3.0)]
    searches.clear()
    for _ in range(2):
        for power, recipe in zip((2.0, 3.0), recipes, strict=True):
            assert torch.equal(recipe.times(denoiser), uniform**power)  # the RMS distance of zeros and `power`
    assert searches == [DDIM(), DDIM()]
    assert capsys.readouterr().out.count("finding 4 times") == 2
    for other in (
        Recipe(Heun(), Bent(), Chain(()), 7, found=found),
        Recipe(DDIM(0.5), Bent(), Chain(()), 4, found=found),
    ):
        other.times(denoiser)
    Recipe(DDIM(), Bent(), Chain(()), 4, range=Clip(1.0), found=found).times(denoiser)
    assert len(searches) == 5


def test_times_that_are_a_formula_of_the_denoiser_are_those_of_the_grid_each_time(cache):
    denoiser, uniform = mixtures()[0].denoiser(VP()), torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64)
    times = Recipe(DDIM(), Cheap(3.0), Chain(()), 4, found=FoundTimes(cache)).times(denoiser)
    assert torch.equal(times, uniform**3)
    assert not [*cache.folder.iterdir()]


def test_times_are_those_of_what_the_denoiser_looks_up(cache):
    """Of the rows of a book, whether its null entry is its own, and the data of a closed form. Weights have none."""
    torch.manual_seed(0)
    denoiser = Denoiser(MLP([2], 3, width=32, book=Vectors), VP(), Eps())
    recipe = Recipe(DDIM(), Bent(), Chain(()), 4, found=FoundTimes(cache))
    searches.clear()
    recipe.times(denoiser)
    asked = [Prompts(["1"]), Prompts(["2"]), Prompts(["1", "2"]), Prompts(["1"], "0"), Prompts(["1"], "2")]
    for k, prompts in enumerate(asked, 2):
        prompts.fill(denoiser, {}, "a run")
        for _ in range(2):
            recipe.times(denoiser)
        assert len(searches) == k
    recipe.times(between(denoiser, *torch.zeros(3, 1).long()))
    assert len(searches) == 7
    for k, mean in enumerate((0.0, 0.5), 8):
        recipe.times(Gaussian(VP(), torch.full((2,), mean), torch.ones(2)))
        assert len(searches) == k


def test_what_has_no_such_data_is_known_by_its_weights_alone():
    assert beside_weights(Denoiser(MLP([2], 3, width=32), VP(), Eps())) == []
