"""The contrastive loss: bounds, what is no contrast, parity with CLIP, towers, retrieval."""

import math

import pytest
import torch
import torch.nn.functional as F

from difflab.backbone import Classes, HalfUNet, Tokens, UNet
from difflab.data.words import Vocabulary
from difflab.denoiser import Contrast
from difflab.objective.contrast import info_nce
from difflab.objective.draws import Noised
from difflab.paradigm import Contrastive, Optimisation, Retrieval

SHAPE, DIMENSIONS, CONTEXT = (3, 16, 16), 8, 6
VOCABULARY = Vocabulary(("car", "cat", "green", "red"), CONTEXT)
TEXTS = ("red car", "green car", "red cat", "cat")


def contrast():
    torch.manual_seed(0)
    backbone = HalfUNet(SHAPE, DIMENSIONS, width=16, multipliers=(1, 2), blocks=1, attention=(), head_channels=None)

    def book(classes, features):
        return Tokens(classes, features, width=16, depth=1, heads=2, vocabulary=len(VOCABULARY), context=CONTEXT)

    module = Contrast(backbone, book, len(TEXTS))
    module.book.fill(VOCABULARY(TEXTS))
    return module.double()


def pairs(n, rho, seed=0):
    """Correlated standard normal numbers, and the vectors whose product is log p(y | x) / p(y)."""
    g = torch.Generator().manual_seed(seed)
    x, z = torch.randn(2, n, generator=g, dtype=torch.float64)
    y, var = rho * x + math.sqrt(1 - rho**2) * z, 1 - rho**2
    one, root = torch.ones_like(x), math.sqrt
    # -1/2 ln var - (y - rho x)^2 / (2 var) + y^2 / 2, bilinear in (1, x, x^2) and (1, y, y^2)
    left = torch.stack([one, one, rho / var * x, -(rho**2) / (2 * var) * x**2], 1)
    right = torch.stack([-root(1) * math.log(var) / 2 * one, -(rho**2) / (2 * var) * y**2, y, one], 1)
    return left, right


def test_the_exact_critic_bounds_the_information_and_nears_it_where_it_is_far_below_ln_n():
    for rho, n in ((0.5, 64), (0.9, 64), (0.99, 8), (0.9, 512)):
        information, losses = -0.5 * math.log(1 - rho**2), []
        for seed in range(40):
            a, b = pairs(n, rho, seed)
            losses.append(info_nce(a, b, torch.arange(n), torch.zeros(n, n, dtype=torch.bool), torch.tensor(1.0)))
        found = math.log(n) - torch.cat(losses).mean().item()
        noise = 4 * torch.stack([each.mean() for each in losses]).std().item() / math.sqrt(40)
        assert found <= min(information, math.log(n)) + noise, (rho, n)
        if n >= 64 and rho <= 0.9:
            assert found >= 0.9 * information - noise, (rho, n)


def test_alike_pairs_are_left_out_and_the_partner_never():
    g = torch.Generator().manual_seed(0)
    a, b = (F.normalize(torch.randn(5, 3, generator=g, dtype=torch.float64), dim=1) for _ in range(2))
    concept = torch.tensor([0, 1, 0, 2, 1])
    alike = concept[:, None] == concept
    losses = info_nce(a, b, torch.arange(5), alike, torch.tensor(3.0))
    for i in range(5):
        kept = [i, *(j for j in range(5) if concept[j] != concept[i])]
        alone = info_nce(
            a[[i]], b[kept], torch.tensor([0]), torch.zeros(1, len(kept), dtype=torch.bool), torch.tensor(3.0)
        )
        torch.testing.assert_close(losses[i], alone[0])


def test_the_loss_is_that_of_transformers_clip_on_the_same_features():
    clip = pytest.importorskip("transformers.models.clip.modeling_clip")
    g = torch.Generator().manual_seed(0)
    a, b = (F.normalize(torch.randn(32, 16, generator=g, dtype=torch.float64), dim=1) for _ in range(2))
    model = Contrastive(contrast(), optimisation=Optimisation(), batch_size=32)
    terms = model.both(a, b, torch.arange(32), everywhere=False)
    theirs = clip.image_text_contrastive_loss(model.contrast.scale * b @ a.T)
    torch.testing.assert_close(torch.stack([*terms.values()]).sum(0).mean(), theirs, rtol=1e-6, atol=0)


def test_the_scale_starts_at_one_over_seven_hundredths_and_stays_below_a_hundred():
    module = contrast()
    torch.testing.assert_close(module.scale.item(), 1 / 0.07, rtol=1e-6, atol=0)
    with torch.no_grad():
        module.tau.fill_(50.0)
    torch.testing.assert_close(module.scale.item(), 100.0)


def test_a_text_is_its_words_whatever_label_it_has():
    module, label = contrast(), torch.arange(4)
    texts = module.texts(label)
    torch.testing.assert_close(texts, module.vectors(VOCABULARY(TEXTS)))
    module.book.fill(VOCABULARY(TEXTS[::-1]))
    torch.testing.assert_close(module.texts(label.flip(0)), texts)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(4, dtype=torch.float64))


def test_images_of_one_concept_are_no_contrast_in_the_paradigm():
    module = contrast()
    model = Contrastive(module, batch_size=4)
    x0 = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noised = Noised(torch.zeros(4), torch.ones(4), x0, x0, x0, torch.arange(4), 1.0)
    apart = torch.stack([*model.loss(noised).values()]).sum(0)
    module.know(torch.tensor([7, 7, 7, 7]))
    assert torch.stack([*model.loss(noised).values()]).abs().max() == 0, "no contrast at all"
    module.know(torch.tensor([0, 0, 1, 2]))
    assert (torch.stack([*model.loss(noised).values()]).sum(0) < apart)[:2].all()


def test_retrieval_in_a_case_by_hand(subtests):
    texts = torch.eye(3, dtype=torch.float64)
    images = torch.tensor([[1, 0, 0], [0, 0.6, 0.8], [0, 0, 1], [0.8, 0.6, 0]], dtype=torch.float64)
    label, metric = torch.tensor([5, 7, 9, 7]), Retrieval()
    for k in range(4):  # in batches of one
        own = texts[torch.tensor([0, 1, 2, 1])[k]]
        metric.update(images[k : k + 1], own[None], label[k : k + 1])
    found = metric.compute()
    assert found["image_to_text_R@1"] == 0.5  # images 0 and 2
    assert found["text_to_image_R@1"] == 1.0  # text 7 is nearest to the second and to the last image, which are its own
    assert found["image_to_text_R@5"] == found["text_to_image_R@5"] == 1.0
    torch.testing.assert_close(found["alignment"].item(), (1 + 0.6 + 1 + 0.6) / 4)


def test_zero_shot_is_the_nearest_class_prompt():
    module = contrast()
    module.know(None, torch.tensor([0, 0, 1, 1]), VOCABULARY(["car", "cat"]))
    vectors = module.vectors(VOCABULARY(["cat", "car", "car"]))
    assert module.nearest(vectors).tolist() == [1, 0, 0]


def test_towers_that_do_not_fit_are_refused():
    unet = UNet(SHAPE, 0, width=16, multipliers=(1,), blocks=1, attention=(), head_channels=None)
    with pytest.raises(ValueError, match="UNet does not map images to vectors: choose backbone=half_unet"):
        Contrast(unet, Tokens, 3)
    with pytest.raises(ValueError, match="Classes has no captions: choose book=tokens"):
        Contrast(contrast().backbone, Classes, 3)
    with pytest.raises(ValueError, match="batch_size=1 has no contrast"):
        Contrastive(contrast(), batch_size=1).check_training()
