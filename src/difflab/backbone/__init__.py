"""Backbones: the networks that a denoiser wraps.

A backbone is an `nn.Module` with `forward(x, code, label)`:

- `x`: (B, C, H, W), or (B, D) for points: the noisy sample, already scaled by the target;
- `code`: (B,), the number that the noise-level embedding sees;
- `label`: (B,) int64 in 0..classes, always a tensor; `classes` itself is the null class;
- returns a tensor like `x`, or with twice its channels if the variance is learned: the last half is then the
  interpolation v of Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 15.

What a label means is looked up inside the backbone, in a `Book`: a table of class vectors, `Classes`, unless another is
chosen. `Tokens`, `Vectors` and `Images` are filled with data, and are no part of the weights: each is a `DataBook`.

It has the attributes `shape` (of one sample), `classes: int` and `learned_variance: bool`; with `classes = 0` labels
are ignored. The output is zero at initialisation.

For optimizer=muon it has `outer_layers`: the modules that read the sample, the noise level and the label, and the one
that makes the output. The matrices of all other layers are hidden.

Where its parts are `Block`s, trainer=fsdp shards each of them by itself; without any it shards the whole alone.

`Autoencoder`, of images, and `AutoencoderMLP`, of points, have `encode(x, label)` and `decode(z, label)` between
samples and latents of `latent_shape`.

`ConvGenerator` and `MLPGenerator` have `decode(z, label)` alone, from a flat latent vector.

Discriminators have `forward(x, label)`, which returns logits: one of each sample `(B, 1)`, or of its patches.

The `half_` ones tell classes instead: `forward(x, code)` returns logits (B, classes); they have `shape` and `classes`.
"""

from difflab.backbone.autoencoder import Autoencoder
from difflab.backbone.autoencoder_mlp import AutoencoderMLP
from difflab.backbone.blend import Blend
from difflab.backbone.book import Book, Classes, DataBook, Entry, Images, Reader, Vectors
from difflab.backbone.discriminator import ConvDiscriminator, MLPDiscriminator, PatchDiscriminator
from difflab.backbone.dit import DiT
from difflab.backbone.generator import ConvGenerator, MLPGenerator
from difflab.backbone.half_dit import HalfDiT
from difflab.backbone.half_unet import HalfUNet
from difflab.backbone.layers import Block
from difflab.backbone.mlp import MLP
from difflab.backbone.mmdit import MMDiT
from difflab.backbone.text import TextTransformer
from difflab.backbone.tokens import Tokens
from difflab.backbone.unet import UNet

__all__ = [
    "MLP",
    "Autoencoder",
    "AutoencoderMLP",
    "Blend",
    "Block",
    "Book",
    "Classes",
    "ConvDiscriminator",
    "ConvGenerator",
    "DataBook",
    "DiT",
    "Entry",
    "HalfDiT",
    "HalfUNet",
    "Images",
    "MLPDiscriminator",
    "MLPGenerator",
    "MMDiT",
    "PatchDiscriminator",
    "Reader",
    "TextTransformer",
    "Tokens",
    "UNet",
    "Vectors",
]
