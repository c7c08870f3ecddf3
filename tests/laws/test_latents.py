"""Spaces of latents: the codec of a frozen first stage, its cache and its whitening, against what they are made of."""

import time
from dataclasses import replace
from multiprocessing import get_context

import pytest
import torch
from torch import nn

from difflab.backbone import Autoencoder
from difflab.data import DataModule, FloatImages, FrozenStage, Images, Latents, Pixels, Split, Whitening
from difflab.data.order import HELD_OUT, TRAINING, Block
from difflab.denoiser import FirstStage
from difflab.experiment.machine.terminal import silently
from difflab.experiment.model.first_stage import Unlabelled
from difflab.experiment.store.tensor_cache import TensorCache, read

N, SIDE = 300, 8


class Source:
    """Images whose pixels are correlated and of unlike brightness."""

    def load(self):
        g = torch.Generator().manual_seed(0)
        x = (60 * torch.randn(N + 40, 1, 2, 2, generator=g)).repeat_interleave(4, 2).repeat_interleave(4, 3)
        x = (x + 20 * torch.randn(N + 40, 1, SIDE, SIDE, generator=g) + 150).clamp(0, 255).to(torch.uint8)
        y = torch.zeros(N + 40, dtype=torch.int64)
        return Images(Split(x[:N], y[:N]), Split(x[N:], y[N:]))


def stage(folder, full=False, seed=0, known="a"):
    torch.manual_seed(seed)
    network = Autoencoder([1, SIDE, SIDE], channels=3, width=16, multipliers=[1, 1])
    for p in network.parameters():
        nn.init.normal_(p, std=0.3)
    frozen = FirstStage(network).eval().requires_grad_(False)
    return FrozenStage(Unlabelled(frozen), {"sha256": known}, TensorCache(folder), silently, torch.device("cpu"), full)


def module(folder, flip=True, **more):
    return DataModule(Source(), [1, SIDE, SIDE], 0, 1.0, 32, flip=flip, codec=Pixels(), stage=stage(folder, **more))


def moments(data):
    """The mean and the covariance over channels of the whitened posterior, by the law of total variance."""
    codec = data.codec
    found = codec.posteriors(data.training, data.flip)
    w, matrix = codec.whitening, codec.whitening.matrix
    mean, log_var = (found[name].double().flatten(0, 1) for name in ("mean", "log_var"))
    channels = w(mean).movedim(1, 0).flatten(1)
    within = matrix @ log_var.exp().mean((0, 2, 3)).diag() @ matrix.T
    return channels.mean(1), channels.cov(correction=0) + within


def test_latents_of_the_training_set_are_white(tmp_path, subtests):
    for flip in (False, True):
        for full in (False, True):
            with subtests.test(flip=flip, full=full):
                mean, covariance = moments(module(tmp_path, flip, full=full))
                assert mean.abs().max() < 1e-4
                assert (covariance.diag() - 1).abs().max() < 1e-4
                assert full == bool((covariance - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-4)


def test_whitening_has_an_inverse_and_refuses_a_channel_that_does_not_vary():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(4, 4, generator=g, dtype=torch.float64)
    z, mean = torch.randn(5, 4, 2, 2, generator=g, dtype=torch.float64), torch.arange(4.0, dtype=torch.float64)
    for full in (False, True):
        w = Whitening.of(mean, root @ root.T, full)
        assert torch.allclose(w.inverse(w(z)), z, atol=1e-12)
    with pytest.raises(ValueError, match="vary in 3 of 4 channels"):
        Whitening.of(mean, torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64).diag(), full=False)


def batches(data, steps):
    """The first training batches as models see them."""
    blocks = data.blocks(data.training, data.flip)
    return [blocks[block] for block in data.order.blocks(0, steps)]


def test_the_cached_and_the_direct_path_give_the_same_training_batches(tmp_path):
    """Direct: mirror the stored samples, encode them, draw, whiten."""
    data = module(tmp_path)
    codec, steps = data.codec, 12  # more than an epoch
    for block, batch in zip(data.order.blocks(0, steps), batches(data, steps), strict=True):
        x = data.images.train.x[block.images]
        mirrored = torch.from_numpy(block.mirrored)
        x[mirrored] = x[mirrored].flip(-1)
        mean, log_var = codec.posterior(x)
        z = mean + (0.5 * log_var).exp() * block.normal(data.seed, mean.shape[1:])
        assert torch.allclose(batch.x, codec.whitening(z), atol=1e-5)
        assert mirrored.any()


def test_a_draw_is_a_function_of_the_step_and_the_place_in_the_global_batch(tmp_path):
    data = module(tmp_path)
    whole = [*data.order.blocks(0, 10)]
    blocks = data.blocks(data.training, data.flip)
    for block in (whole[0], whole[9]):
        parts = [blocks[block.cut(start, start + 8)].x for start in range(0, 32, 8)]
        assert torch.equal(torch.cat(parts), blocks[block].x)
    again = next(iter(data.order.blocks(9, 10)))
    assert torch.equal(blocks[again].x, blocks[whole[9]].x), "a resumed training goes on with the same draws"
    same_images = whole[0].numbered(TRAINING, 1)
    assert not torch.isclose(blocks[same_images].x, blocks[whole[0]].x).any(), "a new draw in each step"
    held_out = whole[0].numbered(HELD_OUT, 0)
    assert not torch.isclose(blocks[held_out].x, blocks[whole[0]].x).any()
    n = torch.cat([block.normal(0, (50,)) for block in whole]).flatten()
    assert abs(n.mean()) < 4 / len(n) ** 0.5
    assert abs(n.var() - 1) < 4 * (2 / len(n)) ** 0.5


def test_validation_batches_are_the_same_every_time_and_divided_alike(tmp_path):
    data = module(tmp_path)
    once, twice = ([batch.x for batch in data.val_dataloader()] for _ in range(2))
    assert all(map(torch.equal, once, twice))
    assert len(torch.cat(once)) == len(data.held_out)


def test_latents_of_a_split_are_draws_that_depend_on_the_sample_alone(tmp_path):
    data = module(tmp_path)
    codec, split = data.codec, data.images.test
    found, rows = data.encoded(split), torch.tensor([7, 3, 30])
    assert torch.equal(data.encoded(split, rows), found[rows])
    mean, log_var = codec.posterior(split.x)
    noise = (codec.whitening.inverse(found) - mean) / (0.5 * log_var).exp()
    n = noise.numel()
    assert abs(noise.mean()) < 4 / n**0.5
    assert abs(noise.var() - 1) < 4 * (2 / n) ** 0.5
    assert torch.equal(data.samples()[0], data.encoded(data.training))


def test_decode_is_the_inverse_of_what_the_decoder_was_given(tmp_path):
    data = module(tmp_path)
    codec, x = data.codec, data.images.test.x[:4]
    mean, _ = codec.posterior(x)
    expected = codec.inner.decode(codec.stage.network.decode(mean))
    assert (codec.decode(codec.encode(x)).int() - expected.int()).abs().max() <= 1
    assert torch.equal(codec.show(x), x)
    assert codec.levels is None


def test_one_changed_weight_image_or_flip_makes_another_cache(tmp_path, subtests):
    def names(data):
        before = {path.name for path in tmp_path.glob("latents-*")}
        data.codec.posteriors(data.training, data.flip)
        return {path.name for path in tmp_path.glob("latents-*.safetensors")} - before

    assert len(names(module(tmp_path))) == 1
    assert not names(module(tmp_path)), "the same is read"
    for what, changed in (("weights", {"known": "b"}), ("flip", {"flip": False})):
        with subtests.test(what):
            assert len(names(module(tmp_path, **changed))) == 1
    other = module(tmp_path)
    x = other.images.train.x.clone()
    x[7, 0, 0, 0] ^= 1
    other.images.__dict__["train"] = Split(x, other.images.train.y)
    assert len(names(other)) == 1


def test_the_same_numbers_under_another_codec_have_latents_of_their_own(tmp_path):
    x = torch.rand(20, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    split = Split(x, torch.zeros(20, dtype=torch.int64))
    for inner in (FloatImages(-1.0, 1.0), FloatImages(0.0, 1.0), FloatImages(-1.0, 1.0)):
        codec = Latents(inner, stage(tmp_path), lambda: split, False)
        assert torch.equal(codec.posteriors(split)["mean"][:, 0], codec.posterior(x)[0])
    assert len([*tmp_path.glob("latents-*.safetensors")]) == 2


def test_a_cache_keeps_tensors_of_any_layout(tmp_path):
    x = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    for _ in range(2):
        assert torch.equal(TensorCache(tmp_path)("x", ["layout"], lambda: {"x": x})["x"], x)


def test_a_cache_that_is_damaged_anywhere_is_computed_again_and_told(tmp_path, capsys, subtests):
    first = module(tmp_path).codec.posteriors(Source().load().train, True)
    (path,) = tmp_path.glob("latents-*.safetensors")
    whole = path.read_bytes()
    for k, share in enumerate((0.0, 0.001, 0.3, 0.9)):
        for damage in ("flipped", "cut"):
            with subtests.test(damage, share=share):
                at = int(share * len(whole))
                data = bytearray(whole)
                data[at] ^= 1 << k
                path.write_bytes(data if damage == "flipped" else whole[:at])
                again = module(tmp_path).codec.posteriors(Source().load().train, True)
                assert "is damaged, and is computed again" in capsys.readouterr().out
                assert all(torch.equal(again[name], first[name]) for name in first)
                assert path.read_bytes() == whole


def test_kills_while_caching_leave_nothing_damaged(tmp_path):
    """At moments spread over the time that it takes: what is there is whole, or is not there."""
    whole = module(tmp_path).codec
    split = Split(Source().load().train.x[:64], torch.zeros(64, dtype=torch.int64))

    def encode(known):
        torch.set_num_threads(1)
        stage = replace(whole.stage, identity={"sha256": known})
        return Latents(whole.inner, stage, whole.training, flip=False).posteriors(split)

    start = time.monotonic()
    expected = encode("whole")
    took = time.monotonic() - start
    for k in range(20):
        process = get_context("fork").Process(target=encode, args=(f"{k}",))
        process.start()
        process.join(took * (k + 1) / 10 if k < 19 else None)  # the last one ends by itself
        process.kill()
        process.join()
    found = [read(path) for path in tmp_path.glob("latents-*.safetensors")]
    assert None not in found
    assert 1 < len(found) < 21, "some were killed before the end, and some were not"
    assert all(torch.equal(each[name], expected[name]) for each in found for name in expected)


def test_a_block_of_another_key_and_its_cut_agree_on_where_it_begins():
    block = Block.plain(10).cut(2, 9).cut(1, 4)
    assert block.images.tolist() == [3, 4, 5]
    assert block.first == 3
