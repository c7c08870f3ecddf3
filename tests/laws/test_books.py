"""Books whose entries are data: what they look up, before and after they are filled, and what they refuse."""

import copy

import pytest
import torch
import torch.nn.functional as F

from difflab.backbone import Images, TextTransformer, Tokens, Vectors
from helpers.books import CAPTIONS, CONTEXT, EMPTY, normal
from helpers.networks import randomised

FEATURES = 8


def books(classes=3):
    """A book of each kind, with rows that fill it."""
    torch.manual_seed(0)
    return [
        (Tokens(classes, FEATURES, width=16, depth=2, heads=2, vocabulary=12, context=CONTEXT), CAPTIONS),
        (Vectors(classes, FEATURES, dimensions=2), normal(3, 2)),
        (Images(classes, FEATURES, channels=2), normal(3, 2, 4, 4)),
    ]


def parts(entry):
    return [part for part in entry if part is not None]


def equal(a, b):
    return all(torch.equal(*pair) for pair in zip(parts(a), parts(b), strict=True))


def test_every_label_means_the_null_entry_until_the_book_is_filled():
    for book, rows in books(classes=5):
        with torch.no_grad():
            null = book(torch.tensor([5, 5, 5, 5]))
            assert not book.filled
            assert book.classes == 5
            assert equal(book(torch.tensor([0, 4, 2, 5])), null)
            book.fill(rows)
            assert book.filled
            assert book.classes == 3
            label = torch.tensor([3, 0, 1, 2])
            entry = book(label)
            for found, own in zip(parts(entry), parts(null), strict=True):
                assert torch.equal(found[:1], own[:1].expand_as(found[:1])), "index `classes` is the null label"
                differ = [not torch.equal(found[i], found[j]) for i in range(4) for j in range(i)]
                assert all(differ) or found.dtype == torch.bool
            assert equal(copy.deepcopy(book)(label), entry)
            assert not [key for key in book.state_dict() if "rows" in key], "the entries are no part of the weights"
            with pytest.raises(IndexError):
                book(torch.tensor([4]))


def test_an_entry_depends_on_its_own_row_and_a_negative_prompt_takes_the_place_of_the_null_entry():
    for book, rows in books():
        with torch.no_grad():
            book.fill(rows)
            before = book(torch.tensor([0, 1, 2]))
            own_null = book(torch.tensor([3]))
            book.fill(rows[[2]], null=rows[1])
            assert book.classes == 1
            now = book(torch.tensor([0, 1]))
            for a, b in zip(parts(now), parts(before), strict=True):
                torch.testing.assert_close(a, b[[2, 1]])
            book.fill(rows)
            torch.testing.assert_close(parts(book(torch.tensor([3]))), parts(own_null))


def test_the_vectors_of_tokens_are_the_end_of_text_state_and_the_mask_ends_there():
    (book, _), *_ = books()
    book.fill(CAPTIONS)
    with torch.no_grad():
        vector, tokens, mask, _ = book(torch.tensor([0, 1, 2, 3]))
    ends = torch.tensor([3, 2, 5, 1])
    assert torch.equal(mask.sum(1) - 1, ends)
    assert torch.equal(mask, torch.arange(CONTEXT) <= ends[:, None])
    torch.testing.assert_close(vector, book.project(tokens[torch.arange(4), ends]))
    assert torch.equal(book.rows[3], EMPTY)
    torch.testing.assert_close(book.read(CAPTIONS).tokens, tokens[:3])


def test_padding_and_what_follows_change_no_state_of_a_text():
    net = randomised(TextTransformer(12, 10, width=16, depth=3, heads=2)).double()
    ids = torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]])
    with torch.no_grad():
        sequence, pooled = net(ids)
        for other in (F.pad(ids, (0, 6)), F.pad(ids, (0, 3), value=7)):
            longer, same = net(other)
            torch.testing.assert_close(longer[:, :4], sequence, rtol=0, atol=1e-12)
            torch.testing.assert_close(same, pooled, rtol=0, atol=1e-12)
        alone, end = net(ids[1:, :3])
    torch.testing.assert_close(alone, sequence[1:, :3], rtol=0, atol=1e-12)
    torch.testing.assert_close(end, pooled[1:], rtol=0, atol=1e-12)


def test_vectors_are_a_perceptron_of_the_row_and_the_null_vector_is_learned():
    _, (book, rows), _ = books()
    book.fill(rows)
    first, _, last = book.project
    expected = last(F.silu(first(rows[[2, 0]])))
    vector = book(torch.tensor([2, 3, 0])).vector
    torch.testing.assert_close(vector[[0, 2]], expected)
    assert torch.equal(vector[1], book.null)
    vector[1].sum().backward()
    assert torch.equal(book.null.grad, torch.ones(FEATURES))


def test_rows_of_another_kind_are_refused(subtests):
    (tokens, _), (vectors, _), (images, _) = books()
    for book, rows, message in [
        (tokens, CAPTIONS[:, :4], r"captions are 6 integer ids each \(book.context\), not \[4\]"),
        (tokens, CAPTIONS.float(), "captions are 6 integer ids"),
        (tokens, CAPTIONS + 4, r"lie in 0..11 \(book.vocabulary\), not up to 13"),
        (tokens, CAPTIONS.clamp(max=1), "each caption must have the end-of-text id 2"),
        (tokens, CAPTIONS[:0], "one entry or more"),
        (vectors, normal(3, 5), r"conditions are 2 finite floats each \(book.dimensions\), not \[5\]"),
        (vectors, normal(3, 2) / 0, "finite floats"),
        (images, normal(3, 1, 4, 4), r"float images of 2 channels \(book.channels\), not \[1, 4, 4\]"),
        (images, CAPTIONS, "float images"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            book.fill(rows)
    with pytest.raises(ValueError, match=r"null entry has the shape \[3\], the others \[2\]"):
        vectors.fill(normal(3, 2), null=normal(3))
    assert not any(book.filled for book in (tokens, vectors, images))
