"""The parts of `ink_caan`, each against a slow or independent form.  python -m pytest tests/hub_set/test_ink_parts.py"""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from ink_caan import (
    Page,
    Parts,
    close_gaps,
    convex_hull,
    cut_page,
    dilate,
    doubt,
    doubt_features,
    fill_holes,
    four_corners,
    has_specks,
    label,
    mean_width,
    polygon_area,
    ruled_out,
    strength,
    thicken,
)

CORNERS = np.ones((3, 3))


@pytest.mark.parametrize("seed", range(20))
def test_label_agrees_with_scipy(seed):
    generator = np.random.default_rng(seed)
    mask = generator.random(generator.integers(1, 40, 2)) < generator.uniform(0.05, 0.95)
    labels, count = label(mask)
    expected, number = ndimage.label(mask, CORNERS)
    assert count == number and not labels[~mask].any()
    assert len(set(zip(labels[mask], expected[mask], strict=True))) == count


def test_label_of_nothing():
    labels, count = label(np.zeros((3, 4), bool))
    assert count == 0 and labels.shape == (3, 4)


@pytest.mark.parametrize("size", [1, 3, 9, 41])
def test_dilate_and_close_agree_with_scipy(size):
    values = np.random.default_rng(0).integers(0, 255, (30, 37, 3)).astype(np.uint8)
    for channel in range(3):
        expected = ndimage.maximum_filter(values[..., channel], size, mode="constant", cval=0)
        assert np.array_equal(dilate(values, size)[..., channel], expected)
        closed = ndimage.minimum_filter(expected, size, mode="constant", cval=255)
        assert np.array_equal(close_gaps(values, size)[..., channel], closed)


@pytest.mark.parametrize("seed", range(5))
def test_fill_holes_agrees_with_scipy(seed):
    mask = np.random.default_rng(seed).random((25, 31)) < 0.55
    assert np.array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize(("angle", "width"), [(0, 6), (30, 6), (45, 12), (77, 9)])
def test_mean_width_of_a_line(angle, width):
    """Within 30 %, whatever the angle: sides of pixels are counted, and a slanted line has more of them."""
    image = Image.new("1", (300, 300))
    x, y = 120 * np.cos(np.radians(angle)), 120 * np.sin(np.radians(angle))
    ImageDraw.Draw(image).line((150 - x, 150 - y, 150 + x, 150 + y), 1, width)
    assert mean_width(np.asarray(image)) == pytest.approx(width, rel=0.3)


def test_parts_measures():
    mask = np.zeros((20, 30), bool)
    mask[2:5, 3:13] = True  # 3 x 10
    mask[10:14, 20:24] = True  # 4 x 4
    ink = np.where(mask, 0.5, 0).astype(np.float32)
    ink[3, 3] = 0.9
    parts = Parts(mask, ink)
    assert parts.count == 2 and parts.area.tolist() == [0, 30, 16]
    assert parts.box[1:].tolist() == [[2, 3, 5, 13], [10, 20, 14, 24]]
    assert parts.extent[1:].tolist() == [10, 4] and parts.peak[1:] == pytest.approx([0.9, 0.5])
    assert parts.mass[1:] == pytest.approx([15.4, 8.0])
    assert parts.width[1:] == pytest.approx([8 * 30 / np.pi / 26, 8 * 16 / np.pi / 16])
    left = np.zeros_like(mask)
    left[:, :8] = True
    assert parts.share_in(left)[1:].tolist() == [0.5, 0]


@pytest.mark.parametrize(("gap", "alone"), [(20, True), (6, False)])
def test_a_speck_is_alone_or_not(gap, alone):
    ink = np.zeros((60, 60), bool)
    ink[10:50, 10:13] = True
    ink[30, 13 + gap] = True
    assert has_specks(ink, 1, 10) == alone


def test_hull_and_corners_of_a_turned_page():
    corners = np.array([(40, 10), (150, 40), (120, 150), (10, 120)])
    image = Image.new("1", (160, 160))
    ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners.tolist()], fill=1)
    hull = convex_hull(np.asarray(image))
    assert polygon_area(hull) == pytest.approx(polygon_area(corners.astype(float)), rel=0.05)
    found = four_corners(hull)
    assert np.abs(found - np.roll(corners, -int(np.argmin(corners.sum(axis=1))), axis=0)).max() < 3


def test_a_page_is_cut_out_upright():
    image = Image.new("RGB", (200, 200), "black")
    corners = np.array([(60.0, 20), (180, 50), (150, 170), (30, 140)])
    ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners.tolist()], fill="white")
    page, paper = cut_page(image, Page(corners, True, np.ones((128, 128), bool)))
    side = np.hypot(120, 30)
    assert page.size == (round(side), round(side))
    assert (np.asarray(page)[paper] > 250).all() and paper.mean() > 0.8


def test_strength_is_that_of_the_lines_and_not_of_the_noise():
    ink = np.full((50, 50), 0.04, np.float32)
    ink[20:22] = 0.7
    assert strength(ink) == pytest.approx(0.7)
    with pytest.raises(ValueError, match="it is blank"):
        strength(np.zeros((4, 4), np.float32))


@pytest.mark.parametrize("graph", [False, True])
def test_rules_go_and_what_crosses_them_stays(graph):
    ink = np.zeros((300, 300), np.float32)
    ink[20::25] = 0.2
    if graph:
        ink[:, 20::25] = 0.2
    ink[100:200, 150:156] = 0.8
    ink[97:103, 100:200] = 0.8
    left, ruled = ruled_out(ink)
    assert ruled
    assert left[20::25, :90].max() == 0 and (left[105:194, 151:155] > 0.55).all() and (left[98:99, 120:130] > 0.55).all()


def test_what_is_not_ruled_stays():
    ink = np.zeros((300, 300), np.float32)
    for y in (50, 60, 130):  # three lines that are unevenly spaced
        ink[y : y + 2, 20:280] = 0.8
    left, ruled = ruled_out(ink)
    assert not ruled and np.array_equal(left, ink)


@pytest.mark.parametrize(("pixels", "width"), [(0, 4), (1, 6), (2.5, 9), (-1, 4)])
def test_thicken(pixels, width):
    image = Image.new("RGB", (40, 40), "white")
    image.paste("black", (18, 0, 22, 40))
    dark = (255 - np.asarray(thicken(image, pixels))[20, :, 0].astype(float)).sum() / 255
    assert dark == pytest.approx(width, abs=0.02)


def test_doubt_grows_with_ink_and_parts():
    ground = Image.new("RGB", (100, 100), "white")
    few = np.zeros((100, 100), bool)
    few[50, 10:90] = True
    many = np.random.default_rng(0).random((100, 100)) < 0.3
    low, high = (
        doubt(doubt_features(mask * value, ground, Parts(mask, mask * value), value, None))
        for mask, value in ((few, 0.8), (many, 0.3))
    )
    assert low < 0.01 < 0.5 < high
