"""Networks that read books: images beside the sample, attention to tokens, the number of classes, what does not fit."""

import copy

import pytest
import torch
import torch.nn.functional as F

from difflab.backbone import MLP, DiT, Images, MMDiT, TextTransformer, Tokens, UNet, Vectors
from difflab.backbone.book import beside
from difflab.experiment.parts.build import build
from difflab.experiment.parts.identity import identity
from difflab.laws.backbones import inputs
from helpers.books import CAPTIONS, CONTEXT, EMPTY, normal
from helpers.captions import Ready
from helpers.conf import composed, settings
from helpers.networks import perturbed, randomised


def test_images_stand_behind_the_channels_of_the_sample(subtests):
    shape, rows, label = (2, 8, 8), normal(3, 3, 8, 8), torch.tensor([0, 3, 2, 1])
    kinds = {
        "unet": lambda book, channels: UNet((channels, 8, 8), 3, 16, (1, 2), 1, (4,), None, book=book),
        "dit": lambda book, channels: DiT((channels, 8, 8), 3, width=32, depth=1, book=book),
    }
    for name, make in kinds.items():
        with subtests.test(name):
            torch.manual_seed(0)
            net = make(lambda classes, features: Images(classes, features, channels=3), 2)
            assert tuple(net.shape) == shape
            x, code, _ = inputs(shape)
            net, whole = perturbed(net), randomised(make(Vectors, 5))
            moved = {k: v for k, v in net.state_dict().items() if v.shape == whole.state_dict()[k].shape}
            whole.load_state_dict(moved, strict=False)  # all but the last layer, which has more outputs
            for key, own in net.state_dict().items():
                if key not in moved:
                    whole.state_dict()[key][: len(own)] = own
            net.condition.table.fill(rows)
            with torch.no_grad():
                out = net(x, code, label)
                joined = torch.cat([x, F.pad(rows, (0, 0) * 3 + (0, 1))[label]], 1)
                torch.nn.init.zeros_(whole.condition.table.null)
                torch.testing.assert_close(out, whole(joined, code, label)[:, :2])
    with pytest.raises(ValueError, match=r"images of the book have \[4, 4\] pixels, the samples \[8, 8\]"):
        beside(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4))


def readers(book):
    """Networks that attend to the tokens of a book."""
    yield UNet((1, 8, 8), 3, 16, (1, 2), 1, (), 8, book=book, cross=(8, 4))
    yield MMDiT((1, 8, 8), 3, 32, 2, 2, qk_norm=True, book=book)


def test_attention_with_a_mask_is_attention_to_the_shorter_sequence():
    """And what stands behind the mask changes nothing, in both ways in which attention is computed."""
    tokens = normal(4, 7, 12).double()
    x, code, label = inputs((1, 8, 8), dtype=torch.float64)
    short = [randomised(net).double() for net in readers(lambda *_: Ready(tokens[:, :3]))]
    other = torch.cat([tokens[:, :3], 100 * normal(4, 4, 12, seed=1)], 1)
    for padded in (tokens, other):
        mask = torch.arange(7).expand(4, 7) < 3
        long = [randomised(net).double() for net in readers(lambda *_: Ready(padded, mask=mask))]  # noqa: B023
        for a, b in zip(short, long, strict=True):
            for grad in (False, True):
                with torch.set_grad_enabled(grad):
                    torch.testing.assert_close(b(x, code, label), a(x, code, label), rtol=0, atol=1e-11)


def test_a_longer_context_changes_nothing():
    x, code, label = inputs((1, 8, 8), dtype=torch.float64)

    def nets(context):
        made = [*readers(lambda *sizes: Tokens(*sizes, 16, 2, 2, vocabulary=12, context=context))]
        for net in made:
            net.condition.table.fill(F.pad(CAPTIONS, (0, context - CONTEXT)))
        return [randomised(net).double() for net in made]

    for short, long in zip(nets(CONTEXT), nets(2 * CONTEXT), strict=True):
        state, name = short.state_dict(), "condition.table.encoder.positions.weight"
        long.load_state_dict(state | {name: torch.cat([state[name], normal(CONTEXT, 16).double()])})
        with torch.no_grad():
            out = short(x, code, label)
            assert out.std() > 0.1
            torch.testing.assert_close(long(x, code, label), out, rtol=0, atol=1e-11)


def test_dropped_labels_and_empty_captions_are_the_unconditional_network():
    x, code, label = inputs((1, 8, 8), dtype=torch.float64)
    for net in readers(lambda *sizes: Tokens(*sizes, 16, 2, 2, vocabulary=12, context=CONTEXT)):
        net = randomised(net).double()
        with torch.no_grad():
            unfilled = net(x, code, label)
            net.condition.table.fill(CAPTIONS)
            assert not torch.allclose(net(x, code, label), unfilled)
            torch.testing.assert_close(net(x, code, torch.full_like(label, 3)), unfilled, rtol=0, atol=1e-11)
            net.condition.table.fill(EMPTY.expand(3, -1))
            torch.testing.assert_close(net(x, code, label), unfilled, rtol=0, atol=1e-11)


def test_the_number_of_classes_of_a_network_is_that_of_its_book():
    net = MLP((2,), 7, width=16, book=Vectors)
    assert net.classes == 7
    net.condition.table.fill(normal(4, 1))
    assert net.classes == copy.deepcopy(net).classes == 4
    assert MLP((2,), 0, width=16, book=Vectors).classes == 0


def test_settings_that_do_not_fit_say_so(subtests):
    for make, message in [
        (lambda: TextTransformer(12, 6, width=10, heads=4), "width=10 .* multiple of heads=4"),
        (lambda: TextTransformer(3, 6), "vocabulary=3 has no words"),
        (lambda: Tokens(3, 8, context=1), "context=1 has no room"),
        (lambda: MLP((2,), 3, book=Tokens), "this backbone reads vectors of 128 features from its book: Tokens"),
        (lambda: MLP((2,), 3, book=Images), "Images has .* images of 1 channels; .* unet, dit or mmdit"),
        (
            lambda: MMDiT((1, 8, 8), 3),
            "attends to tokens, and Classes has none: choose book=tokens and data with captions",
        ),
        (lambda: UNet((1, 8, 8), 3, attention=(), book=Tokens), "tokens need backbone=mmdit, or unet with"),
        (lambda: DiT((1, 8, 8), 3, book=Tokens), "tokens need backbone=mmdit, or unet with backbone.cross"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            make()


def test_a_book_is_chosen_by_its_name_and_the_table_of_classes_is_no_part_of_what_a_run_is():
    for option, book in (("vectors", Vectors), ("images", Images)):
        words = ["data=digits", "backbone=dit", f"book={option}", "backbone.depth=1"]
        assert isinstance(build(composed(*words)["backbone"]).condition.table, book)
    node = settings("backbone", "unet")
    assert node["book"] == {"_target_": "difflab.backbone.Classes", "_partial_": True}
    assert identity(node) == identity({key: value for key, value in node.items() if key != "book"})
    vectors = identity({**node, "book": {"_target_": "difflab.backbone.Vectors", "_partial_": True}})
    assert vectors == {**identity(node), "book": {"class": "backbone:Vectors", "dimensions": 1}}
    with pytest.raises(ValueError, match="'dimension' is not a key of book"):
        build({**node, "book": {"_target_": "difflab.backbone.Vectors", "_partial_": True, "dimension": 2}})
