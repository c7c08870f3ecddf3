"""Image files as strangers have them: no pipes, and no more memory at once than a few ordinary images take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock

from PIL import Image

from difflab.data.regular import check_regular

LARGEST = 8192  # pixels of a side of what models see
LARGE = 16_000_000  # pixels above which one image is decoded at a time: of a hundred million, each takes a GiB
ONE = Lock()


@contextmanager
def decoding(file: Path) -> Iterator[Image.Image]:
    """An opened image, while it is decoded and converted.

    Raises what Pillow raises, and ValueError for what is no regular file: a pipe would be waited for.
    """
    check_regular(file)
    with Image.open(file) as image, ONE if image.width * image.height > LARGE else nullcontext():
        yield image
