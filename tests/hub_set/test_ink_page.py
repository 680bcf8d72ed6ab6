"""What is a page and what is not: what it lies on, things that lie on it, coloured shapes, signatures.

python -m pytest tests/hub_set/test_ink_page.py
"""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tiny import image_processor

from ink_caan import is_quadrilateral, largest_group

SIZE, DRAWING = (450, 600), (150, 180, 290, 300)  # of the picture, of the drawing's box
PAPER, INK, DESK = (240, 238, 232), (40, 40, 60), (110, 80, 50)


def draw_lantern(image: Image.Image, fill: tuple | None = None) -> None:
    """An ellipse with a line across, in `DRAWING`."""
    left, top, right, bottom = DRAWING
    pen = ImageDraw.Draw(image)
    pen.ellipse(DRAWING, fill, INK, 5)
    pen.line((left, (top + bottom) // 2, right, (top + bottom) // 2), INK, 5)


def on_ground(ground: Image.Image) -> Image.Image:
    """A page with the drawing, lying straight on a ground."""
    ImageDraw.Draw(ground).rectangle((70, 80, 380, 520), PAPER)
    draw_lantern(ground)
    return ground


def checks(step: int) -> Image.Image:
    """A tablecloth, white and red."""
    row, column = np.mgrid[: SIZE[1], : SIZE[0]] // step
    return Image.fromarray(np.array([(238, 236, 230), (215, 120, 120), (180, 50, 55)], np.uint8)[row % 2 + column % 2])


def carpet(seed: int) -> Image.Image:
    values = np.random.default_rng(seed).normal(0, 30, (*SIZE[::-1], 1)) + (120, 105, 95)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def keys() -> Image.Image:
    """A keyboard."""
    image = Image.new("RGB", SIZE, (190, 192, 195))
    for x in range(2, SIZE[0], 37):
        for y in range(2, SIZE[1], 37):
            ImageDraw.Draw(image).rectangle((x, y, x + 31, y + 31), (40, 40, 44))
    return image


def clutter(seed: int) -> Image.Image:
    """Things of all colours on a desk."""
    generator, image = np.random.default_rng(seed), Image.new("RGB", SIZE, DESK)
    for _ in range(90):
        x, y, width, height = generator.integers((-20, -20, 15, 15), (*SIZE, 110, 90)).tolist()
        ImageDraw.Draw(image).rectangle((x, y, x + width, y + height), tuple(generator.integers(20, 246, 3).tolist()))
    return image


def assert_found(image: Image.Image) -> None:
    """The square is that of the drawing, and it is a drawing: dark lines on white."""
    square = image_processor().prepare(image, "sketch")
    width = DRAWING[2] - DRAWING[0]
    dark = np.asarray(square.convert("L")) < 128
    assert 0.95 * width < square.width < 1.25 * width
    assert 0.05 < dark.mean() < 0.35


@pytest.mark.parametrize("ground", [checks(30), carpet(0), keys(), *map(clutter, range(4))])
def test_a_page_on_what_is_not_flat(ground):
    assert_found(on_ground(ground))


def test_a_corner_turned_up_is_no_ink():
    image = on_ground(Image.new("RGB", SIZE, DESK))
    ImageDraw.Draw(image).polygon([(380, 440), (310, 520), (380, 520)], DESK)
    assert_found(image)


def test_a_finger_on_the_page_is_no_ink():
    image = on_ground(Image.new("RGB", SIZE, (70, 90, 70)))
    ImageDraw.Draw(image).rounded_rectangle((20, 340, 130, 385), 20, (205, 150, 125))
    assert_found(image)


@pytest.mark.parametrize("colour", [(250, 205, 80), (130, 190, 250), (240, 130, 120), (150, 150, 150)])
def test_a_coloured_shape_is_no_page(colour):
    image = Image.new("RGB", (300, 260), (254, 254, 254))
    pen = ImageDraw.Draw(image)
    pen.ellipse((60, 30, 240, 200), colour, (0, 0, 0), 5)
    pen.ellipse((110, 90, 130, 110), None, (0, 0, 0), 5)
    pen.ellipse((170, 90, 190, 110), None, (0, 0, 0), 5)
    pen.arc((110, 100, 190, 170), 20, 160, (0, 0, 0), 5)
    pen.line((150, 200, 150, 245), (0, 0, 0), 5)
    square = image_processor().prepare(image, "sketch")
    assert 225 < square.width < 260  # the line below it too


def test_a_signature_is_no_part_of_the_drawing():
    image = Image.new("RGB", SIZE, PAPER)
    draw_lantern(image)
    pen = ImageDraw.Draw(image)
    pen.line([(340 + 8 * i, 560 + 8 * (-1) ** i) for i in range(9)], (30, 30, 90), 2)
    assert_found(image)


def test_a_page_has_four_corners():
    turns = np.arange(0, 2 * np.pi, 0.1)
    ellipse = np.stack([60 * np.cos(turns), 40 * np.sin(turns)], axis=1)
    page = np.array([(0, 10), (80, 0), (95, 100), (12, 115)], float)
    assert is_quadrilateral(page)
    assert not is_quadrilateral(ellipse)


@pytest.mark.parametrize(("share", "stays"), [(0.2, False), (0.3, True)])
def test_distant_strokes_of_a_quarter_of_the_ink_stay(share, stays):
    ink = np.zeros((200, 200), np.float32)
    ink[20, 20:120] = 1
    ink[180, 20 : 20 + round(100 * share)] = 1
    assert largest_group(ink, ink > 0)[180].any() == stays
