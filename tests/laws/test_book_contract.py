"""What a label looks up: the table of classes, and any other book of vectors in its place."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from difflab.backbone.book import Classes, Entry
from difflab.backbone.embedding import Condition
from helpers.networks import BACKBONES, WITH_TEXT, fitting

CLASSES, FEATURES = 3, 8


class Vectors(nn.Module):
    """A book of fixed float vectors, as spectra are, projected; the null label has a learned one."""

    width, channels = 0, 0

    def __init__(self, vectors, features):
        super().__init__()
        self.classes, self.features = len(vectors), features
        self.register_buffer("vectors", vectors)
        self.project = nn.Linear(vectors.shape[1], features)
        self.null = nn.Parameter(torch.zeros(features))

    def forward(self, label):
        known = self.project(self.vectors[label.clamp(max=self.classes - 1)])
        return Entry(torch.where((label < self.classes)[:, None], known, self.null))


class Captions(nn.Module):
    """A book of token sequences."""

    features, width, channels = 0, 16, 0

    def __init__(self, classes, features):
        super().__init__()
        self.classes, self.tokens = classes, nn.Parameter(torch.zeros(classes + 1, 5, self.width))

    def forward(self, label):
        return Entry(tokens=self.tokens[label])


def test_the_table_of_classes_is_torchs_embedding():
    torch.manual_seed(0)
    theirs = nn.Embedding(CLASSES + 1, FEATURES)
    torch.manual_seed(0)
    ours, label = Classes(CLASSES, FEATURES), torch.tensor([0, CLASSES, 1, 1])
    assert torch.equal(ours(label).vector, theirs(label)), "the initial weights of a seed are those of version 0.1"
    ours.load_state_dict({"weight": theirs.weight + 1})
    assert torch.equal(ours(label).vector, theirs(label) + 1)
    assert ours(label)[1:] == (None, None, None)


def test_the_table_has_the_key_that_it_had_in_version_0_1(subtests):
    for option in (option for option in BACKBONES if option not in WITH_TEXT):
        with subtests.test(option):
            net = fitting(option, classes=CLASSES)
            features = net.condition.linear2.out_features
            assert net.state_dict()["condition.table.weight"].shape == (CLASSES + 1, features)
            assert not [key for key in fitting(option, classes=0).state_dict() if "table" in key]


def test_another_book_of_vectors_takes_the_place_of_the_table():
    vectors = torch.randn(CLASSES, 5, generator=torch.Generator().manual_seed(0))
    condition = Condition(4, FEATURES, CLASSES, lambda classes, features: Vectors(vectors[:classes], features))
    code, label = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2, 0, CLASSES])
    plain = Condition(4, FEATURES, 0)
    plain.load_state_dict({k: v for k, v in condition.state_dict().items() if not k.startswith("table")})
    embedding = plain.linear2(F.silu(plain.linear1(torch.stack([*sines(code)], 1))))
    table = condition.table
    added = torch.stack([table.project(vectors[2]), table.project(vectors[0]), table.null])
    torch.testing.assert_close(condition(code, label), F.silu(embedding + added))
    torch.testing.assert_close(plain(code, label), F.silu(embedding))


def sines(code):
    """The sinusoid of width 4: sines and cosines at the frequencies 1 and 1e-4."""
    return code.sin(), (1e-4 * code).sin(), code.cos(), (1e-4 * code).cos()


def test_a_book_with_parts_that_no_layer_reads_is_refused():
    with pytest.raises(ValueError, match=r"reads vectors of 8 features from its book: Captions .* tokens of width 16"):
        Condition(4, FEATURES, CLASSES, Captions)
    with pytest.raises(ValueError, match=r"reads vectors of 8 features .* vectors of 6"):
        Condition(4, FEATURES, CLASSES, lambda classes, features: Classes(classes, features - 2))
