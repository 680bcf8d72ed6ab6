"""Drawings as people have them: a clean drawing put on paper, a board or a screen, and photographed, scanned or copied.

    picture = on_surface(drawing, "kraft", np.random.default_rng(0), size=(600, 800))
    picture = random_surface(drawing, rng, size=(256, 256))              # any of SURFACES
    picture, corners = place_on_surface(drawing, "desk", rng, (600, 800))  # and where the drawing is

Ours. Each surface has random parameters, all from the generator that is given: the same generator gives the same bytes. Of a
desk, a phone's photo and a sticky note the page is turned, so that `corners` are those of no upright box.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from caan.data.page import Colour, Page, place_drawing
from caan.data.page_marks import (
    coffee_rings,
    creases,
    desk_quad,
    dust,
    fibres,
    gradient,
    hand_shadow,
    icons,
    margin_line,
    plain_ground,
    rules,
    shadow,
    vignette,
    wood,
)

SURFACES: dict[str, Callable[[Page], None]] = {}
LIGHT_ON_DARK = frozenset({"black_paper", "blueprint", "chalk", "dark_screen"})  # the drawing is lighter than its ground
TURNED = frozenset({"desk", "phone_pencil", "sticky_note"})  # the page is turned or in perspective

BLACK_PENS: tuple[Colour, ...] = ((18, 18, 22), (38, 36, 40), (30, 30, 60))
WHITE_PAPERS: tuple[Colour, ...] = ((250, 250, 249), (244, 244, 242), (248, 245, 238))


def on_surface(drawing: Image.Image, name: str, rng: np.random.Generator, size: tuple[int, int] = (600, 800)) -> Image.Image:
    """An RGB picture of `size` (width, height) of a drawing, dark on white, on the surface called `name`."""
    return place_on_surface(drawing, name, rng, size)[0]


def random_surface(drawing: Image.Image, rng: np.random.Generator, size: tuple[int, int] = (256, 256)) -> Image.Image:
    """The same on a surface that `rng` draws, each as likely as the others."""
    return on_surface(drawing, sorted(SURFACES)[int(rng.integers(len(SURFACES)))], rng, size)


def place_on_surface(
    drawing: Image.Image, name: str, rng: np.random.Generator, size: tuple[int, int] = (600, 800)
) -> tuple[Image.Image, np.ndarray]:
    """The picture, and the corners (4, 2) of the drawing's box in it: (x, y) in pixels, clockwise from its upper left.

    Raises:
        ValueError: there is no surface of that name.
    """
    if name not in SURFACES:
        raise ValueError(f"There is no surface {name!r}; there are {', '.join(sorted(SURFACES))}.")
    page = Page(drawing, rng, size)
    SURFACES[name](page)
    assert page.corners is not None
    return page.image(), page.corners


def surface(function: Callable[[Page], None]) -> Callable[[Page], None]:
    """Registers a surface under its function's name."""
    SURFACES[function.__name__] = function
    return function


def written(page: Page, paper: Colour | None = None) -> None:
    """Dark pen on white paper, or on the given one."""
    page.fill(paper or page.choose(*WHITE_PAPERS))
    page.draw(page.choose(*BLACK_PENS))


def photographed(page: Page, noise: float = 2.0) -> None:
    """The end of a picture that comes from a camera or scanner."""
    page.noise(page.uniform(0.6, noise), page.uniform(0, 1))
    page.compress()


# -------------------------------------------------------------------------------------------------------------------- papers


@surface
def scan(page: Page) -> None:
    written(page)
    page.blur(page.uniform(0.2, 0.9))
    photographed(page)


@surface
def gray_paper(page: Page) -> None:
    value = page.uniform(150, 222)
    page.fill((value, value, value))
    fibres(page, page.uniform(1, 4))
    page.draw(page.choose(*BLACK_PENS))
    photographed(page)


@surface
def kraft(page: Page) -> None:
    page.fill(page.choose((178, 140, 98), (160, 122, 82), (196, 162, 120)), 10)
    fibres(page, page.uniform(4, 9))
    page.draw((36, 28, 24), opacity=page.uniform(0.85, 1))
    photographed(page)


@surface
def coloured_paper(page: Page) -> None:
    pastel = page.rng.uniform(120, 245, 3)
    page.fill(tuple(pastel + (200 - pastel.mean()) * 0.7), 0)
    fibres(page, page.uniform(0.5, 3))
    page.draw(page.choose(*BLACK_PENS))
    photographed(page)


@surface
def yellowed(page: Page) -> None:
    page.fill(page.choose((240, 224, 182), (228, 206, 158), (245, 234, 206)), 6)
    page.noise(0, page.uniform(2, 6))
    page.draw(page.choose((50, 38, 28), (30, 28, 30), (88, 62, 40)), opacity=page.uniform(0.75, 1))
    tone = 1 - vignette(page, page.uniform(0.6, 0.85))
    page.tint(tone, (120, 70, 20))
    photographed(page)


@surface
def crumpled(page: Page) -> None:
    written(page)
    page.light(creases(page, page.uniform(0.05, 0.11)))
    photographed(page)


@surface
def bleed_through(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    ink, _ = place_drawing(page.drawing.transpose(Image.Transpose.ROTATE_90), page.rng, page.size, (0, 0, 1, 1), 4 * page.unit)
    page.tint(page.uniform(0.08, 0.22) * ink[:, ::-1], (90, 90, 110))
    page.blur(page.uniform(1.5, 3))
    page.draw(page.choose(*BLACK_PENS))
    photographed(page)


@surface
def coffee_stain(page: Page) -> None:
    written(page)
    coffee_rings(page)
    photographed(page)


@surface
def specks(page: Page) -> None:
    written(page)
    dust(page, int(page.rng.integers(15, 90)), page.choose((70, 70, 70), (110, 100, 90)))
    photographed(page)


# ---------------------------------------------------------------------------------------------------------------------- pens


@surface
def pencil(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    value = page.uniform(70, 130)
    page.draw((value, value, value + 3), (1.8, 4.5), page.uniform(0.75, 1), page.uniform(0.4, 0.8))
    photographed(page)


@surface
def pale_pencil(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS, (214, 214, 212)))
    value = page.uniform(110, 150)
    page.draw((value, value, value + 2), (1.8, 4), page.uniform(0.55, 0.8), page.uniform(0.3, 0.6))
    photographed(page, 1.5)


@surface
def coloured_pencil(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    pen = page.choose((205, 60, 50), (40, 110, 190), (40, 140, 70), (230, 130, 30), (140, 70, 160), (225, 120, 160))
    page.draw(pen, (2.5, 5.5), page.uniform(0.6, 0.95), page.uniform(0.3, 0.7))
    photographed(page)


@surface
def ballpoint(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    page.draw(page.choose((28, 48, 150), (190, 30, 40), (20, 20, 26), (20, 110, 70)), (1.2, 2.6), page.uniform(0.75, 1), 0.2)
    photographed(page)


@surface
def highlighter(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    pen = page.choose((250, 240, 60), (170, 240, 90), (255, 150, 190), (255, 190, 80), (130, 220, 250))
    page.draw(pen, (5, 10), page.uniform(0.75, 1), transparent=True)
    photographed(page, 1.5)


# -------------------------------------------------------------------------------------------------------------- printed pages


@surface
def graph_paper(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    colour = page.choose((150, 190, 225), (170, 205, 180), (190, 190, 200), (235, 170, 160))
    spacing, turn = page.uniform(11, 24), page.uniform(-2, 2)
    for angle in (turn, turn + 90):
        rules(page, spacing, colour, angle)
    page.draw(page.choose(*BLACK_PENS, (28, 48, 150)))
    photographed(page)


@surface
def ruled_paper(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS, (253, 250, 230)))
    turn = page.uniform(-6, 6)
    rules(page, page.uniform(20, 34), page.choose((150, 180, 220), (165, 200, 230), (180, 180, 190)), turn)
    if page.uniform(0, 1) < 0.6:
        margin_line(page, turn, page.uniform(0.08, 0.2))
    page.draw(page.choose(*BLACK_PENS, (28, 48, 150)))
    photographed(page)


@surface
def spiral_note_book(page: Page) -> None:
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


# --------------------------------------------------------------------------------------------------------------------- light


@surface
def lamp(page: Page) -> None:
    written(page)
    warm = np.array([1, page.uniform(0.95, 1), page.uniform(0.82, 1)], np.float32)
    page.light(gradient(page, page.uniform(0.35, 0.7))[..., None] * warm)
    photographed(page, 3)


@surface
def hard_shadow(page: Page) -> None:
    written(page)
    page.light(shadow(page, page.uniform(0.5, 0.75), page.uniform(1, 6)))
    photographed(page)


@surface
def soft_shadow(page: Page) -> None:
    written(page)
    page.light(gradient(page, page.uniform(0.8, 1)) * hand_shadow(page, page.uniform(0.45, 0.72)))
    photographed(page, 3)


@surface
def dark_corners(page: Page) -> None:
    written(page)
    page.light(vignette(page, page.uniform(0.4, 0.75)))
    photographed(page, 3)


# ----------------------------------------------------------------------------------------------------------- things and places


@surface
def desk(page: Page) -> None:
    written(page)
    ground = (
        wood(page)
        if page.uniform(0, 1) < 0.7
        else plain_ground(page, page.choose((58, 60, 66), (205, 202, 196), (120, 60, 55)))
    )
    page.warp(desk_quad(page, 20, 0.06), ground)
    page.light(gradient(page, page.uniform(0.6, 1)))
    photographed(page, 3)


@surface
def phone_pencil(page: Page) -> None:
    page.fill(page.choose(*WHITE_PAPERS))
    value = page.uniform(70, 125)
    page.draw((value, value, value + 3), (1.8, 4.5), page.uniform(0.7, 1), page.uniform(0.3, 0.6))
    if page.uniform(0, 1) < 0.5:  # else the page is larger than the photo
        page.warp(desk_quad(page, 12, 0.05, (0.8, 0.95)), page.choose(wood(page), plain_ground(page, (70, 72, 78))))
    page.light(gradient(page, page.uniform(0.5, 0.8)) * np.float32(page.uniform(0.75, 1)))
    page.blur(page.uniform(0.4, 1.1))
    photographed(page, 5)


@surface
def sticky_note(page: Page) -> None:
    page.fill(page.choose((255, 242, 130), (250, 180, 200), (170, 225, 245), (190, 235, 150)), 6)
    page.draw(page.choose(*BLACK_PENS, (28, 48, 150)), (2.5, 6))
    page.light(gradient(page, page.uniform(0.85, 1)))
    if page.uniform(0, 1) < 0.7:
        page.warp(desk_quad(page, 8, 0.03, (0.6, 0.85)), plain_ground(page, page.choose((226, 226, 222), (120, 110, 104))))
    photographed(page)


@surface
def scanner_edge(page: Page) -> None:
    written(page)
    width, height = page.size
    x, y = np.arange(width)[None], np.arange(height)[:, None]
    for edge in page.rng.permutation(4)[: int(page.rng.integers(1, 3))]:
        distance = (x, width - 1 - x, y, height - 1 - y)[edge] + np.zeros((height, width))
        thick, soft = page.uniform(2, 22) * page.unit, page.uniform(0.5, 5) * page.unit
        page.cover(page.uniform(0.6, 1) * (0.5 + (thick - distance) / max(1, 2 * soft)).clip(0, 1), (30, 30, 32))
    photographed(page)


@surface
def whiteboard(page: Page) -> None:
    page.fill(page.choose((205, 210, 214), (225, 228, 230), (190, 196, 205)))
    page.noise(0, page.uniform(1, 3))  # wiped marks
    pen = page.choose((30, 34, 40), (28, 60, 160), (180, 40, 44), (30, 120, 70))
    page.draw(pen, (3, 6.5), page.uniform(0.8, 1), page.uniform(0, 0.3))
    page.light(gradient(page, page.uniform(0.7, 0.95)))
    width, height = page.size
    x, y = np.arange(width)[None] / width - page.uniform(0, 1), np.arange(height)[:, None] / height - page.uniform(0, 1)
    glare = np.exp(-((x / page.uniform(0.05, 0.14)) ** 2) - (y / page.uniform(0.05, 0.14)) ** 2)
    page.cover(page.uniform(0.5, 0.9) * glare, (255, 255, 255))
    photographed(page, 3)


@surface
def chalk(page: Page) -> None:
    page.fill(page.choose((48, 82, 66), (38, 42, 44), (30, 62, 52), (58, 60, 60)))
    page.noise(0, page.uniform(3, 8))  # wiped chalk
    pen = page.choose((232, 234, 228), (240, 222, 140), (240, 180, 190), (170, 210, 240))
    page.draw(pen, (3, 7), page.uniform(0.7, 0.95), page.uniform(0.4, 0.75))
    page.light(gradient(page, page.uniform(0.75, 1)))
    photographed(page, 3)


@surface
def black_paper(page: Page) -> None:
    value = page.uniform(14, 42)
    page.fill((value, value, value))
    fibres(page, page.uniform(0.5, 2.5))
    page.draw(page.choose((240, 240, 240), (225, 205, 130), (200, 205, 215)), grain=page.uniform(0, 0.4))
    photographed(page)


@surface
def blueprint(page: Page) -> None:
    page.fill(page.choose((34, 66, 130), (24, 84, 150), (50, 74, 112)))
    fibres(page, page.uniform(0.5, 2))
    page.draw((232, 240, 248), (1.5, 4), page.uniform(0.75, 1))
    photographed(page)


# ------------------------------------------------------------------------------------------------------------------- screens


@surface
def dark_screen(page: Page) -> None:
    value = page.choose(18, 30, 40, 54)
    page.fill((value, value, value + page.choose(0, 4, 10)), 0)
    page.draw(page.choose((236, 236, 236), (255, 255, 255), (120, 200, 255), (255, 210, 90)))
    if page.uniform(0, 1) < 0.4:
        page.compress(75, 95)


@surface
def tool_bars(page: Page) -> None:
    page.fill(page.choose((255, 255, 255), (250, 250, 250), (240, 240, 242)), 0)
    top, side = page.uniform(0.05, 0.1), page.uniform(0, 1)
    left = page.uniform(0.07, 0.12) if side < 0.6 else 0.0
    page.draw(page.choose((0, 0, 0), (30, 30, 30), (200, 30, 40), (30, 80, 200)), region=(left, top, 1, 1))
    bar, icon = page.choose(((236, 236, 238), (80, 80, 84)), ((44, 46, 50), (220, 220, 224)), ((60, 110, 200), (245, 245, 250)))
    width, height = page.size
    x, y = np.arange(width)[None] / width, np.arange(height)[:, None] / height
    page.cover(((y < top) | (x < left)).astype(np.float32), bar)
    icons(page, (0, 0, width, top * height), icon, int(page.rng.integers(5, 11)))
    if left:
        icons(page, (0, top * height, left * width, height), icon, int(page.rng.integers(5, 11)))
    if page.uniform(0, 1) < 0.5:
        page.compress(75, 95)
