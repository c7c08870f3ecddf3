"""Images in one array: `.npy`, or `.npz` with labels beside them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray

from difflab.data.listing import in_order
from difflab.data.regular import check_regular, memory

ARRAYS = frozenset((".npy", ".npz"))
IMAGES = ("x", "images", "image", "data", "x_train", "arr_0")  # names in a .npz, the first that is there
LABELS = ("y", "labels", "label", "targets", "y_train", "arr_1")
CHANNELS = (1, 3, 4)


def images_of(path: Path) -> NDArray[Any]:
    """The images of a file as `(N, H, W, C)` of their own type of numbers.

    `(N, H, W)` are grey; channels come last, or else before the sides. Raises ValueError for other shapes, for a file
    without such an array, and for one of Python objects, which are never loaded.
    """
    x = np.asarray(_arrays(path, IMAGES))
    if x.dtype.kind not in "uif" or x.ndim not in (3, 4):
        raise ValueError(
            f"{path} holds {x.dtype} {x.shape}: images are numbers (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if x.ndim == 3:
        return x[..., None]
    if x.shape[-1] in CHANNELS:
        return x
    if x.shape[1] in CHANNELS:
        return x.transpose(0, 2, 3, 1)
    raise ValueError(f"{path} holds images of shape {x.shape[1:]}: 1 channel, 3 or 4 come last, or first")


def labels_of(path: Path) -> tuple[Sequence[int], tuple[str, ...]]:
    """The labels as indices into the names of the classes, and these names; nothing where the file has none.

    Raises ValueError for labels that are no whole numbers and no text.
    """
    if path.suffix.lower() == ".npy" or (y := _arrays(path, LABELS, None)) is None:
        return [], ()
    y = np.asarray(y).reshape(-1)
    if y.dtype.kind not in "uiUS":
        raise ValueError(f"{path}: its labels are {y.dtype}: whole numbers, or text")
    words = [str(each) for each in (np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y)]
    names = in_order({*words})
    index = {name: k for k, name in enumerate(names)}
    return [index[word] for word in words], names


def label_names(path: Path) -> tuple[str, ...]:
    """The names of the classes alone."""
    return labels_of(path)[1]


def _check_size(stream: IO[bytes], size: int) -> None:
    """Raise ValueError for an array whose header claims more than the `size` of its file, or than there is memory.

    Leaves the stream at its start, if it can be set there.
    """
    read = {1: read_array_header_1_0, 2: read_array_header_2_0}.get(read_magic(stream)[0])
    if read is None:
        raise ValueError("its header is of a version of numpy's that has no images")
    shape, _, kind = read(stream)
    if (needed := math.prod(shape) * kind.itemsize) > size:
        raise ValueError(f"its header claims {kind} {shape}, {needed:,} bytes, and there are {size:,}")
    if needed > memory():
        raise ValueError(f"its {kind} {shape} take {needed:,} bytes, and this machine has {memory():,}")
    if stream.seekable():
        stream.seek(0)


def _arrays(path: Path, names: Sequence[str], default: Any = ()) -> Any:  # noqa: ANN401  # an array, or the default
    """The first array of these names in a file; else the default. Raises ValueError for a damaged file, or for none."""
    try:
        check_regular(path)
        with open(path, "rb") as file:
            if path.suffix.lower() == ".npy":
                _check_size(file, path.stat().st_size)
                return np.load(file, allow_pickle=False)
            found = np.load(file, allow_pickle=False)
            known = {name.lower(): name for name in found.files}
            for name in names:
                if name in known:
                    member = next(each for each in found.zip.namelist() if each in (known[name], f"{known[name]}.npy"))
                    with found.zip.open(member) as stream:
                        _check_size(stream, found.zip.getinfo(member).file_size)
                    return found[known[name]]
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, BadZipFile, zlib.error) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} cannot be read as an array: {reason}") from error
    if default is None:
        return None
    raise ValueError(f"{path} has no array of images: name it {IMAGES[0]} or {IMAGES[1]}; it holds {', '.join(known)}")
