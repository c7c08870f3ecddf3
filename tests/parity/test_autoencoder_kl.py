"""Our autoencoder and diffusers' AutoencoderKL: the same function of the same weights, both ways."""

import pytest
import torch
from diffusers import AutoencoderKL

from difflab.backbone import Autoencoder
from difflab.backbone.autoencoder_kl import load_weights, read, to_diffusers, write
from helpers.networks import randomised

SIZES = (
    {"shape": (3, 32, 32), "channels": 4, "width": 32, "multipliers": (1, 2, 4), "blocks": 2, "groups": 32},
    {"shape": (1, 16, 16), "channels": 2, "width": 16, "multipliers": (1, 1), "blocks": 1, "groups": 8},
    {"shape": (3, 16, 16), "channels": 16, "width": 32, "multipliers": (1,), "blocks": 1, "groups": 16},
)
BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-12}  # float32 rounds some 20 layers: 2e-6 was seen


def outputs(ours, theirs, dtype):
    """What both encode the same images to, and what they decode the same latents to."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, *ours.shape, generator=g, dtype=dtype)
    z = torch.randn(2, *ours.latent_shape, generator=g, dtype=dtype)
    label = torch.zeros(2, dtype=torch.int64)
    with torch.no_grad():
        mean, log_var = ours.encode(x, label)
        posterior = theirs.encode(x).latent_dist
        return (mean, posterior.mean), (log_var, posterior.logvar), (ours.decode(z, label), theirs.decode(z).sample)


def test_weights_written_by_us_have_the_same_output_in_diffusers(tmp_path, subtests):
    for k, size in enumerate(SIZES):
        for dtype, bound in BOUNDS.items():
            with subtests.test(**size, dtype=dtype):
                ours = randomised(Autoencoder(**size)).to(dtype)
                write(ours, tmp_path / f"{k}-{dtype}")
                theirs = AutoencoderKL.from_pretrained(tmp_path / f"{k}-{dtype}", torch_dtype=dtype).eval()
                for a, b in outputs(ours, theirs, dtype):
                    assert (a - b).abs().max() <= bound * max(1, b.abs().max())


def test_weights_written_by_diffusers_have_the_same_output_here(tmp_path, subtests):
    for k, size in enumerate(SIZES):
        for dtype, bound in BOUNDS.items():
            with subtests.test(**size, dtype=dtype):
                write(Autoencoder(**size), tmp_path / f"{k}")  # for a configuration of this size
                theirs = randomised(AutoencoderKL.from_config(AutoencoderKL.load_config(tmp_path / f"{k}"))).to(dtype)
                theirs.save_pretrained(tmp_path / f"theirs-{k}-{dtype}")
                ours = read(tmp_path / f"theirs-{k}-{dtype}").to(dtype)
                for a, b in outputs(ours, theirs.eval(), dtype):
                    assert (a - b).abs().max() <= bound * max(1, b.abs().max())


def test_there_and_back_again_is_the_identity():
    ours = randomised(Autoencoder(**SIZES[0]))
    back = Autoencoder(**SIZES[0])
    load_weights(back, to_diffusers(ours))
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one number of groups"):
        write(Autoencoder((1, 16, 16), width=32, multipliers=(1, 2)), tmp_path / "a")
    with pytest.raises(ValueError, match="no classes"):
        write(Autoencoder((1, 16, 16), classes=3, width=16, multipliers=(1, 1), groups=8), tmp_path / "b")
    small = Autoencoder(**SIZES[1])
    with pytest.raises(ValueError, match="no AutoencoderKL of this size"):
        load_weights(small, to_diffusers(Autoencoder(**SIZES[2])))
    write(small, tmp_path / "c")
    config = (tmp_path / "c" / "config.json").read_text()
    (tmp_path / "c" / "config.json").write_text(config.replace('"silu"', '"relu"'))
    with pytest.raises(ValueError, match="act_fn=relu is not supported"):
        read(tmp_path / "c")
