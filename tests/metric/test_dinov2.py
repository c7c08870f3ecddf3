"""Features of DINOv2, on a tiny one of random weights."""

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2Model

from difflab.metric.dinov2 import DINOv2, fetch

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture
def folder(tmp_path):
    """As transformers saves it; the position codes are of another size than those of the images."""
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 14, "image_size": 98}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Dinov2Model(Dinov2Config(**sizes, initializer_range=0.2))
    for values in model.state_dict().values():
        values += 0.1 * torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def images(n=3, size=40, seed=0):
    g = torch.Generator().manual_seed(seed)
    smooth = torch.nn.functional.interpolate(torch.rand(n, 3, 5, 5, generator=g), (size, size), mode="bilinear")
    return (255 * smooth).to(torch.uint8)


def by_pillow(image):
    """One channel at a time, in float, as `clean` resizes do it."""
    channels = [Image.fromarray(channel.numpy().astype(np.float32), mode="F") for channel in image]
    resized = [np.asarray(channel.resize((224, 224), Image.Resampling.BICUBIC)) for channel in channels]
    return np.stack(resized).clip(0, 255)


def test_features_are_those_of_transformers_on_images_that_pillow_resized(folder, subtests):
    for size in [40, 300]:
        with subtests.test(f"side {size}"):
            x = images(size=size)
            model = Dinov2Model.from_pretrained(folder).eval()
            pixels = (np.stack([by_pillow(image) for image in x]) / 255 - MEAN[:, None, None]) / STD[:, None, None]
            with torch.no_grad():
                expected = model(torch.from_numpy(pixels).float()).last_hidden_state[:, 0]
            assert expected.std(0).mean() > 0.01
            torch.testing.assert_close(DINOv2(folder)(x)["cls"], expected, rtol=1e-3, atol=1e-3)


def test_the_weights_are_named_by_their_sum(folder):
    extractor = DINOv2(folder)
    assert extractor.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert set(extractor(images())) == {score.layer for score in extractor.scores}


def test_half_precision_files_run_in_full_precision(folder):
    path = folder / "model.safetensors"
    save_file({name: values.bfloat16() for name, values in load_file(path).items()}, path)
    x = images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = DINOv2(folder)(x)["cls"]
    assert inside.dtype == torch.float32
    assert torch.equal(inside, DINOv2(folder)(x)["cls"])


def test_building_it_leaves_the_global_generator_alone_and_runs_no_code_that_the_file_names(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "evil.Model"}, "attn_implementation": "someone/kernel"}
    (folder / "config.json").write_text(json.dumps(config))
    before = torch.get_rng_state()
    DINOv2(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_files_are_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors in .*facebook/dinov2-large"):
        DINOv2(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no config\.json and no model\.safetensors"):
        DINOv2(tmp_path / "nowhere")


def test_other_weights_are_refused(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file(dict(list(weights.items())[1:]), path)
    with pytest.raises(ValueError, match="does not hold the weights"):
        DINOv2(folder)
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="does not hold the weights"):
        DINOv2(folder)


def test_without_a_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"could not be fetched.*protocol\.extractor\.weights=FOLDER"):
        fetch()
