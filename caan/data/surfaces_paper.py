"""Surfaces of `caan.data.surfaces`: kinds of paper, what is printed on it, and what is drawn with.

Each puts a page's drawing on it; ranges were set by eye, on the sheet of `python -m benchmarks.paper --sheet FILE`.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from caan.data.page import Colour, Page, place_drawing
from caan.data.page_marks import coffee_rings, creases, dust, fibres, margin_line, rules, vignette

BLACK_PENS: tuple[Colour, ...] = ((18, 18, 22), (38, 36, 40), (30, 30, 60))
WHITE_PAPERS: tuple[Colour, ...] = ((250, 250, 249), (244, 244, 242), (248, 245, 238))


def written(page: Page, paper: Colour | None = None) -> None:
    """Dark pen on white paper, or on the given one."""
    page.fill(paper or page.choose(*WHITE_PAPERS))
    page.draw(page.choose(*BLACK_PENS))


def photographed(page: Page, noise: float = 2.0) -> None:
    """The end of a picture that comes from a camera or scanner."""
    page.noise(page.uniform(0.6, noise), page.uniform(0, 1))
    page.compress()


# -------------------------------------------------------------------------------------------------------------------- papers


def scan(page: Page) -> None:
    written(page)
    page.blur(page.uniform(0.2, 0.9))
    photographed(page)


def gray_paper(page: Page) -> None:
    value = page.uniform(150, 222)
    page.fill((value, value, value))
    fibres(page, page.uniform(1, 4))
    page.draw(page.choose(*BLACK_PENS))
    photographed(page)


def kraft(page: Page) -> None:
    page.fill(page.choose((178, 140, 98), (160, 122, 82), (196, 162, 120)), 10)
    fibres(page, page.uniform(4, 9))
    page.draw((36, 28, 24), opacity=page.uniform(0.85, 1))
    photographed(page)


def coloured_paper(page: Page) -> None:
    pastel = page.rng.uniform(120, 245, 3)
    page.fill(tuple(pastel + (200 - pastel.mean()) * 0.7), 0)
    fibres(page, page.uniform(0.5, 3))
    page.draw(page.choose(*BLACK_PENS))
    photographed(page)


def yellowed(page: Page) -> None:
    page.fill(page.choose((240, 224, 182), (228, 206, 158), (245, 234, 206)), 6)
    page.noise(0, page.uniform(2, 6))
    page.draw(page.choose((50, 38, 28), (30, 28, 30), (88, 62, 40)), opacity=page.uniform(0.75, 1))
    tone = 1 - vignette(page, page.uniform(0.6, 0.85))
    page.tint(tone, (120, 70, 20))
    photographed(page)


def crumpled(page: Page) -> None:
    written(page)
    page.light(creases(page, page.uniform(0.05, 0.11)))
    photographed(page)


def bleed_through(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    ink, _ = place_drawing(page.drawing.transpose(Image.Transpose.ROTATE_90), page.rng, page.size, (0, 0, 1, 1), 4 * page.unit)
    page.tint(page.uniform(0.08, 0.22) * ink[:, ::-1], (90, 90, 110))
    page.blur(page.uniform(1.5, 3))
    page.draw(page.choose(*BLACK_PENS))
    photographed(page)


def coffee_stain(page: Page) -> None:
    written(page)
    coffee_rings(page)
    photographed(page)


def specks(page: Page) -> None:
    written(page)
    dust(page, int(page.rng.integers(15, 90)), page.choose((70, 70, 70), (110, 100, 90)))
    photographed(page)


# ---------------------------------------------------------------------------------------------------------------------- pens


def pencil(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    value = page.uniform(70, 130)
    page.draw((value, value, value + 3), (1.8, 4.5), page.uniform(0.75, 1), page.uniform(0.4, 0.8))
    photographed(page)


def pale_pencil(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS, (214, 214, 212)))
    value = page.uniform(110, 150)
    page.draw((value, value, value + 2), (1.8, 4), page.uniform(0.55, 0.8), page.uniform(0.3, 0.6))
    photographed(page, 1.5)


def coloured_pencil(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    pen = page.choose((205, 60, 50), (40, 110, 190), (40, 140, 70), (230, 130, 30), (140, 70, 160), (225, 120, 160))
    page.draw(pen, (2.5, 5.5), page.uniform(0.6, 0.95), page.uniform(0.3, 0.7))
    photographed(page)


def ballpoint(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    page.draw(page.choose((28, 48, 150), (190, 30, 40), (20, 20, 26), (20, 110, 70)), (1.2, 2.6), page.uniform(0.75, 1), 0.2)
    photographed(page)


def highlighter(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    pen = page.choose((250, 240, 60), (170, 240, 90), (255, 150, 190), (255, 190, 80), (130, 220, 250))
    page.draw(pen, (5, 10), page.uniform(0.75, 1), transparent=True)
    photographed(page, 1.5)


# -------------------------------------------------------------------------------------------------------------- printed pages


def graph_paper(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    colour = page.choose((150, 190, 225), (170, 205, 180), (190, 190, 200), (235, 170, 160))
    spacing, turn = page.uniform(11, 24), page.uniform(-2, 2)
    for angle in (turn, turn + 90):
        rules(page, spacing, colour, angle)
    page.draw(page.choose(*BLACK_PENS, (28, 48, 150)))
    photographed(page)


def ruled_paper(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS, (253, 250, 230)))
    turn = page.uniform(-6, 6)
    rules(page, page.uniform(20, 34), page.choose((150, 180, 220), (165, 200, 230), (180, 180, 190)), turn)
    if page.uniform(0, 1) < 0.6:
        margin_line(page, turn, page.uniform(0.08, 0.2))
    page.draw(page.choose(*BLACK_PENS, (28, 48, 150)))
    photographed(page)


def spiral_note_book(page: Page) -> None:
    """Ruled or plain, with the holes of a spiral along its left side."""
    page.fill(page.choose(*WHITE_PAPERS))
    if page.uniform(0, 1) < 0.7:
        rules(page, page.uniform(20, 34), (165, 190, 225), 0)
    page.draw(page.choose(*BLACK_PENS), region=(0.1, 0, 1, 1))
    layer, width, height = Image.new("L", page.size), *page.size
    pen, step, radius = ImageDraw.Draw(layer), page.uniform(26, 40) * page.unit, page.uniform(5, 8) * page.unit
    x = 0.045 * width
    for y in np.arange(step / 2, height, step):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
        pen.line([(0, y - radius), (x, y)], fill=190, width=max(1, round(2.5 * page.unit)))
    page.cover(np.asarray(layer, np.float32) / 255, page.choose((40, 38, 40), (90, 92, 96)))
    photographed(page)


PAPERS: tuple[Callable[[Page], None], ...] = (
    scan,
    gray_paper,
    kraft,
    coloured_paper,
    yellowed,
    crumpled,
    bleed_through,
    coffee_stain,
    specks,
    pencil,
    pale_pencil,
    coloured_pencil,
    ballpoint,
    highlighter,
    graph_paper,
    ruled_paper,
    spiral_note_book,
)
