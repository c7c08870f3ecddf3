"""Captions: words, ids, forms that are drawn, and what is said of texts that do not fit."""

import pytest
import torch

from difflab.data import Captions, DataModule, Emoji, Words
from difflab.data.words import END, FIRST, PADDING, START, Vocabulary, words_of

TEXTS = ["A red car, noto style", "the cat", "a cat", "rock'n'roll 3rd-place côte d’ivoire"]


def test_words_keep_letters_digits_apostrophes_and_hyphens_of_any_script():
    assert words_of("A red car, noto-style!") == ["a", "red", "car", "noto-style"]
    assert words_of("Côte d’Ivoire: 3rd_place 愛 — rock'n'roll") == [
        "côte", "d’ivoire", "3rd", "place", "愛", "rock'n'roll",
    ]  # fmt: skip
    assert words_of(" ,;!") == []


def test_ids_are_start_words_end_and_padding():
    vocabulary = Words(vocabulary=100, context=8)(TEXTS)
    ids = vocabulary(["the CAT", "", "cat unicorn"])
    cat, the = vocabulary.ids["cat"], vocabulary.ids["the"]
    assert ids.tolist() == [
        [START, the, cat, END, *[PADDING] * 4],
        [START, END, *[PADDING] * 6],
        [START, cat, END, *[PADDING] * 5],
    ]
    assert sorted(vocabulary.ids.values()) == [*range(FIRST, len(vocabulary))]
    assert vocabulary.new("a unicorn, unicorn and cat") == ["unicorn", "and"]


def test_the_most_frequent_words_are_kept_and_of_equal_ones_the_first_by_alphabet():
    assert Words(vocabulary=FIRST + 2)(["b b c a", "d"]).words == ("a", "b")
    assert Words(vocabulary=FIRST + 9)(["b b c a", "d"]).words == ("a", "b", "c", "d")


def test_a_longer_text_is_cut_and_what_is_left_is_known():
    vocabulary = Vocabulary(("a", "b", "c", "d"), context=4)
    assert vocabulary(["a b c d"]).tolist() == [[START, FIRST, FIRST + 1, END]]
    cut = vocabulary.cut("a b c d")
    assert (cut.read, cut.left, str(cut)) == (["a", "b"], ["c", "d"], '"a b c d" is cut after "b"')
    assert vocabulary.cut("a b") is None
    assert vocabulary.cut("a b x y z") is None, "words that are left out take no place"


def test_refusals():
    with pytest.raises(ValueError, match="the captions hold no words"):
        Words()([" ", "--"])
    with pytest.raises(ValueError, match=r"context=2: .* 3 is the least"):
        Words(context=2)(TEXTS)
    with pytest.raises(ValueError, match="4 texts are no whole number of captions in 3 forms"):
        Captions(TEXTS, forms=3)
    with pytest.raises(ValueError, match=r"concepts of shape \(2,\) for 4 texts"):
        Captions(TEXTS, concepts=torch.zeros(2))


@pytest.fixture(scope="module")
def emoji():
    return DataModule(Emoji("caption"), [3, 32, 32], 16848, 0.6, 64, words=Words(), max_distance=86)


def test_captions_of_emoji_say_what_their_images_show(emoji):
    images, drawings = emoji.images, [Emoji().drawings(held_out) for held_out in (False, True)]
    for split, known in zip((images.train, images.test), drawings, strict=True):
        assert [images.names[k] for k in split.y.tolist()] == [drawing.prompt for drawing in known]
        forms = [images.names[k + 1 : k + 3] for k in split.y.tolist()]
        assert forms == [drawing.prompts[1:] for drawing in known]
        styles = [images.lookup.prompts[kind] for kind in images.lookup.kinds[split.y].tolist()]
        assert styles == [f"{drawing.style} style" for drawing in known]
    concepts = images.lookup.concepts
    assert len({*concepts[images.train.y].tolist()} & {*concepts[images.test.y].tolist()}) == 0, "whole concepts"
    assert not [text for text in images.names if "  " in text or " ," in text]


def test_the_vocabulary_is_that_of_the_training_captions(emoji):
    texts = [text for drawing in Emoji().drawings() for text in drawing.prompts]
    assert {*emoji.vocabulary.words} == {word for text in texts for word in words_of(text)}
    assert not [text for text in emoji.images.names if emoji.vocabulary.cut(text)], "the context holds all"
    assert emoji.rows.shape == (len(emoji.images.names), 24)


def test_a_form_is_drawn_by_seed_and_step_in_training_alone(emoji):
    loader = emoji.train_dataloader()
    batches = [next(iter(loader)) for _ in range(2)]
    assert torch.equal(batches[0].y, batches[1].y), "the same step draws the same"
    forms = torch.cat([batch.y for batch in loader]) % 3
    shares = forms.bincount() / len(forms)
    assert (shares - 1 / 3).abs().max() < 4 * (2 / 9 / len(forms)) ** 0.5
    assert torch.equal(torch.cat([batch.y for batch in emoji.val_dataloader()]), emoji.images.test.y)


def test_other_texts_are_other_content(emoji):
    captions = emoji.images.lookup
    other = Captions([captions.texts[0] + "!", *captions.texts[1:]], captions.forms, captions.concepts)
    from dataclasses import replace

    assert emoji.images.lookup_sha256 != replace(emoji.images, lookup=other).lookup_sha256
    assert Emoji("style").load().lookup_sha256 is None
