"""How a test states a law: over all its cases, reporting the worst one by name."""

from difflab.laws import Worst, worst


def assert_law(cases):
    """Fail with the name, error and tolerance of the worst case, if that does not hold; also without any case."""
    law = worst(cases)
    assert law.holds, str(law)


def mean_between(case, values, low, high):
    """The mean of random values lies in [low, high], within four standard errors."""
    mean = values.mean().item()
    return Worst(case, max(low - mean, mean - high, 0.0), 4 * values.std().item() / len(values) ** 0.5)
