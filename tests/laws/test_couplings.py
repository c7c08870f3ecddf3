"""Laws of couplings: a permutation of the noise, and the least cost there is."""

import itertools

import torch

from difflab.laws import Worst
from difflab.objective.coupling import Independent, OptimalTransport
from helpers.conf import every
from helpers.laws import assert_law


def pairs(n, *shape, seed=0):
    return torch.randn(2, n, *shape, generator=torch.Generator().manual_seed(seed))


def cost(x0, eps):
    return (x0 - eps).square().sum().item()


def test_the_noise_is_permuted_and_never_further_from_the_data(subtests):
    for shape in [(2,), (3, 4, 4)]:
        with subtests.test(str(shape)):
            x0, eps = pairs(40, *shape)
            for coupling in every("coupling").values():
                coupled = coupling(lambda x0=x0: x0, eps)
                assert sorted(coupled.flatten(1).tolist()) == sorted(eps.flatten(1).tolist()), coupling
                assert cost(x0, coupled) <= cost(x0, eps), coupling


def test_independent_noise_does_not_need_the_data():
    eps = torch.randn(3, 2)

    def refuse():
        raise AssertionError

    assert torch.equal(Independent()(refuse, eps), eps)


def test_no_assignment_is_better():
    """Against every permutation of up to six."""

    def cases():
        for n, seed in itertools.product(range(1, 7), range(5)):
            x0, eps = pairs(n, 3, seed=seed)
            best = min(cost(x0, eps[list(order)]) for order in itertools.permutations(range(n)))
            found = cost(x0, OptimalTransport()(lambda x0=x0: x0, eps))
            yield Worst(f"n={n}, seed={seed}", abs(found - best), 1e-6 * best)

    assert_law(cases())


def test_on_a_line_the_smallest_noise_goes_to_the_smallest_sample():
    x0, eps = pairs(100, 1)
    coupled = OptimalTransport()(lambda: x0, eps)
    assert torch.equal(coupled[x0[:, 0].argsort()], eps.sort(0).values)
