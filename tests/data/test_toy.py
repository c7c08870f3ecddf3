"""Laws of the points in the plane: their densities against integrals, draws and other implementations."""

import functools
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from difflab.data.toy import Checkerboard, EightGaussians, Gaussian, Mixture, Moons, SCurve, SwissRoll

ALL = [
    law(n=20_000, held_out=1000) for law in (Gaussian, Mixture, EightGaussians, Moons, SwissRoll, SCurve, Checkerboard)
]
CELL = Checkerboard.side / 2
CELLS = 20  # a side, of a square in which all sets lie


@functools.cache
def grid(law):
    """Log-density (CELLS fine, CELLS fine) at the middles of a grid that is finer than the law's narrowest Gaussian."""
    narrow = CELL if isinstance(law, Checkerboard) else float(law.components.var.min()) ** 0.5
    fine = max(3, math.ceil(CELL / (0.9 * narrow)))
    at = (torch.arange(CELLS * fine).double() + 0.5) / fine * CELL - CELLS * CELL / 2
    return law.log_prob(torch.cartesian_prod(at, at)).view(len(at), len(at)), CELL / fine


def chi_square(law, x):
    """The statistic of points (N, 2) against the density in cells, and its degrees of freedom."""
    log_prob, step = grid(law)
    fine = len(log_prob) // CELLS
    expected = len(x) * step**2 * log_prob.exp().view(CELLS, fine, CELLS, fine).sum((1, 3)).flatten().numpy()
    edges = (np.arange(CELLS + 1) - CELLS / 2) * CELL
    counts = np.histogram2d(*np.asarray(x, np.float64).T, [edges, edges])[0].flatten()
    often = expected > 5
    expected = np.append(expected[often], len(x) - expected[often].sum() + 1)
    counts = np.append(counts[often], len(x) - counts[often].sum() + 1)
    return ((counts - expected) ** 2 / expected).sum(), len(counts) - 1


def test_densities_integrate_to_one(subtests):
    for law in ALL:
        with subtests.test(str(law)):
            log_prob, step = grid(law)
            assert float(log_prob.exp().sum()) * step**2 == pytest.approx(1, abs=1e-7)


def test_draws_follow_the_density(subtests):
    for law in ALL:
        with subtests.test(str(law)):
            x = law.load().train.x
            statistic, freedom = chi_square(law, x)
            assert statistic < chi2.ppf(1 - 1e-4, freedom)
            log_prob, step = grid(law)
            entropy = float(torch.special.entr(log_prob.exp()).sum()) * step**2
            own = -law.log_prob(x)
            assert abs(own.mean() - entropy) < 4 * own.std() / len(x) ** 0.5 + 1e-9


def test_shifted_draws_do_not(subtests):
    for law in ALL:
        with subtests.test(str(law)):
            statistic, freedom = chi_square(law, law.load().train.x + 0.1)
            assert statistic > 2 * chi2.ppf(1 - 1e-4, freedom)


def test_scaled_back_they_are_those_of_scikit_learn(subtests):
    datasets = pytest.importorskip("sklearn.datasets")
    for law, make, unit, centre in [
        (Moons(), lambda d, n: d.make_moons(n, noise=0.05, random_state=0)[0], 0.707, (0.5, 0.25)),
        (SwissRoll(), lambda d, n: d.make_swiss_roll(n, noise=0.5, random_state=0)[0][:, [0, 2]], 6.86, (2, 0.21)),
        (SCurve(), lambda d, n: d.make_s_curve(n, noise=0.05, random_state=0)[0][:, [0, 2]], 1.1, (0, 0)),
    ]:
        with subtests.test(str(law)):
            theirs = torch.from_numpy((make(datasets, 5000) - centre) / unit)
            ours = law.load().test.x
            own, other = law.log_prob(ours), law.log_prob(theirs)
            error = math.hypot(own.std() / len(own) ** 0.5, other.std() / len(other) ** 0.5)
            assert abs(own.mean() - other.mean()) < 4 * error
            np.testing.assert_allclose(theirs.mean(0), ours.mean(0), atol=5 / 5000**0.5)
            np.testing.assert_allclose(np.cov(theirs.T), np.cov(ours.T), atol=5 / 5000**0.5)


def integral(law, point):
    """The density at a point of the noise around a curve: an integral along each of its branches."""
    s = float(law.components.var[0]) ** 0.5

    def density(u, branch):
        square = ((law._curve(np.array([u]))[branch, 0] - point) ** 2).sum()
        return math.exp(-square / (2 * s * s)) / (2 * math.pi * s * s)

    branches, pieces = len(law._curve(np.zeros(1))), list(pairwise(np.linspace(0, 1, 41)))
    parts = [quad(density, *piece, (k,), epsabs=0, epsrel=1e-11)[0] for k in range(branches) for piece in pieces]
    return sum(parts) / branches


def test_densities_around_curves_are_the_integral(subtests):
    for law in [Moons(), Moons(noise=0.2), SwissRoll(), SCurve()]:
        with subtests.test(str(law)):
            s = float(law.components.var[0]) ** 0.5
            on = law._curve(np.array([0, 0.003, 0.31, 0.5, 1]))[0]
            for point in np.concatenate([on + shift for shift in ((0, 0), (0, 3 * s), (-2 * s, -5 * s))]):
                found = law.log_prob(torch.tensor(point[None])).exp().item()
                assert found == pytest.approx(integral(law, point), rel=1e-9)


def test_densities_of_mixtures_are_those_of_torch(subtests):
    for law in [Gaussian(), Mixture(), EightGaussians(var=0.1)]:
        with subtests.test(str(law)):
            means, var, weights = law.components
            oracle = MixtureSameFamily(
                Categorical(weights), Independent(Normal(means, var.sqrt()[:, None].expand_as(means)), 1)
            )
            x = 3 * torch.randn(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            torch.testing.assert_close(law.log_prob(x), oracle.log_prob(x))


def test_checkerboard_is_a_sixth_on_its_squares_and_nothing_beside_them():
    board = Checkerboard()
    inside = board.log_prob(board.load().train.x)
    torch.testing.assert_close(inside, torch.full_like(inside, -math.log(6)))
    outside = torch.tensor([[0.1, -0.1], [1.8, 0.1], [0.1, 1.8], [-9.0, -9.0]])
    assert (board.log_prob(outside) == -math.inf).all()


def test_eight_gaussians_scaled_back_are_the_published_ones():
    means, var, weights = EightGaussians(var=0.1).components
    published = 5 * torch.tensor([(1, 0), (0.5**0.5, 0.5**0.5), (0, 1), (-(0.5**0.5), 0.5**0.5)], dtype=torch.float64)
    torch.testing.assert_close(3.58 * means, torch.cat([published, -published]))
    torch.testing.assert_close(3.58**2 * var, torch.full((8,), 0.1).double(), check_dtype=False, rtol=1e-6, atol=0)
    assert (weights == 1 / 8).all()


def test_points_are_a_function_of_the_seed(subtests):
    for law in ALL:
        with subtests.test(str(law)):
            images, again = law.load(), replace(law, held_out=7).load()
            assert images.train.sha256 == again.train.sha256
            assert len(again.test) == 7
            assert replace(law, seed=1).load().train.sha256 != images.train.sha256
            assert not torch.equal(images.train.x[:1000], images.test.x)
            assert images.names == ()


def test_coordinates_have_about_unit_second_moment(subtests):
    for law in ALL:
        with subtests.test(str(law)):
            assert law.load().train.x.square().mean().item() == pytest.approx(1, abs=0.1)


def test_laws_that_are_none_are_refused(subtests):
    for make, message in [
        (lambda: Moons(n=0), "1 at least"),
        (lambda: SwissRoll(noise=0.0).components, "noise must be positive"),
        (lambda: Gaussian(var=-1.0).components, "variances > 0"),
        (lambda: Gaussian(mean=(1.0, 2.0, 3.0)).components, "means in the plane"),
        (lambda: Mixture(weights=(1.0,)).components, "K weights"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            make()
