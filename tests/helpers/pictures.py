"""What a picture's layout says, and the law of labelled pictures."""

import itertools
import json

import numpy as np

from difflab.experiment.picture.files import LAYOUT


def layout(image):
    """The places of tiles and labels, as a written PNG or a sheet's image holds them."""
    return json.loads(image.info[LAYOUT])


def tiles_of(image):
    """The tiles across and down."""
    rows = layout(image)["tiles"]
    return max(map(len, rows)), len(rows)


def words_of(image):
    """All texts of a picture, one after the other."""
    return " ".join(label["text"] for label in layout(image)["labels"]).replace("\N{NO-BREAK SPACE}", " ")


def meet(a, b):
    """Whether two boxes have a pixel in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def within(box, whole):
    """Whether a box lies in another."""
    return box[0] >= whole[0] and box[1] >= whole[1] and box[2] <= whole[2] and box[3] <= whole[3]


def faults(image, cloud=False):
    """What is wrong with a labelled picture: labels outside or on each other, tiles that are blank or saturated.

    A tile of a cloud of points has paper and ink only, and cannot be saturated.
    """
    found = layout(image)
    labels = [(label["text"], label["box"]) for label in found["labels"]]
    tiles = [box for row in found["tiles"] for box in row]
    inside = (0, 0, *image.size)
    wrong = [f"{text!r} is outside" for text, box in labels if not within(box, inside)]
    wrong += [f"{a!r} meets {b!r}" for (a, one), (b, two) in itertools.combinations(labels, 2) if meet(one, two)]
    wrong += [f"{text!r} is on a tile" for text, box in labels if any(meet(box, tile) for tile in tiles)]
    grey = np.asarray(image.convert("L"))
    seen = np.concatenate([grey[top:bottom, left:right].ravel() for left, top, right, bottom in tiles])
    if np.bincount(seen).max() > 0.999 * len(seen):
        wrong.append("the tiles are blank")
    if not cloud and np.isin(seen, (0, 255)).mean() > 0.98:
        wrong.append("the tiles are saturated")
    return wrong
