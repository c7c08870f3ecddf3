"""A new meaning of labels is one object: a book of one's own is filled, prompted and held to the laws as ours are."""

import math

import pytest
import torch
from torch import nn

from difflab.backbone import MLP, DataBook, Entry, Images, Tokens, UNet, Vectors
from difflab.backbone.text import END, START
from difflab.denoiser import Denoiser
from difflab.experiment.model.conditions import Prompts, Texts
from difflab.laws import backbones as laws
from difflab.process import VP, Eps
from helpers.laws import assert_law


class Angles(DataBook):
    """Angles, of which the network sees cosine and sine: prompts state degrees, rows hold radians."""

    def __init__(self, classes, features):
        super().__init__(classes, torch.zeros(1))
        self.features = features
        self.project = nn.Linear(2, features)
        self.null = nn.Parameter(torch.randn(features))

    def check(self, rows):
        if rows.shape[1:] != (1,) or not rows.is_floating_point():
            raise ValueError("angles are one float each")

    def prompted(self, texts, reader):
        return torch.tensor([[math.radians(float(text.removesuffix("°")))] for text in texts])

    def example(self, shape, g):
        return 2 * math.pi * torch.rand(self.classes, 1, generator=g)

    def forward(self, label):
        angle = self.looked_up(label)
        known = self.project(torch.cat([angle.cos(), angle.sin()], 1))
        return Entry(torch.where(self.unconditional(label)[:, None], self.null, known))


class Silent(Angles):
    """The same, which prompts cannot state."""

    prompted = DataBook.prompted


def test_an_own_book_is_held_to_every_law_of_networks():
    image = UNet([1, 8, 8], 3, width=32, multipliers=[1, 2], attention=[], book=Angles)
    for net in (MLP([2], 3, width=32, book=Angles), image):
        assert_law(law(net) for law in laws.LAWS)
        (book,) = (each for each in laws.filled(net).modules() if isinstance(each, Angles))
        assert book.filled


def test_prompts_fill_an_own_book():
    torch.manual_seed(0)
    denoiser = Denoiser(MLP([2], 3, width=32, book=Angles), VP(), Eps())
    Prompts(["0", "90°", "450"], negative="180").fill(denoiser, {}, "mine")
    assert denoiser.classes == 3
    entry = denoiser.backbone.condition.table(torch.arange(4)).vector
    weight, bias = denoiser.backbone.condition.table.project.parameters()
    for k, (x, y) in enumerate([(1, 0), (0, 1), (0, 1), (-1, 0)]):
        torch.testing.assert_close(entry[k], x * weight[:, 0] + y * weight[:, 1] + bias, rtol=0, atol=1e-5)
    denoiser = Denoiser(MLP([2], 3, width=32, book=Silent), VP(), Eps())
    with pytest.raises(ValueError, match="prompts=: mine reads its conditions by Silent, which has none"):
        Prompts(["90"]).fill(denoiser, {}, "mine")


def test_examples_of_our_books_are_rows_of_their_kind():
    g = torch.Generator().manual_seed(0)
    for book in (Tokens(5, 8, width=16, heads=2, vocabulary=12, context=6), Vectors(5, 8, 3), Images(5, 8, 2)):
        rows = book.example((1, 8, 8), g)
        book.check(rows)
        assert len({tuple(row.flatten().tolist()) for row in rows}) == 5
    ids = Tokens(5, 8, width=16, heads=2, vocabulary=12, context=6).example((2,), g)
    assert (ids[:, 0] == START).all()
    assert {row.tolist().index(END) for row in ids} == {2, 3, 4, 5}


def test_texts_that_our_books_cannot_read_are_refused(tmp_path, subtests):
    reader = Texts("a run", {}, (1, 8, 8))
    (tmp_path / "a.png").write_text("")
    for book, text, said in (
        (Tokens(1, 8, width=16, heads=2), "a red car", "a run keeps no vocabulary"),
        (Vectors(1, 8, 2), "0.2", "'0.2' should be 2 numbers, with blanks between them"),
        (Vectors(1, 8, 2), "0.2 red", r"conditioned on numbers, and .*'red': write prompts=\[0.2,0.8\]"),
        (Images(1, 8, 1), str(tmp_path / "a.png"), "conditioned on images, and .*a.png is no image file"),
    ):
        with subtests.test(said), pytest.raises(ValueError, match=said):
            book.prompted([text], reader)
    assert torch.equal(Vectors(1, 8, 2).prompted(["0.25 -1", "2 3"], reader), torch.tensor([[0.25, -1], [2, 3]]))
