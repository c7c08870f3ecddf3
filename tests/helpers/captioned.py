"""A small folder of images with captions."""

import json

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220), "yellow": (230, 210, 40)}
SHAPES = ("square", "bar", "dot", "frame")
SIDE = 8


def drawing(colour, shape, brightness):
    """A shape of a colour on white or grey, uint8 (8, 8, 3)."""
    pixels = np.full((SIDE, SIDE, 3), 255 - 12 * brightness, np.uint8)
    places = {"square": np.s_[2:6, 2:6], "bar": np.s_[3:5, :], "dot": np.s_[3:5, 3:5], "frame": np.s_[1:7, 1:7]}
    pixels[places[shape]] = COLOURS[colour]
    if shape == "frame":
        pixels[2:6, 2:6] = 255 - 12 * brightness
    return pixels


def write_captioned(folder, repeated=6):
    """Write each shape in each colour so many times, with a metadata.jsonl; the folder."""
    rows = []
    for colour in COLOURS:
        for shape in SHAPES:
            for k in range(repeated):
                name = f"{colour}-{shape}-{k}.png"
                Image.fromarray(drawing(colour, shape, k)).save(folder / name)
                rows.append({"file_name": name, "text": f"a {colour} {shape}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder
