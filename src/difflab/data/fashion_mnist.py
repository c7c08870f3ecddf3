"""Fashion-MNIST from local idx files or from the Hugging Face hub."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from difflab.data.images import Images, Split

NAMES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")

# Of the unpacked files: the archives differ between publishers, in their gzip headers alone.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
MOST = 16 + 60_000 * 28 * 28  # bytes of the largest of them
DEBIAN = Path("/usr/share/datasets/fashion-mnist")

Bytes = NDArray[np.uint8]


class Copy(Protocol):
    """A place that may hold Fashion-MNIST."""

    def read(self) -> list[Bytes]:
        """The arrays in the order of SHA256; raises OSError or ImportError if they are not to be had here."""


@dataclass(frozen=True)
class Local:
    """A folder with the four idx files, plain or .gz."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def read(self) -> list[Bytes]:
        """Parse the files; FileNotFoundError if one is missing, ValueError if one is damaged."""
        return [read_idx(self._find(name)) for name in SHA256]

    def _find(self, name: str) -> Path:
        for path in (self.folder / name, self.folder / f"{name}.gz"):
            if path.is_file():
                return path
        raise FileNotFoundError(f"no file {name} or {name}.gz")


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face hub, read with the optional package `datasets`."""

    name: str = "zalando-datasets/fashion_mnist"

    def __str__(self) -> str:
        return f"the Hugging Face hub, {self.name}"

    def read(self) -> list[Bytes]:
        """Download on first use; ImportError without `datasets`, ConnectionError without the hub."""
        from datasets import load_dataset

        parts = load_dataset(self.name).with_format("numpy")
        columns = [parts[part][:] for part in ("train", "test")]
        return [np.asarray(part[key], np.uint8) for part in columns for key in ("image", "label")]


@dataclass(frozen=True)
class FashionMNIST:
    """60,000 + 10,000 grey images of ten classes, 28x28 padded to 32x32 with black.

    Looks for the four idx files in `root`, in `root/FashionMNIST/raw` (where torchvision puts them), in the folder of
    Debian's dataset-fashion-mnist, then asks the hub. All bytes are checked against the published files.
    Xiao, Rasul & Vollgraf 2017 (arXiv:1708.07747). Raises FileNotFoundError that lists what was tried, and ValueError
    for damaged data.
    """

    paths: ClassVar[tuple[str, ...]] = ("root",)
    names: ClassVar[tuple[str, ...]] = NAMES  # of the classes
    root: str | None = None

    def load(self) -> Images:
        """Read the first copy found."""
        given = Path(self.root).expanduser() if self.root else None
        folders = (given, given / "FashionMNIST" / "raw", DEBIAN) if given else (DEBIAN,)
        train, train_labels, test, test_labels = first((*map(Local, folders), Hub()))
        return Images(_split(train, train_labels), _split(test, test_labels), NAMES)


def first(copies: Sequence[Copy]) -> list[Bytes]:
    """The checked arrays of the first copy that is there."""
    tried = []
    for copy in copies:
        try:
            arrays = copy.read()
        except (OSError, ImportError) as error:
            tried.append(f"  {copy}: {error}")
        else:
            check(arrays, str(copy))
            return arrays
    raise FileNotFoundError(
        "Fashion-MNIST was not found. Tried\n" + "\n".join(tried) + "\nGet it with `apt-get install "
        "dataset-fashion-mnist`, or `pip install 'difflab[hub]'` (downloads on first use), or name a folder that holds "
        "the four idx files: data.source.root=FOLDER"
    )


def check(arrays: Sequence[Bytes], place: str) -> None:
    """Raise ValueError unless the arrays, written as idx files, are the published ones."""
    for array, (name, expected) in zip(arrays, SHA256.items(), strict=True):
        found = hashlib.sha256(idx_header(array.shape) + array.tobytes()).hexdigest()
        if found != expected:
            raise ValueError(f"Fashion-MNIST in {place} is damaged: {name} has sha256 {found}, not {expected}")


def idx_header(shape: Sequence[int]) -> bytes:
    """Header of an idx file of bytes: 0, 0, type 8, number of dimensions, then each as a big-endian 32-bit integer."""
    return bytes((0, 0, 8, len(shape))) + np.asarray(shape, ">u4").tobytes()


def read_idx(path: Path) -> Bytes:
    """Parse an idx file of bytes, plain or .gz; raises ValueError if it is damaged or holds another type."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MOST + 1)  # a small archive may hold a terabyte
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if len(content) > MOST:
        raise ValueError(f"{path} holds more than the {MOST:,} bytes of the largest of these files")
    start = 4 + 4 * (content[3] if len(content) > 3 else 0)
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist()) if len(content) >= start else ()
    body = np.frombuffer(content[start:], np.uint8)
    if not content.startswith(idx_header(shape)) or body.size != np.prod(shape):
        raise ValueError(f"{path} is not a whole idx file of bytes")
    return body.reshape(shape)


def _split(x: Bytes, y: Bytes) -> Split:
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2)))
    return Split(torch.from_numpy(padded)[:, None], torch.from_numpy(y.astype(np.int64)))
