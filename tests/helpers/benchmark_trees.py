"""Small trees in the archives' layouts, made from lines of the published file lists. Imported by the builders' tests.

The lines are first and last ones of the lists of SAKE (held-out sketches) and ZSE-SBIR (the rest), "path label" each; a few
more, of classes that are spelt in several ways, are made in their form.
"""

import io
import os
from pathlib import Path

from PIL import Image

SKETCHY_LINES = """\
256x256/sketch/tx_000000000000_ready/pig/n02395406_3133-2.png 0
256x256/sketch/tx_000000000000_ready/pig/n02395406_8513-2.png 0
256x256/sketch/tx_000000000000_ready/pig/n02395406_20618-2.png 0
256x256/sketch/tx_000000000000_ready/banana/n07753592_5847-7.png 1
256x256/sketch/tx_000000000000_ready/turtle/n01669191_5438-3.png 99
256x256/sketch/tx_000000000000_ready/turtle/n01669191_2352-3.png 99
256x256/sketch/tx_000000000000_ready/turtle/n01669191_9674-3.png 99
256x256/sketch/tx_000000000000_ready/bell/n02824448_7225-1.png 24
256x256/sketch/tx_000000000000_ready/bell/n02824448_2726-5.png 24
256x256/photo/tx_000000000000_ready/pig/n02395406_3933.jpg 0
256x256/photo/tx_000000000000_ready/turtle/n01669191_417.jpg 99
256x256/photo/tx_000000000000_ready/bell/n02824448_11201.jpg 24
EXTEND_image_sketchy_ready/pig/n02395406_3933.jpg 0
EXTEND_image_sketchy_ready/turtle/ext_101.jpg 99
EXTEND_image_sketchy_ready/turtle/n01669191_417.jpg 99
EXTEND_image_sketchy_ready/turtle/n01669191_9607.jpg 99
EXTEND_image_sketchy_ready/turtle/ext_210.jpg 99
EXTEND_image_sketchy_ready/bell/ext_205.jpg 24
EXTEND_image_sketchy_ready/bell/ext_63.jpg 24
EXTEND_image_sketchy_ready/bell/n02824448_11201.jpg 24
"""

TUBERLIN_LINES = """\
png_ready/wrist-watch/19850.png 0
png_ready/wrist-watch/19858.png 0
png_ready/wrist-watch/19843.png 0
png_ready/mouse (animal)/10841.png 10
png_ready/ashtray/631.png 219
png_ready/ashtray/620.png 219
png_ready/ashtray/570.png 219
png_ready/frying-pan/7121.png 27
png_ready/horse/8526.png 29
png_ready/horse/8498.png 29
ImageResized_ready/wrist-watch/n04555897_1.JPEG 0
ImageResized_ready/mouse (animal)/n02330245_7.JPEG 10
ImageResized_ready/ashtray/n02747802_3.JPEG 219
ImageResized_ready/frying-pan/n03400231_11.JPEG 27
ImageResized_ready/horse/n02374451_12250.JPEG 29
ImageResized_ready/horse/n02374451_16843.JPEG 29
ImageResized_ready/horse/n02374451_6192.JPEG 29
"""

QUICKDRAW_LINES = """\
sketches/palm tree/6599152064528384.png 26
sketches/fire_hydrant/5839699434274816.png 27
sketches/fan/6599152064528384.png 29
sketches/fan/5839699434274816.png 29
sketches/teapot/5101252218191872.png 0
sketches/teapot/5311379818938368.png 0
sketches/wine bottle/4522163761577984.png 51
images/palm tree/image_00001.jpg 26
images/fire_hydrant/image_00002.jpg 27
images/fan/image_02862.jpg 29
images/fan/image_05316.jpg 29
images/fan/image_02178.jpg 29
images/teapot/image_02530.jpg 0
images/wine bottle/image_02923.jpg 51
"""


def paths(lines: str) -> list[str]:
    """Paths of "path label" lines; a path may hold spaces, the label is last."""
    return [line.rpartition(" ")[0] for line in lines.splitlines()]


def picture(suffix: str, size: int = 8, colour: int = 0) -> bytes:
    """A small picture in the format of `suffix`."""
    buffer = io.BytesIO()
    image_format = "PNG" if suffix.lower() == ".png" else "JPEG"
    Image.new("RGB", (size, size), (colour % 256, colour // 256 % 256, 99)).save(buffer, image_format)
    return buffer.getvalue()


def make_tree(root: Path, files: list[str]) -> Path:
    """Write a picture at each path, every one of another colour; `root` is returned."""
    for number, file in enumerate(files):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(os.path.splitext(file)[1], colour=number * 37))
    return root


def rename(files: list[str], *pairs: tuple[str, str]) -> list[str]:
    """The same files in another layout: each (old, new) replaces a part of every path."""
    for old, new in pairs:
        files = [file.replace(old, new) for file in files]
    return files


def counts(splits) -> dict[str, tuple[int, int]]:
    """Split -> number of sketches and photos."""
    return {name: tuple(sum(m == modality for m in split["modality"]) for modality in (0, 1)) for name, split in splits.items()}
