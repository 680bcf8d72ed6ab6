"""Drawings on paper, boards and screens.  python -m pytest tests/data/test_surfaces.py"""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import label

from caan.data.page import WIDEST, homography, place_drawing, project, stroke_width
from caan.data.surfaces import LIGHT_ON_DARK, SURFACES, TURNED, on_surface, place_on_surface, random_surface

SIZE = (240, 320)


def cross(size=(90, 70), width=5) -> Image.Image:
    """A frame with both diagonals that reaches all four sides."""
    image = Image.new("L", size, 255)
    pen, (right, bottom) = ImageDraw.Draw(image), (size[0] - 1, size[1] - 1)
    pen.rectangle([0, 0, right, bottom], outline=0, width=width)
    pen.line([(0, 0), (right, bottom)], fill=0, width=width)
    pen.line([(0, bottom), (right, 0)], fill=0, width=width)
    return image


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


def inside(corners: np.ndarray, size=SIZE, grown: float = 0) -> np.ndarray:
    """Pixels (h, w) within a quadrilateral that is grown by some pixels to all sides."""
    centre = corners.mean(axis=0)
    reach = np.linalg.norm(corners - centre, axis=1, keepdims=True)
    corners = centre + (corners - centre) * (1 + grown * 2**0.5 / reach)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in corners], fill=1)
    return np.asarray(mask, bool)


def ink_there(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Brightness (h, w) that the drawing adds to the surface, that of the surface, and the drawing's corners.

    Brightness is that of the darkest channel, so that a yellow highlighter counts.
    """
    drawn, corners = place_on_surface(cross(), name, rng(seed), SIZE)
    empty, same = place_on_surface(Image.new("L", cross().size, 255), name, rng(seed), SIZE)
    assert np.array_equal(corners, same)
    with_ink, without = (np.asarray(image, float).min(axis=2) for image in (drawn, empty))
    return with_ink - without, without, corners


def test_there_are_surfaces_of_all_kinds():
    assert len(SURFACES) >= 30
    assert SURFACES.keys() > LIGHT_ON_DARK and SURFACES.keys() > TURNED


@pytest.mark.parametrize("name", SURFACES)
def test_the_generator_decides_every_byte(name):
    first, again, other = (on_surface(cross(), name, rng(seed), SIZE) for seed in (3, 3, 4))
    assert first.mode == "RGB" and first.size == SIZE
    assert first.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize("seed", range(3))
def test_the_ink_is_in_the_told_box_and_darker_or_lighter_as_said(name, seed):
    change, ground, corners = ink_there(name, seed)
    box, near = inside(corners), inside(corners, grown=12)  # JPEG blocks and blur spread a little
    strong = np.abs(change) > max(12, 0.4 * np.abs(change).max())
    assert strong[box].sum() > 0.02 * box.sum()
    if name != "bleed_through":  # whose other drawing shines through elsewhere
        assert strong[~near].mean() < 0.002
    assert np.sign(change[strong & box].mean()) == (1 if name in LIGHT_ON_DARK else -1)
    if name in LIGHT_ON_DARK:
        assert np.median(ground[box]) < 128


@pytest.mark.parametrize("name", sorted(SURFACES.keys() - TURNED))
def test_the_box_is_upright_of_the_drawing_s_shape_and_within_the_page(name):
    for seed in range(5):
        corners = place_on_surface(cross(), name, rng(seed), SIZE)[1]
        (left, top), (right, bottom) = corners[0], corners[2]
        assert np.array_equal(corners, [(left, top), (right, top), (right, bottom), (left, bottom)])
        assert 0 <= left < right <= SIZE[0] and 0 <= top < bottom <= SIZE[1]
        assert (bottom - top) / (right - left) == pytest.approx(7 / 9, rel=0.05)
        assert 0.2 * SIZE[0] < right - left < 0.86 * SIZE[0]


@pytest.mark.parametrize("name", sorted(TURNED))
def test_pages_are_turned_by_at_most_some_twenty_degrees(name):
    degrees = []
    for seed in range(30):
        x, y = np.subtract(*place_on_surface(cross(), name, rng(seed), SIZE)[1][[1, 0]])
        degrees.append(np.degrees(np.arctan2(y, x)))
    assert 2 < np.max(np.abs(degrees)) < 28


@pytest.mark.parametrize("size", [(64, 64), (31, 200), (256, 100), (401, 299)])
def test_any_size_of_page_and_drawing(size):
    for seed, drawing in enumerate([cross(), cross((5, 3), 1), cross((300, 40)).convert("RGB"), Image.new("1", (1, 1))]):
        for name in SURFACES:
            picture, corners = place_on_surface(drawing, name, rng(seed), size)
            assert picture.size == size and np.isfinite(corners).all()


def test_white_under_transparency_is_no_ink():
    clear = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (20, 10, 40, 50))
    flat = Image.new("RGB", (60, 60), "white")
    flat.paste((0, 0, 0), (20, 10, 40, 50))
    assert on_surface(clear, "kraft", rng(), SIZE).tobytes() == on_surface(flat, "kraft", rng(), SIZE).tobytes()


def test_a_random_surface_is_any_of_them():
    pictures = {random_surface(cross(), rng(seed), (64, 64)).tobytes() for seed in range(20)}
    assert len(pictures) == 20
    assert random_surface(cross(), rng(7), (64, 48)).tobytes() == random_surface(cross(), rng(7), (64, 48)).tobytes()


def test_an_unknown_surface_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="no surface 'papyrus'; there are ballpoint, black_paper, .*yellowed"):
        on_surface(cross(), "papyrus", rng())


@pytest.mark.parametrize("wanted", [3, 6, 9])
@pytest.mark.parametrize("side", [100, 300, 600])
def test_strokes_are_about_as_wide_as_asked(wanted, side):
    """A bar of 4 of 100 pixels, made wider, or thinner by up to 0.6, whether the drawing is enlarged or reduced."""
    bar = Image.new("L", (100, 100), 255)
    ImageDraw.Draw(bar).line([(50, 0), (50, 99)], fill=0, width=4)
    ImageDraw.Draw(bar).line([(0, 97), (99, 97)], fill=0, width=4)
    for seed in range(3):
        ink, corners = place_drawing(bar, rng(seed), (side, side), (0, 0, 1, 1), wanted)
        (left, top), (right, _) = corners[0], corners[2]
        found = ink[round(top + 0.3 * (right - left)), round(left) : round(right)].sum()  # width of the upright line
        scale = (right - left) / 100
        least = 2.4 * scale if 1 < scale < WIDEST / 5 else 4 * scale  # wider ones are left alone
        assert found == pytest.approx(np.clip(wanted, least, 12 * scale), rel=0.35, abs=1), (seed, scale)


def test_thinning_does_not_break_uneven_strokes():
    """A closed curve of which each second piece is a third thinner and grayer stays one piece."""
    curve = Image.new("L", (1024, 1024), 255)
    for start in range(0, 360, 10):
        thin = start // 10 % 2
        ImageDraw.Draw(curve).arc([64, 64, 960, 960], start - 1, start + 11, fill=60 * thin, width=16 - 5 * thin)
    curve = curve.resize((256, 256), Image.Resampling.BOX)
    for seed in range(5):
        ink, corners = place_drawing(curve, rng(seed), (600, 600), (0, 0, 1, 1), 1.5)
        assert label(ink > 0.4, np.ones((3, 3)))[1] == 1, seed


def test_stroke_width_of_a_plain_line():
    for width in (2, 5, 9):
        image = Image.new("L", (100, 200))
        ImageDraw.Draw(image).rectangle([40, 0, 39 + width, 199], fill=255)
        assert stroke_width(image) == pytest.approx(1.25 * width, rel=0.05)  # upright: its edges cross rows only


def test_a_homography_takes_corners_to_corners():
    flat, quad = np.array([(0, 0), (4, 0), (4, 3), (0, 3)], float), np.array([(1, 1), (7, 2), (6, 9), (0, 5)], float)
    assert np.allclose(project(homography(flat, quad), flat), quad)
    assert np.allclose(project(homography(quad, flat), project(homography(flat, quad), flat + 0.5)), flat + 0.5)
