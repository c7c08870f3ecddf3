"""What a classifier says of generated samples."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from torch import nn
from torchmetrics.image.inception import InceptionScore

from difflab import metric
from difflab.metric.classes import class_accuracy, inception_score, inception_score_at


def log_probs(n, classes, seed=0, scale=2.0):
    return (scale * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))).log_softmax(1)


def test_the_score_is_that_of_torchmetrics():
    logits = log_probs(200, 7)
    with torch.random.fork_rng():  # it shuffles by the global generator
        metric = InceptionScore(feature=nn.Identity(), splits=1)
        metric.update(logits)
        assert inception_score(logits) == pytest.approx(float(metric.compute()[0]), rel=1e-5)


def test_the_score_counts_the_classes_that_are_found_for_sure(subtests):
    for classes in [2, 10]:
        with subtests.test(f"{classes} classes"):
            sure = torch.eye(classes, dtype=torch.float64).log().repeat(5, 1)  # probabilities of exactly 0
            assert inception_score(sure) == pytest.approx(classes, rel=1e-12)
            assert inception_score(sure[::classes]) == pytest.approx(1, rel=1e-12)
            assert inception_score(torch.full((9, classes), -math.log(classes))) == pytest.approx(1, abs=1e-6)


def test_the_score_of_confident_networks_is_finite():
    assert 1 < inception_score(log_probs(50, 10, scale=1e4)) <= 10


def test_accuracy_is_that_of_sklearn():
    told, asked = log_probs(300, 5), torch.randint(5, (300,), generator=torch.Generator().manual_seed(1))
    assert class_accuracy(told, asked) == accuracy_score(asked, told.argmax(1))


def test_refuses_what_are_no_log_probabilities():
    with pytest.raises(ValueError, match="do not sum to 1"):
        inception_score(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match=r"\(n, C\)"):
        inception_score(torch.zeros(3))
    with pytest.raises(ValueError, match="one label"):
        class_accuracy(log_probs(5, 3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"\(n, 10\), not \(5, 1\)"):
        metric.InceptionScore(10).update(torch.zeros(5, 1))
    with pytest.raises(ValueError, match="no samples yet"):
        metric.InceptionScore(10).compute()


def test_the_score_of_more_samples_is_extrapolated_from_few():
    """Of 4,000 from 100: what that many get in the mean."""
    draws = torch.distributions.Dirichlet(torch.full((10,), 0.3, dtype=torch.float64))
    torch.manual_seed(0)
    truth = np.mean([inception_score(draws.sample((4000,)).log()) for _ in range(40)])
    few = [draws.sample((100,)).log() for _ in range(300)]
    found = [inception_score_at(each, 4000) for each in few]
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found) - truth) < 3 * error
    assert truth - np.mean([inception_score(each) for each in few]) > 5 * error
    assert inception_score_at(few[0], 100) == pytest.approx(inception_score(few[0]))
    sure = torch.eye(10).repeat(2, 1)[:12].mul(40).log_softmax(1)  # of few samples the halves find fewer classes
    assert inception_score_at(sure, 1000) <= 10
