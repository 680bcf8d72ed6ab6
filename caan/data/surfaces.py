"""Drawings as people have them: a clean drawing put on paper, a board or a screen, and photographed, scanned or copied.

    picture = on_surface(drawing, "kraft", np.random.default_rng(0), size=(600, 800))
    picture = random_surface(drawing, rng, size=(256, 256))              # any of SURFACES
    picture, corners = place_on_surface(drawing, "desk", rng, (600, 800))  # and where the drawing is

Ours. Each surface has random parameters, all from the generator that is given: the same generator gives the same bytes. Of a
desk, a phone's photo and a sticky note the page is turned, so that `corners` are those of no upright box.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from caan.data.page import Page
from caan.data.surfaces_paper import PAPERS
from caan.data.surfaces_places import PLACES

SURFACES: dict[str, Callable[[Page], None]] = {kind.__name__: kind for kind in (*PAPERS, *PLACES)}
LIGHT_ON_DARK = frozenset({"black_paper", "blueprint", "chalk", "dark_screen"})  # the drawing is lighter than its ground
TURNED = frozenset({"desk", "phone_pencil", "sticky_note"})  # the page is turned or in perspective


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
