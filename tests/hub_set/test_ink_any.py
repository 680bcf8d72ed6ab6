"""Any picture gives a drawing or an error that is named.  python -m pytest tests/hub_set/test_ink_any.py"""

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from tiny import image_processor

from ink_caan import find_drawing

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16")
NAMED = "no ink|no drawing|shape|too large|blank"


def prepared(image: Image.Image, **options) -> Image.Image | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return image_processor().prepare(image, "sketch", **options)
        except ValueError as error:
            assert any(word in str(error) for word in NAMED.split("|")), error
    return None


@given(
    mode=st.sampled_from(MODES),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    strokes=st.integers(0, 6),
    seed=st.integers(0, 10**6),
    shade=st.sampled_from([0.0, 0.55]),
)
@settings(max_examples=60, deadline=None)
def test_any_mode_and_size(mode, width, height, strokes, seed, shade):
    generator = np.random.default_rng(seed)
    ground, ink = (tuple(generator.integers(0, 256, 3).tolist()) for _ in range(2))
    image = Image.new("RGB", (width, height), ground)
    for _ in range(strokes):
        ends = generator.integers(-5, [width + 5, height + 5], (2, 2)).ravel().tolist()
        ImageDraw.Draw(image).line(ends, ink, int(generator.integers(1, 9)))
    other = image.convert("L").convert("I").point(lambda value: value * 256) if mode == "I;16" else image
    square = prepared(other if mode == "I;16" else image.convert(mode) if mode != "LAB" else image, sketch_shade=shade)
    assert square is None or square.mode == "RGB" and square.width == square.height


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_ink_that_differs_by_30_in_one_channel_is_found(seed):
    generator = np.random.default_rng(seed)
    ground = generator.integers(0, 256, 3)
    ink, channel = ground.copy(), int(generator.integers(3))
    ink[channel] += 30 if ground[channel] < 128 else -30
    image = Image.new("RGB", (160, 160), tuple(ground.tolist()))
    ImageDraw.Draw(image).ellipse((30, 40, 130, 120), outline=tuple(ink.tolist()), width=5)
    left, top, right, bottom = find_drawing(image).box
    assert np.abs(np.array([left, top, right, bottom]) - [30, 40, 131, 121]).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (20000, 3), (3, 20000), (5000, 1)])
@pytest.mark.parametrize("ground", [(255, 255, 255), (200, 180, 140), (20, 20, 30)])
def test_extreme_shapes(size, ground):
    image = Image.new("RGB", size, ground)
    assert prepared(image) is None
    image.paste((90, 90, 200), (size[0] // 3, 0, size[0] // 3 + 1, size[1]))
    square = prepared(image)
    assert square is None or square.width == square.height <= 6000


@pytest.mark.parametrize("angle", range(0, 360, 30))
def test_any_rotation_of_the_page(angle):
    image = Image.new("RGB", (300, 300), (240, 236, 220))
    ImageDraw.Draw(image).ellipse((110, 120, 190, 180), outline=(40, 40, 60), width=4)
    turned = image.rotate(angle, fillcolor=(60, 40, 30), expand=True)
    square = prepared(turned)
    dark = np.asarray(square.convert("L")) < 128
    assert 60 <= max(square.size) <= 115 and 0.02 < dark.mean() < 0.25


@pytest.mark.parametrize("size", [(20000, 3), (3, 20000)])
def test_a_thin_line_on_a_strip_takes_bounded_memory(size):
    """Its square has 6000 x 6000 pixels, and the line is thickened there."""
    image = Image.new("RGB", size, (200, 190, 170))
    ImageDraw.Draw(image).line([0.2 * size[0], 0.3 * size[1], 0.8 * size[0], 0.7 * size[1]], (20, 20, 60))
    tracemalloc.start()
    try:
        assert image_processor(sketch_shade=0.5)([image], modality="sketch", return_tensors="np")["pixel_values"].min() < 0.9
        assert tracemalloc.get_traced_memory()[1] < 500e6  # 1,300 MB where each channel was thickened
    finally:
        tracemalloc.stop()
