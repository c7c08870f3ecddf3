"""Laws of a folder of images, whatever is in it."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from difflab.data.folder import Folder
from difflab.data.layout import count_classes

CONF = Path(__file__).parents[2] / "conf" / "data"


def save(path, size=(9, 7), mode="RGB", colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour or 0).save(path)


@pytest.fixture
def flat(tmp_path):
    for i in range(40):
        save(tmp_path / f"{i:02}.png", (5 + i, 45 - i), ("L", "RGB", "RGBA", "P", "1", "LA", "CMYK")[i % 6])
    return tmp_path


def test_any_images_become_one_shape(flat):
    for shape in ((1, 6, 6), (3, 8, 4), (4, 5, 7)):
        images = Folder(str(flat), shape).load()
        assert images.train.shape == images.test.shape == shape
        assert len(images.train) + len(images.test) == 40
        assert images.names == ()
        assert not images.train.y.any()


def test_short_side_is_resized_and_the_long_one_cropped(tmp_path):
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8))
    for i in range(8):
        wide.save(tmp_path / f"{i}.png")
    x = Folder(str(tmp_path), (3, 4, 4), held_out=0.5).load().train.x[0]
    expected = np.asarray(wide.resize((8, 4), Image.Resampling.BICUBIC))[:, 2:6]
    assert np.array_equal(x.permute(1, 2, 0), expected)


def test_transparency_orientation_and_symlinks(tmp_path):
    root = tmp_path / "root"
    for i in range(8):
        save(root / f"clear{i}.png", mode="RGBA", colour=(200, 0, 0, 0))
    assert Folder(str(root), (3, 4, 4), held_out=0.5).load().train.x.eq(255).all()
    assert Folder(str(root), (4, 4, 4), held_out=0.5).load().train.x[:, 3].eq(0).all()

    turned = Image.new("L", (8, 4))
    turned.paste(255, (4, 0, 8, 4))  # the right half is white, and the tag says: turn by 90 degrees clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "photo.png", exif=exif)
    links = tmp_path / "links"
    links.mkdir()
    for i in range(8):
        (links / f"{i}.png").symlink_to(tmp_path / "photo.png")
    x = Folder(str(links), (1, 8, 4), held_out=0.5).load().train.x
    assert x[:, :, 4:].eq(255).all()
    assert x[:, :, :4].eq(0).all()


def test_subfolders_are_classes(tmp_path):
    for label, name in enumerate(("ant", "bee", "cat")):
        for i in range(20):
            save(
                tmp_path / name / f"{i}.{('jpg', 'PNG', 'webp', 'gif', 'tif', 'bmp')[i % 6]}",
                mode="L",
                colour=100 * label,
            )
    (tmp_path / "empty").mkdir()
    (tmp_path / "ant" / "._0.jpg").write_text("a file manager's leftover")
    images = Folder(str(tmp_path), (1, 4, 4), held_out=0.3).load()
    assert count_classes(tmp_path) == 3
    assert images.names == ("ant", "bee", "cat")
    for split in (images.train, images.test):
        assert ((split.x.float().mean((1, 2, 3)) / 100).round() == split.y).all()


def test_held_out_images_stay_when_files_are_added(tmp_path):
    def held_out():
        x = Folder(str(tmp_path), (1, 2, 2), held_out=0.3).load().test.x
        return set(x[:, 0, 0, 0].tolist())

    for i in range(1, 101):
        save(tmp_path / f"{i}.png", mode="L", colour=i)
    before = held_out()
    for i in range(101, 201):
        save(tmp_path / f"{i}.png", mode="L", colour=i)
    assert before == {i for i in held_out() if i <= 100}
    assert abs(len(held_out()) / 200 - 0.3) < 5 * (0.21 / 200) ** 0.5


def test_bad_folders_are_refused(tmp_path, flat):
    with pytest.raises(ValueError, match=r"C = 1 \(grey\), 3 \(RGB\) or 4"):
        Folder(str(flat), (2, 4, 4))
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        count_classes(tmp_path / "missing")
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images in .*none"):
        count_classes(tmp_path / "none")
    with pytest.raises(ValueError, match="puts 0 of the 40"):
        Folder(str(flat), (1, 4, 4), held_out=0.0).load()
    for i in range(7):
        (flat / f"broken{i}.png").write_text("no image")
    (flat / "dangling.png").symlink_to(flat / "nothing")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(flat / "deep.png")
    with pytest.raises(ValueError, match="8 of 49 images cannot be read") as error:
        Folder(str(flat), (1, 4, 4)).load()
    assert str(error.value).count(".png") <= 10  # five lines, each with one path or two
    assert "data.source.skip_unreadable=true" in str(error.value)
    assert len(Folder(str(flat), (1, 4, 4), skip_unreadable=True).load().train) < 41
    save(tmp_path / "class" / "0.png")
    save(tmp_path / "class" / "deeper" / "1.png")
    with pytest.raises(ValueError, match=r"both directly .* and in subfolders"):
        count_classes(tmp_path)


def test_folder_conf_counts_the_classes(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name / "0.png")
    OmegaConf.register_new_resolver("classes_in", count_classes, replace=True)
    conf = OmegaConf.create({"data": OmegaConf.load(CONF / "folder.yaml"), "seed": 0, "batch_size": 4})
    conf.data.source.root = str(tmp_path)
    assert conf.data.classes == 2
    assert conf.data.source.shape == conf.data.shape
