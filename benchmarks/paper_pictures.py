"""Pictures for `benchmarks.paper`: drawings on surfaces, drawings of thin lines, and what the processor makes of them."""

import importlib.util
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from caan.data.surfaces import SURFACES, TURNED, place_on_surface

PAGE = (600, 800)  # pixels, width and height
SIDE = 64  # pixels; prepared pictures are compared at this size
OWN, SHARED_CASES = "own", "shared"
LINES = (1.2, 2.5, 4.0)  # pixels of a page of 1000
THIN_PAGE, SUPERSAMPLING = 1000, 4


def shared_cases(file: Path) -> ModuleType | None:
    """The module scans_gen of the shared folder, whose `conditions(drawing, seed)` gives {name: picture}; None if absent."""
    if not file.is_file():
        return None
    spec = importlib.util.spec_from_file_location("scans_gen", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generator(seed: int, row: int, name: str) -> np.random.Generator:
    """Randomness of one drawing on one surface, whatever else is drawn."""
    return np.random.default_rng([seed, row, zlib.crc32(name.encode())])


def on_surfaces(
    drawing: Image.Image, row: int, seed: int, kinds: str, cases: ModuleType | None, only: list[str] | None = None
) -> Iterator[tuple[str, str, Image.Image, float]]:
    """(kind, name, picture, turn in degrees clockwise) of a drawing on every surface of `kinds`: own, shared or all."""
    if kinds != SHARED_CASES:
        for name in SURFACES:
            if only and name not in only:
                continue
            picture, corners = place_on_surface(drawing, name, generator(seed, row, name), PAGE)
            x, y = corners[1] - corners[0]
            yield OWN, name, picture, math.degrees(math.atan2(y, x)) if name in TURNED else 0.0
    if kinds != OWN and cases is not None:
        for name, picture in cases.conditions(drawing, seed=seed + row).items():
            if not only or name in only:
                yield SHARED_CASES, name, picture, 0.0


# -------------------------------------------------------------------------------------------------------------------- scores


def likeness(prepared: Image.Image, expected: Image.Image) -> tuple[float, float]:
    """Correlation of ink at 64 x 64 pixels, and intersection over union; both blurred, so that strokes' widths count little."""
    one, two = (small_ink(image) for image in (prepared, expected))
    flat = one.std() == 0 or two.std() == 0
    masks = one > 0.15, two > 0.15
    union = int((masks[0] | masks[1]).sum())
    overlap = int((masks[0] & masks[1]).sum()) / union if union else 1.0
    return 0.0 if flat else float(np.corrcoef(one.ravel(), two.ravel())[0, 1]), overlap


def small_ink(image: Image.Image) -> np.ndarray:
    """(64, 64), 0 white to 1 black."""
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1))
    return 1 - np.asarray(small, np.float32) / 255


def turned(drawing: Image.Image, degrees: float) -> Image.Image:
    """A drawing turned clockwise on white."""
    white = (255, 255, 255)
    return drawing.convert("RGB").rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=white)


# ---------------------------------------------------------------------------------------------------------------- thin lines


def thin_lines(drawing: Image.Image, width: float) -> Image.Image:
    """The drawing drawn anew along its strokes' middle lines, `width` pixels wide, on a page of 1000 pixels."""
    gray = np.asarray(drawing.convert("L"))
    rows, columns = np.nonzero(skeleton(np.pad(gray < 128, 1)))
    points = np.column_stack([columns - 0.5, rows - 0.5])  # without the padding, in the pixels' middle
    starts, ends = neighbours(rows, columns)
    for _ in range(3):  # the staircase of pixels becomes a line
        count = np.ones(len(points)) + np.bincount(starts, minlength=len(points)) + np.bincount(ends, minlength=len(points))
        total = points.copy()
        np.add.at(total, starts, points[ends])
        np.add.at(total, ends, points[starts])
        points = total / count[:, None]
    scale = THIN_PAGE * SUPERSAMPLING / max(gray.shape)
    page = Image.new("L", tuple(round(side * scale) for side in gray.shape[::-1]), 255)
    pen, thick = ImageDraw.Draw(page), round(width * SUPERSAMPLING)
    for start, end in zip(points[starts] * scale, points[ends] * scale):
        pen.line([*start, *end], fill=0, width=thick)
    for x, y in points[np.bincount(np.r_[starts, ends], minlength=len(points)) == 0] * scale:
        pen.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=0)
    return page.reduce(SUPERSAMPLING)


def neighbours(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of indices of pixels that touch, at a corner too, each pair once."""
    index = np.full((rows.max(initial=0) + 2, columns.max(initial=0) + 3), -1)
    index[rows, columns + 1] = np.arange(len(rows))
    starts, ends = [], []
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        other = index[rows + down, columns + 1 + right]
        starts.append(np.flatnonzero(other >= 0))
        ends.append(other[other >= 0])
    return np.concatenate(starts), np.concatenate(ends)


def skeleton(ink: np.ndarray) -> np.ndarray:
    """Lines one pixel wide of strokes (h, w) with a free border, by Zhang and Suen's thinning (CACM 1984)."""
    ink = ink.copy()
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            around = [np.roll(ink, shift, (0, 1)) for shift in RING]
            count = np.sum(around, axis=0)
            turns = np.sum([~a & b for a, b in zip(around, around[1:] + around[:1])], axis=0)
            north, east, south, west = around[0], around[2], around[4], around[6]
            free = ~(north & east & south) & ~(east & south & west)
            if not first:
                free = ~(north & east & west) & ~(north & south & west)
            gone = ink & (count >= 2) & (count <= 6) & (turns == 1) & free
            ink &= ~gone
            changed |= bool(gone.any())
    return ink


RING = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))  # shifts that bring N, NE, E, SE, S, SW, W, NW
