"""Laws of couplings: a permutation of the noise, and the least cost there is."""

import itertools

import torch

from difflab.laws import Worst, close
from difflab.objective.coupling import Independent, OptimalTransport
from difflab.process.noise import keyed
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


def labelled(n, seed):
    """Samples of eight Gaussians on a circle, and which of the eight each is from."""
    g = keyed(seed)
    label = torch.randint(8, (n,), generator=g)
    angle = label * torch.pi / 4
    x0 = torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * torch.randn(n, 2, generator=g)
    return x0, label, torch.randn(n, 2, generator=g)


def test_the_noise_given_the_label_is_standard_normal():
    """Of every coupling; one across labels gives each of eight Gaussians the noise on its side."""

    def cases(coupling):
        batches = [labelled(256, seed) for seed in range(100)]
        eps = torch.cat([coupling(lambda x0=x0: x0, eps, lambda y=y: y) for x0, y, eps in batches])
        label = torch.cat([label for _, label, _ in batches])
        for k in range(8):
            mine = eps[label == k]
            n = len(mine)
            yield close(f"{coupling}: mean given label {k}", mine.mean(0), torch.zeros(2), atol=4 / n**0.5)
            yield close(f"{coupling}: std given label {k}", mine.std(0), torch.ones(2), atol=4 / (2 * n) ** 0.5)

    assert_law(case for coupling in every("coupling").values() for case in cases(coupling))
    shifts = [case.error for case in cases(OptimalTransport(classes=0)) if "mean" in case.case]
    assert min(shifts) > 0.5, "across labels the noise is that of the label's side"


def test_no_assignment_within_labels_is_better():
    """Against every permutation that keeps the labels; across labels, or with one label alone, against all."""

    def cases():
        for seed in range(5):
            x0, eps = pairs(6, 3, seed=seed)
            label = torch.tensor([0, 1, 1, 0, 1, 2])
            orders = [list(order) for order in itertools.permutations(range(6))]
            within = min(cost(x0, eps[order]) for order in orders if torch.equal(label[order], label))
            best = min(cost(x0, eps[order]) for order in orders)
            for coupling, y, least in [
                (OptimalTransport(), label, within),
                (OptimalTransport(classes=3), label, within),
                (OptimalTransport(classes=0), label, best),
                (OptimalTransport(), torch.zeros(6), best),
            ]:
                found = cost(x0, coupling(lambda x0=x0: x0, eps, lambda y=y: y))
                yield Worst(f"{coupling} of {y.tolist()}, seed={seed}", abs(found - least), 1e-6 * least)

    assert_law(cases())


def test_on_a_line_the_smallest_noise_goes_to_the_smallest_sample():
    x0, eps = pairs(100, 1)
    coupled = OptimalTransport()(lambda: x0, eps)
    assert torch.equal(coupled[x0[:, 0].argsort()], eps.sort(0).values)
