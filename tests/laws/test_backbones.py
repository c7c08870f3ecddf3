"""Backbones: the laws, for every option of conf/backbone that generates."""

import functools

import pytest

from difflab.laws import backbones as laws
from helpers.laws import assert_law
from helpers.networks import BACKBONES, IMAGE, POINT, WITH_TEXT, fitting, narrow


@functools.cache
def networks(**changes):
    """Every option as a small network, built once: the laws change none."""
    return [fitting(option, **changes) for option in BACKBONES]


def test_every_backbone(subtests):
    for law in laws.LAWS:
        with subtests.test(law.__name__):
            assert_law(law(net) for net in networks())


def test_a_learned_variance_doubles_the_channels():
    some = (laws.output_is_like_the_input, laws.output_is_zero_at_initialisation)
    assert_law(law(net) for net in networks(learned_variance=True) for law in some)
    assert all(net.learned_variance for net in networks(learned_variance=True))
    assert not any(net.learned_variance for net in networks())
    assert {net.classes for net in networks()} == {3}


def test_without_classes_labels_are_ignored():
    nets = [fitting(option, classes=0) for option in BACKBONES if option not in WITH_TEXT]
    assert_law(laws.labels_differ(net) for net in nets)
    assert {net.classes for net in nets} == {0}
    for option in WITH_TEXT:
        with pytest.raises(ValueError, match="attends to tokens, and classes=0 has none: choose book=tokens"):
            narrow(option, IMAGE, classes=0)


def test_a_shape_of_the_other_kind_is_refused_with_the_backbones_that_take_it():
    for option, net in zip(BACKBONES, networks(), strict=True):
        wrong, other = (IMAGE, "point") if len(net.shape) == 1 else (POINT, "image")
        with pytest.raises(ValueError, match=rf"not an? {other}: choose backbone=") as refusal:
            narrow(option, wrong)
        for choice in str(refusal.value).partition("backbone=")[2].split(" or "):
            assert narrow(choice, wrong).shape == tuple(wrong), option
