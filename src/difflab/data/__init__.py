"""Data: samples in memory, as they are stored, and the one DataModule that orders, shards and serves them.

A data set is a source: a frozen dataclass whose `load()` returns `Images` (train and held-out `Split`, class names).
Its codec knows how its samples are stored, encoded for models, shown and measured. To add one, write such a class and a
file in `conf/data/` that names it with its codec, shape, classes and sigma_data.

The contract of the order: which samples a training step sees is a pure function of (seed, step), so neither the number
of processes or workers nor a stop and resume changes it.
"""

from difflab.data.captioned_folder import CaptionedFolder
from difflab.data.codec import Arrays, Codec, FloatImages, Pixels, Points
from difflab.data.conditioned import Brightness, Conditioned, LowResolution
from difflab.data.digits import Digits
from difflab.data.emoji import Drawing, Emoji
from difflab.data.fashion16 import Fashion16
from difflab.data.fashion_mnist import FashionMNIST
from difflab.data.folder import Folder
from difflab.data.gaussian_array import GaussianArray
from difflab.data.images import Batch, Images, Source, Split
from difflab.data.labels import Labels
from difflab.data.latents import FrozenStage, Latents, Whitening
from difflab.data.module import DataModule
from difflab.data.toy import Checkerboard, EightGaussians, Gaussian, Mixture, Moons, SCurve, SwissRoll
from difflab.data.words import Captions, Vocabulary, Words

__all__ = [
    "Arrays",
    "Batch",
    "Brightness",
    "CaptionedFolder",
    "Captions",
    "Checkerboard",
    "Codec",
    "Conditioned",
    "DataModule",
    "Digits",
    "Drawing",
    "EightGaussians",
    "Emoji",
    "Fashion16",
    "FashionMNIST",
    "FloatImages",
    "Folder",
    "FrozenStage",
    "Gaussian",
    "GaussianArray",
    "Images",
    "Labels",
    "Latents",
    "LowResolution",
    "Mixture",
    "Moons",
    "Pixels",
    "Points",
    "SCurve",
    "Source",
    "Split",
    "SwissRoll",
    "Vocabulary",
    "Whitening",
    "Words",
]
