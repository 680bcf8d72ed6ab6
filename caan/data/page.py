"""A page in the making: a clean drawing is put on it with a pen, then light, lens and file do their part.

What `caan.data.surfaces` draws its surfaces with; numpy and PIL alone, all randomness from the page's generator. Colours are
RGB from 0 to 255; lengths are in pixels, or in units of 1/600 of the page's shorter side: pages of all sizes look alike.
"""

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

INK = 25  # of 255: what differs from white by more belongs to the drawing
LEAST_STROKE = 1.1  # pixels; thinner strokes would be pale, not thin
WIDEST = 14  # pixels; what is wider is no stroke, and is not thinned: the time goes with the square of the width
MARGIN = 0.03  # of the page's shorter side: kept free around the drawing

Colour = tuple[float, float, float]
Box = tuple[float, float, float, float]


@dataclass
class Page:
    """A page of `size` (width, height) that takes a drawing, dark on white, of any size and mode.

    `pixels` (h, w, 3) float32 is what there is so far; `corners` (4, 2) the (x, y) of the drawing's box, clockwise from its
    upper left corner; None until it is drawn.
    """

    drawing: Image.Image
    rng: np.random.Generator
    size: tuple[int, int]
    pixels: np.ndarray = field(init=False)
    corners: np.ndarray | None = None

    def __post_init__(self):
        self.pixels = np.full((self.size[1], self.size[0], 3), 255, np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, as arrays have them."""
        return self.size[1], self.size[0]

    @property
    def unit(self) -> float:
        """1/600 of the shorter side, in pixels."""
        return min(self.size) / 600

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def choose(self, *options):
        return options[int(self.rng.integers(len(options)))]

    def fill(self, colour: Colour, spread: float = 4) -> None:
        """The page in a colour of which each channel is moved by up to `spread`."""
        self.pixels[:] = np.clip(np.array(colour) + self.rng.uniform(-spread, spread, 3), 0, 255)

    def cover(self, amount: np.ndarray, colour: Colour) -> None:
        """Lays an opaque colour over the page where `amount` (h, w), 0 to 1, says."""
        self.pixels += (np.array(colour, np.float32) - self.pixels) * amount[..., None].astype(np.float32)

    def tint(self, amount: np.ndarray, colour: Colour) -> None:
        """The same with a transparent colour, which can only darken."""
        self.pixels *= 1 - amount[..., None].astype(np.float32) * (1 - np.array(colour, np.float32) / 255)

    def light(self, factor: np.ndarray) -> None:
        """Multiplies by the light that falls on the page, (h, w), or (h, w, 3) where it is coloured."""
        self.pixels *= factor if factor.ndim == 3 else factor[..., None]

    def draw(
        self,
        pen: Colour,
        stroke: tuple[float, float] = (1.8, 5),
        opacity: float = 1.0,
        grain: float = 0.0,
        transparent: bool = False,
        region: Box = (0, 0, 1, 1),
    ) -> None:
        """Puts the drawing at a random place, 25 to 85 % of the region's shorter side long.

        Args:
            stroke: range of the strokes' width in units. grain: share of the strokes that the paper's tooth leaves out.
            region: left, top, right, bottom as shares of the page.
        """
        ink, self.corners = place_drawing(self.drawing, self.rng, self.size, region, self.uniform(*stroke) * self.unit)
        if grain:
            ink = ink * (1 - grain * tooth(self.rng, ink.shape, 1.5 * self.unit))
        (self.tint if transparent else self.cover)(ink * opacity, pen)

    def noise(self, deviation: float, blotches: float = 0.0) -> None:
        """Sensor noise, and with `blotches` unevenness over 100 and 25 units, both as a standard deviation of 255."""
        values = deviation * self.rng.standard_normal(self.shape, np.float32)
        for cell, share in ((100, 0.8), (25, 0.5)) if blotches else ():
            values += blotches * share * smooth_noise(self.rng, self.shape, cell * self.unit)
        self.pixels += values[..., None]

    def blur(self, radius: float) -> None:
        """The lens out of focus by `radius` units."""
        blurred = self.image().filter(ImageFilter.GaussianBlur(radius * self.unit))
        self.pixels = np.asarray(blurred, np.float32).copy()

    def warp(self, quad: np.ndarray, ground: np.ndarray, shadow: float = 0.4) -> None:
        """Lays the page as `quad` (4, 2) on a ground (h, w, 3), with a soft shadow beside it."""
        width, height = self.size
        flat = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
        settings = (Image.Transform.PERSPECTIVE, homography(quad, flat).ravel()[:8].tolist(), Image.Resampling.BILINEAR)
        alpha = Image.new("L", self.size, 255).transform(self.size, *settings)
        page = np.asarray(self.image().transform(self.size, *settings), np.float32)
        moved = alpha.transform(self.size, Image.Transform.AFFINE, (1, 0, -5 * self.unit, 0, 1, -7 * self.unit))
        dark = np.asarray(moved.filter(ImageFilter.GaussianBlur(7 * self.unit)), np.float32)[..., None] / 255
        mask = np.asarray(alpha, np.float32)[..., None] / 255
        self.pixels = ground * (1 - shadow * dark) * (1 - mask) + page * mask
        if self.corners is not None:
            self.corners = project(homography(flat, quad), self.corners)

    def compress(self, low: int = 60, high: int = 92) -> None:
        """Through a JPEG file of a quality in that range."""
        file = io.BytesIO()
        self.image().save(file, "JPEG", quality=int(self.rng.integers(low, high + 1)))
        self.pixels = np.asarray(Image.open(file), np.float32).copy()

    def image(self) -> Image.Image:
        """The page so far as an RGB picture."""
        return Image.fromarray((self.pixels.clip(0, 255) + 0.5).astype(np.uint8))


def place_drawing(
    drawing: Image.Image, rng: np.random.Generator, size: tuple[int, int], region: Box, stroke: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ink (h, w), 0 to 1, of a drawing on a page of `size`, and its box's corners (4, 2); `stroke` in pixels is aimed at.

    The numbers drawn from `rng` are as many for every drawing.
    """
    ink = crop_ink(drawing)
    left, top, right, bottom = (share * size[i % 2] for i, share in enumerate(region))
    share, *place = rng.uniform((0.25, 0, 0), (0.85, 1, 1))
    scale = share * min(right - left, bottom - top) / max(ink.size)
    width, height = (max(2, round(length * scale)) for length in ink.size)
    ink = with_stroke(ink, (width, height), stroke)
    margin = MARGIN * min(right - left, bottom - top)
    x = round(left + margin + place[0] * max(0, right - left - 2 * margin - width))
    y = round(top + margin + place[1] * max(0, bottom - top - 2 * margin - height))
    layer = Image.new("L", size)
    layer.paste(ink, (x, y))
    corners = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], float)
    return np.asarray(layer, np.float32) / 255, corners


def crop_ink(drawing: Image.Image) -> Image.Image:
    """The ink of a drawing, white on black, cropped to it; the whole picture where there is none."""
    if drawing.mode in ("RGBA", "LA", "PA") or "transparency" in drawing.info:
        drawing = drawing.convert("RGBA")
        drawing = Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing)
    ink = drawing.convert("L").point([255 - value for value in range(256)])
    return ink.crop(ink.point([255 * (value > INK) for value in range(256)]).getbbox())


def with_stroke(ink: Image.Image, size: tuple[int, int], stroke: float) -> Image.Image:
    """Ink resized to `size`, its strokes brought to about `stroke` pixels: grown before, or thinned by up to 0.6 after."""
    scale = max(size) / max(ink.size)
    now, stroke = stroke_width(ink), max(stroke, LEAST_STROKE)
    grown = 2 * round((stroke / scale - now) / 2) + 1
    if grown > 1:
        room = min(grown, 9) // 2
        padded = Image.new("L", (ink.width + 2 * room, ink.height + 2 * room))
        padded.paste(ink, (room, room))
        ink = padded.filter(ImageFilter.MaxFilter(2 * room + 1))
    ink = ink.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX)
    width = now * scale
    if scale > 1 and stroke < 0.8 * width and width < WIDEST:
        ink = thinned(ink, width, max(stroke / width, 0.6))
    return ink


def thinned(ink: Image.Image, width: float, ratio: float) -> Image.Image:
    """Strokes of `width` pixels, white on black, brought to about `ratio` of it, 0.6 to 0.8.

    Blurred strokes are cut off at a share of their own ridge: at 0.84 of it they are 0.6 as wide, at 0.7 four fifths. The blur
    is small and gray strokes are whitened first: so strokes of uneven width and darkness do not break.
    """
    blurred = ink.point([min(255, round(1.6 * value)) for value in range(256)]).filter(ImageFilter.GaussianBlur(0.2 * width))
    ridge = np.asarray(blurred.filter(ImageFilter.MaxFilter(2 * round(width / 2) + 1)), np.float32)
    share = np.asarray(blurred, np.float32) / ridge.clip(60)
    edge = (share - (1.25 - 0.69 * ratio)) * 0.6 * width + 0.5  # about a pixel from white to black
    return Image.fromarray((255 * edge.clip(0, 1)).astype(np.uint8))


def stroke_width(ink: Image.Image) -> float:
    """Mean width in pixels of the strokes, white on black: a stroke has two edges."""
    mask = np.pad(np.asarray(ink) > 127, 1)
    edges = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
    return max(1.0, 2.5 * float(mask.sum()) / max(1, int(edges)))  # 2.5: a slanted edge crosses rows and columns both


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Noise (h, w) of mean 0 and deviation about 1 that changes over `cell` pixels."""
    rows, columns = (max(2, round(length / max(cell, 1)) + 1) for length in shape)
    coarse = Image.fromarray(rng.standard_normal((rows, columns), np.float32))
    return np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC))


def tooth(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """What rough paper keeps from a pencil: (h, w) from 0 to 1, in specks of `cell` pixels."""
    return (0.5 + 0.6 * smooth_noise(rng, shape, cell)).clip(0, 1)


def homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The 3 x 3 matrix that takes four points (4, 2) to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows, float), np.array(values, float)), 1).reshape(3, 3)


def project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (n, 2) through a homography."""
    moved = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return moved[:, :2] / moved[:, 2:]
