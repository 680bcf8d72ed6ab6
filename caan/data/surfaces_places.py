"""Surfaces of `caan.data.surfaces`: paper under a lamp or on a desk, boards, and screens.

Each puts a page's drawing on it; ranges were set by eye, on the sheet of `python -m benchmarks.paper --sheet FILE`.
"""

from collections.abc import Callable

import numpy as np

from caan.data.page import Page
from caan.data.page_marks import desk_quad, fibres, gradient, hand_shadow, icons, plain_ground, shadow, vignette, wood
from caan.data.surfaces_paper import BLACK_PENS, WHITE_PAPERS, photographed, written

# --------------------------------------------------------------------------------------------------------------------- light


def lamp(page: Page) -> None:
    written(page)
    warm = np.array([1, page.uniform(0.95, 1), page.uniform(0.82, 1)], np.float32)
    page.light(gradient(page, page.uniform(0.35, 0.7))[..., None] * warm)
    photographed(page, 3)


def hard_shadow(page: Page) -> None:
    written(page)
    page.light(shadow(page, page.uniform(0.5, 0.75), page.uniform(1, 6)))
    photographed(page)


def soft_shadow(page: Page) -> None:
    written(page)
    page.light(gradient(page, page.uniform(0.8, 1)) * hand_shadow(page, page.uniform(0.45, 0.72)))
    photographed(page, 3)


def dark_corners(page: Page) -> None:
    written(page)
    page.light(vignette(page, page.uniform(0.4, 0.75)))
    photographed(page, 3)


# ----------------------------------------------------------------------------------------------------------- things and places


def desk(page: Page) -> None:
    """A page on wood or a plain desk, turned, seen aslant and lit from one side."""
    written(page)
    ground = (
        wood(page)
        if page.uniform(0, 1) < 0.7
        else plain_ground(page, page.choose((58, 60, 66), (205, 202, 196), (120, 60, 55)))
    )
    page.warp(desk_quad(page, 20, 0.06), ground)
    page.light(gradient(page, page.uniform(0.6, 1)))
    photographed(page, 3)


def phone_pencil(page: Page) -> None:
    """A phone's photo of a pencil drawing: uneven light, blur, noise, often the desk around the page."""
    page.fill(page.choose(*WHITE_PAPERS))
    value = page.uniform(70, 125)
    page.draw((value, value, value + 3), (1.8, 4.5), page.uniform(0.7, 1), page.uniform(0.3, 0.6))
    if page.uniform(0, 1) < 0.5:  # else the page is larger than the photo
        page.warp(desk_quad(page, 12, 0.05, (0.8, 0.95)), page.choose(wood(page), plain_ground(page, (70, 72, 78))))
    page.light(gradient(page, page.uniform(0.5, 0.8)) * np.float32(page.uniform(0.75, 1)))
    page.blur(page.uniform(0.4, 1.1))
    photographed(page, 5)


def sticky_note(page: Page) -> None:
    page.fill(page.choose((255, 242, 130), (250, 180, 200), (170, 225, 245), (190, 235, 150)), 6)
    page.draw(page.choose(*BLACK_PENS, (28, 48, 150)), (2.5, 6))
    page.light(gradient(page, page.uniform(0.85, 1)))
    if page.uniform(0, 1) < 0.7:
        page.warp(desk_quad(page, 8, 0.03, (0.6, 0.85)), plain_ground(page, page.choose((226, 226, 222), (120, 110, 104))))
    photographed(page)


def scanner_edge(page: Page) -> None:
    """A scan with one or two dark edges of the lid."""
    written(page)
    width, height = page.size
    x, y = np.arange(width)[None], np.arange(height)[:, None]
    for edge in page.rng.permutation(4)[: int(page.rng.integers(1, 3))]:
        distance = (x, width - 1 - x, y, height - 1 - y)[edge] + np.zeros((height, width))
        thick, soft = page.uniform(2, 22) * page.unit, page.uniform(0.5, 5) * page.unit
        page.cover(page.uniform(0.6, 1) * (0.5 + (thick - distance) / max(1, 2 * soft)).clip(0, 1), (30, 30, 32))
    photographed(page)


def whiteboard(page: Page) -> None:
    """A marker on a white board with wiped marks and a glare."""
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


def chalk(page: Page) -> None:
    page.fill(page.choose((48, 82, 66), (38, 42, 44), (30, 62, 52), (58, 60, 60)))
    page.noise(0, page.uniform(3, 8))  # wiped chalk
    pen = page.choose((232, 234, 228), (240, 222, 140), (240, 180, 190), (170, 210, 240))
    page.draw(pen, (3, 7), page.uniform(0.7, 0.95), page.uniform(0.4, 0.75))
    page.light(gradient(page, page.uniform(0.75, 1)))
    photographed(page, 3)


def black_paper(page: Page) -> None:
    value = page.uniform(14, 42)
    page.fill((value, value, value))
    fibres(page, page.uniform(0.5, 2.5))
    page.draw(page.choose((240, 240, 240), (225, 205, 130), (200, 205, 215)), grain=page.uniform(0, 0.4))
    photographed(page)


def blueprint(page: Page) -> None:
    page.fill(page.choose((34, 66, 130), (24, 84, 150), (50, 74, 112)))
    fibres(page, page.uniform(0.5, 2))
    page.draw((232, 240, 248), (1.5, 4), page.uniform(0.75, 1))
    photographed(page)


# ------------------------------------------------------------------------------------------------------------------- screens


def dark_screen(page: Page) -> None:
    value = page.choose(18, 30, 40, 54)
    page.fill((value, value, value + page.choose(0, 4, 10)), 0)
    page.draw(page.choose((236, 236, 236), (255, 255, 255), (120, 200, 255), (255, 210, 90)))
    if page.uniform(0, 1) < 0.4:
        page.compress(75, 95)


def tool_bars(page: Page) -> None:
    """A screenshot of a drawing program with bars of icons."""
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


PLACES: tuple[Callable[[Page], None], ...] = (
    lamp,
    hard_shadow,
    soft_shadow,
    dark_corners,
    desk,
    phone_pencil,
    sticky_note,
    scanner_edge,
    whiteboard,
    chalk,
    black_paper,
    blueprint,
    dark_screen,
    tool_bars,
)
