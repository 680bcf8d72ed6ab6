"""Drawings drawn anew with lines of a given width, for `benchmarks.paper --thin`: what a fine pen leaves of a large page."""

import numpy as np
from PIL import Image, ImageDraw

LINES = (1.2, 2.5, 4.0)  # pixels of a page of 1000
THIN_PAGE, SUPERSAMPLING = 1000, 4
RING = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))  # shifts that bring N, NE, E, SE, S, SW, W, NW


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
