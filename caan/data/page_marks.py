"""Light, texture and marks of a page that are none of the drawing: shadows, creases, stains, printed lines, dust, wood, icons.

Each takes a `Page` and draws on it or gives what to draw, (h, w). Ranges were set by eye, on the sheet that
`python -m benchmarks.paper --sheet FILE` writes.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from caan.data.page import Colour, Page, smooth_noise


def grid(page: Page, angle: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (h, w) of the pixels along and across a direction of `angle` degrees, in pixels from the middle."""
    width, height = page.size
    x = np.arange(width, dtype=np.float32)[None] - width / 2
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return x * cos + y * sin, y * cos - x * sin


def gradient(page: Page, least: float) -> np.ndarray:
    """Light of a lamp at one side: from 1 down to `least` across the page, a little bent."""
    along = grid(page, page.uniform(0, 360))[0]
    along = (along - along.min()) / (along.max() - along.min())
    return 1 - (1 - least) * along ** page.uniform(0.7, 1.6)


def vignette(page: Page, least: float) -> np.ndarray:
    """Light that falls off from about the middle to `least` in the corners."""
    x, y = grid(page)
    width, height = page.size
    x, y = x / width + page.uniform(-0.08, 0.08), y / height + page.uniform(-0.08, 0.08)
    return 1 - (1 - least) * 2 * (x**2 + y**2)


def shadow(page: Page, least: float, softness: float) -> np.ndarray:
    """Light with the straight-edged shadow of something at one side; `softness` of its edge in units."""
    along = grid(page, page.uniform(0, 360))[0] - page.uniform(-0.2, 0.25) * min(page.size)
    return 1 - (1 - least) * (0.5 + along / max(1.0, 2 * softness * page.unit)).clip(0, 1)


def hand_shadow(page: Page, least: float) -> np.ndarray:
    """Light with the soft shadow of a hand and its arm, which reach in from one side."""
    layer = Image.new("L", [max(2, length // 4) for length in page.size])  # soft, so that a quarter of the size will do
    pen, (w, h) = ImageDraw.Draw(layer), layer.size
    x, y, turn = page.uniform(0.3, 0.9) * w, page.uniform(0.45, 0.8) * h, page.choose(-1, 1)
    radius = page.uniform(0.14, 0.26) * min(w, h)
    pen.ellipse([x - radius, y - 0.8 * radius, x + radius, y + radius], fill=255)
    pen.line([(x, y), (x + turn * 1.5 * w, y + page.uniform(0.3, 1.5) * h)], fill=255, width=max(1, int(1.5 * radius)))
    middle, thick = page.uniform(225, 315), 0.19 * radius
    for finger in (-48, -22, 2, 26):
        angle, reach = math.radians(middle + finger), radius * page.uniform(1.5, 1.9)
        tip = (x + reach * math.cos(angle), y + reach * math.sin(angle))
        pen.line([(x, y), tip], fill=255, width=max(1, round(2 * thick)))
        pen.ellipse([tip[0] - thick, tip[1] - thick, tip[0] + thick, tip[1] + thick], fill=255)
    soft = layer.filter(ImageFilter.GaussianBlur(page.uniform(7, 26) * page.unit / 4))
    return 1 - (1 - least) * np.asarray(soft.resize(page.size, Image.Resampling.BILINEAR), np.float32) / 255


def creases(page: Page, depth: float) -> np.ndarray:
    """Light on crumpled paper: facets, brighter and darker, that meet in thin bright or dark lines."""
    folded = np.zeros(page.shape, np.float32)
    for _ in range(int(page.rng.integers(9, 16))):
        along, across = grid(page, page.uniform(0, 360))
        across = across - page.uniform(-0.55, 0.55) * max(page.size)
        bent = across + smooth_noise(page.rng, page.shape, 120 * page.unit) * 5 * page.unit
        side = page.uniform(0.3, 1) * page.choose(-1, 1)
        fall = np.exp(-np.abs(bent) / (page.uniform(25, 90) * page.unit))
        folded += side * np.where(bent > 0, fall, -0.5 * fall)
    return (1 + depth * folded.clip(-2.5, 1.5)).astype(np.float32)


def coffee_rings(page: Page) -> None:
    """One to three rings that a cup left, and a pale blot within."""
    for _ in range(int(page.rng.integers(1, 4))):
        x, y = grid(page)
        width, height = page.size
        x, y = x - page.uniform(-0.5, 0.5) * width, y - page.uniform(-0.5, 0.5) * height
        radius = page.uniform(50, 130) * page.unit
        wobble = smooth_noise(page.rng, page.shape, 60 * page.unit)
        distance = np.hypot(x, y) + wobble * 2.5 * page.unit - radius
        ring = np.exp(-((distance / (page.uniform(2, 5) * page.unit)) ** 2)) * (0.75 + 0.25 * wobble).clip(0.1, 1)
        inside = page.uniform(0.05, 0.3) / (1 + np.exp((distance / (4 * page.unit)).clip(-30, 30)))
        page.tint(page.uniform(0.4, 0.8) * np.maximum(ring, inside), (150, 98, 52))


def dust(page: Page, count: int, colour: Colour, largest: float = 1.6) -> None:
    """Specks and short hairs on the page or the scanner's glass."""
    layer = Image.new("L", page.size)
    pen = ImageDraw.Draw(layer)
    for x, y, size, kind, turn in page.rng.uniform(0, 1, (count, 5)):
        x, y, r = x * page.size[0], y * page.size[1], (0.4 + size * largest) * page.unit
        if kind < 0.9:
            pen.ellipse([x - r, y - r, x + r, y + r], fill=int(110 + 145 * turn))
        else:
            reach = 18 * page.unit * size
            pen.arc([x - reach, y - reach, x + reach, y + reach], 360 * turn, 360 * turn + 70, fill=150)
    page.cover(np.asarray(layer, np.float32) / 255, colour)


def rules(page: Page, spacing: float, colour: Colour, angle: float, width: float = 1.1, strength: float = 0.9) -> None:
    """Printed parallel lines at `angle` degrees, `spacing` units apart."""
    across = grid(page, angle)[1] + page.uniform(0, spacing) * page.unit
    step = max(5.0, spacing * page.unit)
    distance = np.abs((across + step / 2) % step - step / 2)
    half = max(0.9, width * page.unit) / 2
    page.tint(strength * (half + 0.5 - distance).clip(0, min(1.0, 2 * half)), colour)


def margin_line(page: Page, angle: float, place: float, colour: Colour = (225, 120, 125)) -> None:
    """The red line at the left of ruled paper; `place` as a share of the width."""
    distance = np.abs(grid(page, angle + 90)[1] * -1 - (place - 0.5) * page.size[0])
    page.tint(0.8 * (0.6 * max(1, page.unit) + 0.4 - distance).clip(0, 1), colour)


def fibres(page: Page, strength: float, grain: float = 1.3) -> None:
    """The texture of cheap paper: fine grain, and fibres along one direction."""
    shape = page.shape
    fine = smooth_noise(page.rng, shape, grain * page.unit)
    long = smooth_noise(page.rng, (shape[0], max(2, shape[1] // 9)), 1.5 * page.unit)
    long = np.asarray(Image.fromarray(long).resize(page.size, Image.Resampling.BILINEAR))
    page.pixels += (strength * (fine + 0.7 * long))[..., None]


def wood(page: Page) -> np.ndarray:
    """A desk (h, w, 3): planks of a brown, gray or pale wood with grain along them."""
    colour = np.array(page.choose((96, 68, 46), (140, 104, 70), (64, 46, 36), (176, 144, 108), (90, 88, 86)), np.float32)
    shape = page.shape
    along, across = grid(page, page.choose(0, 90) + page.uniform(-6, 6))
    bend = smooth_noise(page.rng, shape, 140 * page.unit)
    phase = across / (page.uniform(4, 9) * page.unit) + 2.5 * bend + along / (400 * page.unit)
    rings = 0.5 + 0.5 * np.sin(phase + 1.5 * np.sin(0.37 * phase))
    streaks = smooth_noise(page.rng, shape, 2.5 * page.unit)
    value = 1 + 0.16 * (rings - 0.5) + 0.04 * streaks + 0.06 * bend
    seam = np.abs((across + page.uniform(0, 300) * page.unit) % (260 * page.unit) - 130 * page.unit)
    value *= 1 - 0.5 * (1.5 - seam / max(1.0, page.unit)).clip(0, 1)
    return (colour * value[..., None]).astype(np.float32)


def plain_ground(page: Page, colour: Colour) -> np.ndarray:
    """A wall, a cloth or a table top (h, w, 3) of one uneven colour."""
    uneven = 4 * smooth_noise(page.rng, page.shape, 80 * page.unit) + 3 * smooth_noise(page.rng, page.shape, 2 * page.unit)
    return np.array(colour, np.float32) + uneven[..., None]


def icons(page: Page, box: tuple[float, float, float, float], colour: Colour, count: int) -> None:
    """A row or column of tool icons within a box in pixels."""
    left, top, right, bottom = box
    layer = Image.new("L", page.size)
    pen = ImageDraw.Draw(layer)
    row = right - left > bottom - top
    size = 0.28 * min(right - left, bottom - top)
    line = max(1, round(1.6 * page.unit))
    for number in range(count):
        share = (number + 0.7) / (count + 0.4)
        x = left + share * (right - left) if row else (left + right) / 2
        y = (top + bottom) / 2 if row else top + share * (bottom - top)
        around = [x - size, y - size, x + size, y + size]
        kind = int(page.rng.integers(5))
        if kind == 0:
            pen.ellipse(around, outline=255, width=line)
        elif kind == 1:
            pen.rectangle(around, outline=255, width=line)
        elif kind == 2:
            pen.line([(x - size, y + size), (x + size, y - size)], fill=255, width=line)
        elif kind == 3:
            pen.polygon([(x, y - size), (x + size, y + size), (x - size, y + size)], fill=255)
        else:
            for offset in (-0.6, 0, 0.6):
                pen.line([(x - size, y + offset * size), (x + size, y + offset * size)], fill=255, width=line)
    page.cover(np.asarray(layer, np.float32) / 255, colour)


def desk_quad(page: Page, largest_turn: float, depth: float, shrink: tuple[float, float] = (0.68, 0.86)) -> np.ndarray:
    """Corners (4, 2) of a page that lies on a desk: smaller, turned by up to `largest_turn` degrees, in a mild perspective."""
    width, height = page.size
    turn = math.radians(page.uniform(-largest_turn, largest_turn))
    flat = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float) * (width / 2, height / 2)
    flat *= page.uniform(*shrink)
    flat *= 1 + page.rng.uniform(-depth, depth, (4, 2))
    flat = flat @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    flat *= min(1.0, *(0.97 * length / 2 / np.abs(flat[:, i]).max() for i, length in enumerate((width, height))))
    return flat + (width / 2, height / 2)
