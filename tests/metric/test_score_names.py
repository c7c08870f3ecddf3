"""The direction and the title of each score."""

import pytest

from difflab.metric import higher_is_better, title
from difflab.metric.dinov2 import DINOv2
from difflab.metric.direction import declare_score, scored
from difflab.metric.features import EfficientNetLite0
from difflab.metric.inception import Inception
from difflab.metric.points import Points


def test_every_score_has_a_direction_and_a_title(subtests):
    for extractor in [EfficientNetLite0, Inception, Points, DINOv2]:
        with subtests.test(extractor.__name__):
            for name in (name for score in extractor.scores for name in score.names):
                better = name.startswith(("precision", "recall", "density", "coverage"))
                for key in (name, f"{name}_floor", f"{name}_vs_train", f"{name}_vs_train_floor"):
                    assert higher_is_better(key) == better
                assert title(f"{name}_vs_train_floor") != title(name)


def test_other_scores_have_one_too_and_counts_have_none():
    assert [
        key
        for key in ("copies", "nn_gap", "bits_per_dim", "class_accuracy", "is_classifier", "kid_floor")
        if higher_is_better(key)
    ] == ["nn_gap", "class_accuracy", "is_classifier"]
    assert title("precision_dinov2_vs_train_floor") == "Precision (DINOv2, train, floor)"
    for key in ("n", "n_floor", "fd_", "precision_lite1", "bits_per_dim_se", "fd_lite0_vs_all"):
        with pytest.raises(ValueError, match=f"{key} is no score"):
            higher_is_better(key)


def test_numbers_beside_a_score_are_known_by_the_end_of_their_names():
    for name in ("fd_lite0", "bits_per_dim_bound", "precision_lite0_vs_train"):
        assert scored(name) == name
        for suffix in ("floor", "se", "reconstruction"):
            assert scored(f"{name}_{suffix}") == name


def test_names_that_would_be_read_as_another_number_are_refused():
    for name in ("sharpness_classifier", "sharpness_floor", "mode_se", "gap_vs_train", "n_modes", "n", "a b"):
        with pytest.raises(ValueError, match=f"the score {name} would be read as another number"):
            declare_score(name, "A score", higher_is_better=True)
