"""What is really drawn of a figure: the boxes of its text and its pictures."""

from itertools import combinations

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.image import AxesImage


class Watched(RendererAgg):
    """A renderer that keeps the box of each line of text that it draws: left, top, right, bottom, in pixels."""

    def __init__(self, width, height, dpi):
        super().__init__(width, height, dpi)
        self.texts = []

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        wide, high, below = self.get_text_width_height_descent(s, prop, ismath)
        flat = (x, y - (high - below), x + wide, y + below)
        self.texts.append((s, flat if angle == 0 else (x - (high - below), y - wide, x + below, y)))


def texts_of(figure, dpi=100):
    """The lines of text of a figure with their boxes, and its size in pixels."""
    figure.set_dpi(dpi)
    width, height = (figure.get_size_inches() * dpi).astype(int)
    renderer = Watched(width, height, dpi)
    figure.draw(renderer)
    return renderer.texts, (width, height)


def outside(texts, size):
    """The lines of text that do not lie on the canvas."""
    width, height = size
    return [
        s for s, (left, top, right, bottom) in texts if min(left, top) < -1 or right > width + 1 or bottom > height + 1
    ]


def overlapping(texts, allowed=1.5):
    """The pairs of lines of text whose boxes have more than some pixels in common in both directions."""
    return [
        (s, r)
        for (s, a), (r, b) in combinations(texts, 2)
        if min(a[2], b[2]) - max(a[0], b[0]) > allowed and min(a[3], b[3]) - max(a[1], b[1]) > allowed
    ]


def dull(figure, most=0.9):
    """The pictures of a figure that are blank, or of which more than a share is black or white."""
    found = []
    for image in figure.findobj(AxesImage):
        values = np.asarray(image.get_array())
        saturated = values.dtype == np.uint8 and np.isin(values, (0, 255)).mean() > most
        if saturated or values.std() == 0:
            found.append(values.shape)
    return found
