"""Every codec: storing is undone exactly, pictures and metrics get what they can take, other samples are refused."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from difflab.data import Arrays, DataModule, Digits, FloatImages, Images, Pixels, Points, Split
from difflab.data.gaussian_array import GaussianArray
from difflab.data.pairs import save_pairs
from difflab.denoiser.likelihood import check_levels
from difflab.experiment.parts.build import build
from difflab.experiment.picture.samples import sample_sheet
from difflab.experiment.picture.tile import tiles
from difflab.metric import EfficientNetLite0
from difflab.metric import Points as PointFeatures
from helpers.conf import composed, options

BITS = range(1, 17)


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def every_level(bits):
    """Images that hold each of the values once."""
    stored = torch.arange(2**bits, dtype=torch.int32).to(torch.uint8 if bits <= 8 else torch.uint16)
    return stored.view(1, 1, 1, -1)


STORED = {  # samples of each codec
    **{Pixels(bits): every_level(bits) for bits in BITS},
    FloatImages(): normal(6, 3, 8, 8),
    FloatImages(0.0, 255.0): 255 * torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
    Arrays(): normal(6, 2, 64),
    Arrays(-3.0, 5.0): normal(6, 1, 4, 8, 8),
    Points(): normal(6, 5),
}


def test_pixels_are_stored_exactly_and_lie_on_their_levels():
    for bits in BITS:
        codec, x = Pixels(bits), every_level(bits)
        codec.check(x)
        encoded = codec.encode(x)
        assert torch.equal(codec.decode(encoded), x), codec
        assert codec.decode(encoded).dtype == x.dtype
        assert (encoded.min(), encoded.max()) == (-1, 1), codec
        ideal = torch.linspace(-1, 1, 2**bits, dtype=torch.float64)
        torch.testing.assert_close(encoded.flatten().double(), ideal, rtol=0, atol=1e-7)
        check_levels(encoded, codec.levels)
        beyond = codec.decode(torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1)).flatten()
        assert beyond.tolist() == [0, 2**bits - 1]


def test_deep_pixels_may_be_stored_as_int32():
    deep, x = Pixels(12), torch.tensor([0, 7, 4095], dtype=torch.int32).view(1, 1, 1, 3)
    deep.check(x)
    assert torch.equal(deep.encode(x), deep.encode(x.to(torch.uint16)))
    with pytest.raises(ValueError, match=r"stores 0\.\.4095; these pixels are 0\.\.4096: change bits"):
        deep.check(x + torch.tensor([0, 0, 1], dtype=torch.int32))
    with pytest.raises(ValueError, match=r"these pixels are -1\.\."):
        deep.check(x - 1)


def test_a_stated_range_is_mapped_to_the_unit_range_and_back():
    for codec in (FloatImages(0.0, 255.0), Arrays(-3.0, 5.0)):
        ends = torch.tensor([codec.low, codec.high]).view(2, 1, 1, 1)
        assert codec.encode(ends).flatten().tolist() == [-1, 1]
        assert codec.levels is None
    for codec, x in STORED.items():
        codec.check(x)
        torch.testing.assert_close(codec.decode(codec.encode(x)), x, rtol=1e-6, atol=1e-6)
    for codec in (FloatImages(), Arrays(), Points()):
        assert torch.equal(codec.encode(STORED[codec]), STORED[codec]), codec


def test_every_codec_shows_tiles_or_a_cloud():
    for codec, x in STORED.items():
        shown = codec.show(x)
        if codec.cloud:
            assert shown.shape == (len(x), 2)
        else:
            assert (shown.dtype, shown.ndim, len(shown)) == (torch.uint8, 4, len(x)), codec
        assert len(tiles(x, codec)) == (1 if codec.cloud else len(x))
        sheet = sample_sheet(x, torch.zeros(len(x)).long(), (), codec)
        assert sum(map(len, sheet.tiles)) == (1 if codec.cloud else len(x))
        grey = np.asarray(sheet.image.convert("L"))
        assert grey.shape[::-1] == sheet.size
        assert grey.min() < grey.max() == 255, "samples on white paper"


def test_pictures_and_metrics_of_deep_and_float_images_are_those_of_their_bytes():
    grey = every_level(8)
    for codec, x in {
        Pixels(): grey,
        Pixels(16): (grey.int() * 257).to(torch.uint16),
        FloatImages(): grey.float() / 127.5 - 1,
        FloatImages(0.0, 1.0): grey.float() / 255,
    }.items():
        assert torch.equal(codec.show(x), grey), codec
        assert torch.equal(codec.measure(x), grey), codec


def test_extractors_take_what_codecs_measure():
    lite0, points = EfficientNetLite0(), PointFeatures()
    for codec in (Pixels(), Pixels(16), FloatImages(0.0, 255.0)):
        stored = codec.decode(normal(2, 3, 8, 8))
        assert len(lite0(codec.measure(stored))["pool"]) == 2
    for codec in (Arrays(-3.0, 5.0), Points()):
        x = STORED[codec]
        assert torch.equal(points(codec.measure(x))["point"], x.flatten(1)), codec


def test_a_signal_is_shown_as_the_curve_of_each_channel():
    ramp = torch.linspace(-1, 1, 32)
    shown = Arrays().show(torch.stack([ramp, torch.zeros(32), torch.full((32,), 9.0)])[None])
    assert shown.shape == (1, 1, 3 * 32, 32)
    rising, level, outside = (shown[0, 0] == 0).split(32)
    assert rising.flip(0).diagonal().all(), "from the lower left to the upper right"
    assert rising.sum() == 2 * 32 - 1, "one stroke of two pixels a sample"
    assert level.sum(0).tolist() == [1] * 32
    assert outside[0].all()


def test_a_volume_is_shown_as_its_slices_side_by_side():
    slices = torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 3, 1, 1).expand(2, 1, 3, 4, 5)
    shown = Arrays().show(slices)
    assert shown.shape == (2, 1, 4, 15)
    assert shown[1, 0, 2].tolist() == [0] * 5 + [128] * 5 + [255] * 5


def test_samples_of_another_kind_are_refused_with_the_codecs_there_are(subtests):
    for codec, x, message in [
        (Pixels(), torch.zeros(2, 1, 4, 4), r"uint8 images \(N, C, H, W\), not torch.float32 \(2, 1, 4, 4\): choose"),
        (Pixels(), torch.zeros(2, 4, 4, dtype=torch.uint8), r"uint8 images"),
        (Pixels(16), torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "uint16 or int32 images"),
        (FloatImages(), torch.zeros(2, 64), "float32 images"),
        (Arrays(), torch.zeros(2, 64).double(), "float32"),
        (Points(), torch.zeros(2, 1, 2), r"points float32 \(N, D\).* choose another data.codec, as .* or Arrays"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            codec.check(x)


def test_impossible_codecs_are_refused():
    for bits in (0, 17):
        with pytest.raises(ValueError, match=rf"data\.codec\.bits={bits} must lie in 1\.\.16"):
            Pixels(bits)
    with pytest.raises(ValueError, match=r"low=1\.0 must be less than high=1\.0"):
        Arrays(1.0, 1.0)


@dataclass(frozen=True)
class Grey:
    """Eight images 4x4, stored as the codec stores [-1, 1]."""

    codec: object

    def load(self):
        x = self.codec.decode(torch.linspace(-1, 1, 8 * 16).view(8, 1, 4, 4))
        split = Split(x, torch.zeros(8, dtype=torch.int64))
        return Images(split, split)


def grey(codec, **more):
    return DataModule(Grey(codec), [1, 4, 4], classes=0, sigma_data=0.5, batch_size=4, **{"codec": codec, **more})


def test_batches_are_encoded_by_the_codec():
    for codec in (Pixels(), Pixels(16), FloatImages(0.0, 255.0)):
        data = grey(codec)
        batch = next(iter(data.val_dataloader()))
        assert torch.equal(batch.x, data.images.test.x[:4])
        x0 = data.on_after_batch_transfer(batch, 0).x
        assert torch.equal(x0, codec.encode(batch.x))
        assert torch.equal(data.samples()[0], codec.encode(data.images.train.x))
        assert x0.dtype == torch.float32
        assert -1 <= x0.min() < x0.max() <= 1


def test_pairs_are_as_models_see_them_under_any_codec(tmp_path):
    x, y = normal(40, 1, 4, 4), torch.zeros(40, dtype=torch.int64)
    save_pairs(tmp_path / "pairs", x, 2 * x, y)
    data = grey(FloatImages(0.0, 255.0), pairs=str(tmp_path / "pairs"))
    assert torch.equal(data.samples()[0], x[:36])
    batch = next(iter(data.val_dataloader()))
    assert torch.equal(data.on_after_batch_transfer(batch, 0).x, x[36:])


def test_what_is_measured_of_deep_images_is_what_is_measured_of_their_bytes():
    deep, shallow = grey(Pixels(16)), grey(Pixels())
    assert deep.images.train.sha256 != shallow.images.train.sha256
    for split in ("train", "test"):
        seen, plain = (getattr(data.measured, split) for data in (deep, shallow))
        assert torch.equal(seen.x, plain.x)
        assert seen.sha256 == plain.sha256
    assert shallow.measured.train is shallow.images.train, "bytes are not copied"


def test_data_without_a_codec_have_that_of_version_0_1():
    assert grey(None).codec == Pixels(8)
    assert DataModule(Grey(None), [2], classes=0, sigma_data=1.0, batch_size=4).codec == Points()


def test_a_codec_that_the_samples_contradict_is_refused():
    data = DataModule(Digits(), [1, 8, 8], classes=10, sigma_data=0.5, batch_size=4, codec=FloatImages())
    with pytest.raises(ValueError, match=r"FloatImages.* stores float32 images .* not torch.uint8"):
        _ = data.images


def test_only_samples_with_a_left_and_a_right_are_mirrored():
    assert grey(FloatImages(), flip=True).order.flip
    for codec in (Points(), Arrays()):
        with pytest.raises(ValueError, match="have no left and right"):
            grey(codec, flip=True)


def test_a_known_law_is_that_of_the_numbers_that_models_see():
    law = GaussianArray(shape=(1, 8))
    for codec in (Arrays(0.0, 1.0), Pixels()):
        with pytest.raises(ValueError, match="the law of GaussianArray is that of the numbers that models see"):
            DataModule(law, [1, 8], classes=0, sigma_data=0.3, batch_size=4, codec=codec)


def test_every_data_option_names_its_codec_and_the_paradigm_takes_its_levels(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "one.png")
    (tmp_path / "one.txt").write_text("one")
    for option in options("data"):
        config = composed(f"data={option}", *([f"data.source.root={tmp_path}"] if "folder" in option else []))
        codec = build(config["data"]["codec"])
        assert build(config["model"]["codec"]) == codec
    images = ["data=digits", "backbone.attention=[4]"]
    assert build(composed(*images)["model"]).levels == 256
    assert build(composed(*images, "data.codec.bits=16")["model"]).levels == 65536
    floats = "data.codec={_target_: difflab.data.FloatImages, low: 0.0, high: 1.0}"
    assert build(composed(*images, "~data.codec", f"+{floats}")["model"]).levels is None
    assert build(composed(*images, "~data.codec")["model"]).levels == 256, "as version 0.1 took images"
    points = ["data=moons", "backbone=mlp"]
    assert build(composed(*points)["model"]).levels is None
    assert build(composed(*points, "~data.codec")["model"]).levels is None
