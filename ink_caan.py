"""From a picture of a drawing to the drawing: cropped to its ink, on white, and what its outline encloses shaded.

Encoders that learnt on photos see surfaces, and a line drawing has none: of a sketch they see thin dark marks on an endless
white ground. Shading what the outline encloses gives them figure and ground to see, and costs a sketch nothing: its lines stay
darker than the shade. `benchmarks/accuracy` has what it is worth. Not of the paper.
"""

import numpy as np
from PIL import Image, ImageOps

SIDE = 128  # pixels; silhouettes are found at this size, whatever the sketch's is
MAX_SIDE = 6000  # pixels of the padded square; what would be larger is reduced before it is padded, so that memory is bounded
GAP = 5  # pixels of SIDE: a break in the outline of up to twice this is closed


def crop_to_ink(image: Image.Image, threshold: float, padding: float) -> Image.Image:
    """An RGB sketch cropped to its ink and padded to a white square.

    Args:
        threshold: a pixel is ink where its distance from the ground is above this share of the full range. The ground is
            white, or black where most of the border is dark (then the sketch is inverted first).
        padding: margin kept around the ink, as a share of its longer side.

    Returns:
        The square, as large as the ink and its margin, at most `MAX_SIDE`.

    Raises:
        ValueError: there is no ink.
    """
    gray = np.asarray(image.convert("L"))
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    if np.median(border) < 128:
        image, gray = ImageOps.invert(image), 255 - gray
    ink = gray < 255 * (1 - threshold)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        raise ValueError("the sketch has no ink: it is blank")
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = max(bottom - top, right - left)
    side = int(side + 2 * round(padding * side))
    cropped = image.crop((int(left), int(top), int(right), int(bottom)))
    if side > MAX_SIDE:
        width, height = (max(1, round(length * MAX_SIDE / side)) for length in cropped.size)
        cropped, side = cropped.resize((width, height), Image.Resampling.BOX), MAX_SIDE
    square = Image.new("RGB", (side, side), "white")
    square.paste(cropped, ((side - cropped.width) // 2, (side - cropped.height) // 2))
    return square


def shade_silhouette(sketch: Image.Image, darkness: float, ink_threshold: float) -> Image.Image:
    """A square RGB sketch, dark on white, with its silhouette shaded.

    Args:
        darkness: of the shade, from 0 (white) to 1 (black); what is darker already stays as it is.
        ink_threshold: a pixel is ink where it is darker than white by this share of the full range.
    """
    gray = np.asarray(sketch.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
    area = silhouette(gray < 255 * (1 - ink_threshold))
    shade = Image.fromarray(np.where(area, 255 * (1 - darkness), 255).astype(np.uint8))
    cover = np.asarray(shade.resize(sketch.size, Image.Resampling.BILINEAR))
    return Image.fromarray(np.minimum(np.asarray(sketch), cover[..., None]))


def silhouette(ink: np.ndarray, gap: int = GAP) -> np.ndarray:
    """Ink and all that it encloses, (h, w) booleans.

    The ink is grown by `gap` pixels, so that outlines with breaks close; what cannot be reached from outside is filled; and
    the whole shrinks by as much again. Lines that enclose nothing stay as they are.
    """
    padded = np.pad(ink, gap + 1)  # grown ink must not touch the border, which is outside
    area = ~grow(flood(~grow(padded, gap)), gap)
    return (area | padded)[gap + 1 : -gap - 1, gap + 1 : -gap - 1]


def grow(mask: np.ndarray, steps: int) -> np.ndarray:
    """True for all that is at most `steps` horizontal and vertical steps from a True pixel; (h, w) booleans."""
    for _ in range(steps):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask


def flood(free: np.ndarray) -> np.ndarray:
    """The free pixels that horizontal and vertical steps over free pixels lead to from the upper left corner; (h, w) booleans.

    Whole runs of free pixels are reached at once, along rows and columns in turn: PIL's own flood fill goes pixel by pixel in
    Python, many times as slowly, and SciPy is not to be had wherever the model is loaded from the Hub.
    """
    reached = np.zeros_like(free)
    reached[0, 0] = free[0, 0]
    count = 0
    while count < (count := reached.sum()):
        reached = spread_along_rows(free, reached)
        reached = spread_along_rows(free.T, reached.T).T
    return reached


def spread_along_rows(free: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Where one pixel of an unbroken run in a row is reached, all of that run is; (h, w) booleans."""
    walled = np.pad(free, ((0, 0), (0, 1)))  # a wall after each row, so that runs end there
    run = np.cumsum(~walled).reshape(walled.shape)[:, :-1]
    hit = np.zeros(run.max() + 1, dtype=bool)
    hit[run[reached]] = True
    return hit[run] & free
