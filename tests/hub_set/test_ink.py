"""What a sketch's outline encloses, and its shade.  python -m pytest tests/hub_set/test_ink.py"""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from tiny import image_processor, photo, pixels

from ink_caan import GAP, SIDE, flood, grow, shade_silhouette, silhouette
from processing_caan import CAANImageProcessor


def mask(picture: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in picture.split()])


def ring(size: int = 96, break_width: int = 0) -> Image.Image:
    """A circle's outline, open at the top by `break_width` pixels."""
    image = Image.new("RGB", (size, size), "white")
    ImageDraw.Draw(image).ellipse((8, 8, size - 9, size - 9), outline="black", width=3)
    if break_width:
        left = (size - break_width) // 2
        image.paste("white", (left, 0, left + break_width, 16))
    return image


def random_strokes(seed: int) -> np.ndarray:
    """(60, 70) booleans: random polylines, some of which close."""
    generator = np.random.default_rng(seed)
    image = Image.new("1", (70, 60))
    for _ in range(4):
        ImageDraw.Draw(image).line([tuple(xy) for xy in generator.integers(0, 60, (6, 2)).tolist()], fill=1)
    return np.asarray(image)


def test_grow_is_a_diamond():
    one = np.zeros((5, 5), dtype=bool)
    one[2, 2] = True
    assert np.array_equal(grow(one, 0), one)
    assert np.array_equal(grow(one, 2), mask("..#.. .###. ##### .###. ..#.."))


def test_flood_goes_round_corners_and_not_through_diagonals():
    free = mask("###.. ..#.. ###.# #...# ####.")
    assert np.array_equal(flood(free), mask("###.. ..#.. ###.. #.... ####."))


@pytest.mark.parametrize("seed", range(20))
def test_flood_agrees_with_labelled_components(seed):
    free = np.random.default_rng(seed).random((24, 31)) < 0.62
    free[0, 0] = True
    labels, _ = ndimage.label(free)
    assert np.array_equal(flood(free), labels == labels[0, 0])


def test_flood_of_a_spiral_reaches_its_end():
    image = Image.new("1", (61, 61))
    corners = [(0, 0), (60, 0), (60, 60), (0, 60), (0, 4), (56, 4), (56, 56), (4, 56), (4, 8), (52, 8), (52, 52)]
    ImageDraw.Draw(image).line(corners, fill=1)
    path = np.asarray(image)
    assert np.array_equal(flood(path), path)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("gap", [0, 2, 5])
def test_silhouette_agrees_with_scipy(seed, gap):
    ink = random_strokes(seed)
    area = np.pad(ink, gap + 1)
    if gap:
        area = ndimage.binary_dilation(area, iterations=gap)
    area = ndimage.binary_fill_holes(area)
    if gap:
        area = ndimage.binary_erosion(area, iterations=gap)
    expected = area[gap + 1 : -gap - 1, gap + 1 : -gap - 1] | ink
    assert np.array_equal(silhouette(ink, gap), expected)


def test_a_closed_outline_encloses_and_an_open_line_does_not():
    square = mask("##### #...# #...# #...# #####")
    assert silhouette(square, 0).all()
    line = mask("..... ##### ..... ..... .....")
    assert np.array_equal(silhouette(line, 0), line)
    assert not silhouette(np.zeros((9, 9), dtype=bool)).any()


@pytest.mark.parametrize("break_width", [0, GAP])
def test_the_shade_lies_inside_the_outline_and_under_its_ink(break_width):
    sketch = ring(SIDE, break_width)
    shaded = np.asarray(shade_silhouette(sketch, 0.6, 0.1))
    before = np.asarray(sketch)
    assert (shaded[SIDE // 2, SIDE // 2] == 255 * 0.4).all()
    assert (shaded[2, 2] == 255).all()
    assert (shaded[before == 0] == 0).all() and (shaded <= before).all()


def test_a_wide_open_outline_stays_a_line():
    sketch = ring(SIDE, break_width=40)
    shaded = np.asarray(shade_silhouette(sketch, 0.6, 0.1))
    assert (shaded[SIDE // 2, SIDE // 2] == 255).all()


@pytest.mark.parametrize(("break_width", "closed"), [(2 * GAP, True), (2 * GAP + 1, False)])
def test_a_break_of_up_to_twice_the_gap_is_closed(break_width, closed):
    assert GAP == 5  # of SIDE, which models are trained with
    sketch = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(sketch).rectangle((20, 20, 107, 107), outline="black")
    sketch.paste("white", (50, 20, 50 + break_width, 21))
    assert (shade_silhouette(sketch, 0.6, 0.1).getpixel((64, 64)) == (102,) * 3) == closed


@pytest.mark.parametrize(("level", "shaded"), [(203, True), (204, False)])
def test_ink_is_darker_than_white_by_more_than_the_threshold(level, shaded):
    """255 * (1 - 0.2) is 204, which is no ink."""
    sketch = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(sketch).rectangle((20, 20, 107, 107), outline=(level,) * 3)
    assert (shade_silhouette(sketch, 0.6, 0.2).getpixel((64, 64)) == (102,) * 3) == shaded


@pytest.mark.parametrize("size", [40, 128, 301])
def test_the_shade_does_not_depend_on_the_size(size):
    shaded = np.asarray(shade_silhouette(ring(size), 0.5, 0.1).resize((16, 16), Image.Resampling.BOX))
    assert abs(int(shaded[8, 8, 0]) - 127) <= 1 and shaded[0, 0, 0] == 255


def test_the_processor_shades_sketches_alone_and_keeps_the_setting(tmp_path):
    plain, shading = image_processor(), image_processor(sketch_shade=0.5)
    lines = pixels(plain, ring(), modality="sketch")
    shaded = pixels(shading, ring(), modality="sketch")
    middle = lines.shape[-1] // 2
    assert lines[0, :, middle, middle].tolist() == [1, 1, 1]
    assert torch.allclose(shaded[0, :, middle, middle], torch.tensor(0.0), atol=0.01)  # half of white, in [-1, 1]
    assert torch.equal(pixels(shading, photo(), modality="photo"), pixels(plain, photo(), modality="photo"))
    assert torch.equal(pixels(plain, ring(), modality="sketch", sketch_shade=0.5), shaded)
    shading.save_pretrained(tmp_path)
    assert (tmp_path / "ink_caan.py").exists()
    assert torch.equal(pixels(CAANImageProcessor.from_pretrained(tmp_path), ring(), modality="sketch"), shaded)


def test_a_shade_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"sketch_shade must be in \[0, 1\], got 55"):
        pixels(image_processor(), ring(), modality="sketch", sketch_shade=55)
