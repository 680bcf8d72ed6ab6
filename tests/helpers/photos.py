"""Folders of small photos of shapes."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "cross", "bar")


def shape(name: str, seed: int = 0, ground: str = "white") -> Image.Image:
    """A black shape of 64 x 64 pixels, a little moved and enlarged by the seed."""
    random = np.random.default_rng(seed)
    (left, top), side = random.integers(2, 5, 2).tolist(), int(random.integers(54, 58))
    picture = Image.new("RGB", (64, 64), ground)
    picture.putpixel((63, 63), (seed % 256, seed // 256, 0))  # no two files are alike
    draw = ImageDraw.Draw(picture)
    box = (left, top, left + side, top + side)
    if name == "circle":
        draw.ellipse(box, outline="black", width=5)
    elif name == "square":
        draw.rectangle(box, outline="black", width=5)
    elif name == "cross":
        draw.line(box, "black", 6)
        draw.line((box[2], box[1], box[0], box[3]), "black", 6)
    else:
        draw.rectangle((left, top + side // 2 - 4, left + side, top + side // 2 + 4), fill="black")
    return picture


def photo_folder(root: Path, per_shape: int = 3) -> Path:
    """`root/SHAPE/NUMBER.png`, all different."""
    for number, name in enumerate(SHAPES):
        (root / name).mkdir(parents=True)
        for seed in range(per_shape):
            shape(name, 100 * number + seed, "#f4efe6").save(root / name / f"{seed}.png")
    return root
