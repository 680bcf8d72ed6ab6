"""The rule by which a digital drawing keeps its pixels.  python -m pytest tests/hub_set/test_ink_clean.py"""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from tiny import image_processor

from ink_caan import crop_to_ink, is_clean

SIZE = 200


def drawing(ink="black", ground="white", width: int = 5, size: int = SIZE) -> Image.Image:
    """A house and its door, in the middle of the page."""
    image = Image.new("RGB", (size, size), ground)
    draw, unit = ImageDraw.Draw(image), size / 10
    outline = [(x * unit, y * unit) for x, y in [(3, 7), (3, 4), (5, 2), (7, 4), (7, 7), (3, 7), (7, 7)]]
    draw.line(outline, ink, width, joint="curve")
    draw.rectangle((4.5 * unit, 5.5 * unit, 5.5 * unit, 7 * unit), outline=ink, width=width)
    return image


def with_pixels(box, colour) -> Image.Image:
    image = drawing()
    image.paste(colour, box)
    return image


CLEAN = {
    "pure": drawing(),
    "nearly black": drawing((60, 60, 60)),
    "soft edges": drawing().filter(ImageFilter.BoxBlur(1)),
    "touches the border": with_pixels((0, 120, 65, 125), "black"),
    "a dot inside": with_pixels((110, 90, 114, 94), "black"),
}
NOT_CLEAN = {
    "off white": drawing(ground=(254, 254, 254)),
    "coloured": drawing((60, 0, 0)),
    "pencil": drawing((120, 120, 120)),
    "white on black": drawing("white", "black"),
    "a stray pixel": with_pixels((195, 195, 196, 196), "black"),
    "a gray pixel far away": with_pixels((5, 5, 6, 6), (200, 200, 200)),
    "pale paper beside": with_pixels((0, 0, 200, 20), (240, 240, 240)),
    "a scanner's edge": with_pixels((0, 0, 3, 200), "black"),
    "thin": drawing(width=1, size=400),
    "mostly black": with_pixels((0, 60, 200, 200), "black"),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_drawing_keeps_its_pixels(name):
    image = CLEAN[name]
    assert is_clean(image, 0.01)
    expected = np.asarray(crop_to_ink(image, 0.1, 0.05))
    assert np.array_equal(np.asarray(image_processor().prepare(image, "sketch")), expected)


@pytest.mark.parametrize("name", NOT_CLEAN)
def test_what_is_not_clean(name):
    assert not is_clean(NOT_CLEAN[name], 0.01)


def test_a_frame_is_not_clean_and_a_box_is():
    framed, boxed = drawing(), drawing()
    ImageDraw.Draw(framed).rectangle((6, 6, 193, 193), outline="black", width=3)
    ImageDraw.Draw(boxed).rectangle((30, 30, 169, 169), outline="black", width=3)
    assert not is_clean(framed, 0.01) and is_clean(boxed, 0.01)


@pytest.mark.parametrize(("width", "clean"), [(2, True), (1, False)])
def test_least_width(width, clean):
    """Of a drawing of 200 pixels, lines of one pixel are less than a hundredth and lines of two are more."""
    image = drawing(width=width, size=400)
    assert is_clean(image, 0.01) == clean and is_clean(image, 0.0)


def test_a_drawing_on_the_checks_of_transparency():
    rows, columns = np.indices((SIZE, SIZE)) // 10
    image = Image.fromarray(np.where((rows + columns) % 2, 255, 204).astype(np.uint8)).convert("RGB")
    image.paste("black", mask=drawing().convert("L").point(lambda level: 255 * (level < 128)))
    found = image_processor().prepare(image, "sketch")
    assert abs(found.width - image_processor().prepare(drawing(), "sketch").width) <= 4
    assert 0.05 < (np.asarray(found) < 128).mean() < 0.25


@pytest.mark.parametrize(("side", "refused"), [(64, True), (63, False)])
def test_what_is_no_drawing_is_refused_where_it_is_large_enough_to_tell(side, refused):
    cells = np.random.default_rng(0).integers(0, 256, (side // 16 + 2, 14, 3), dtype=np.uint8)
    noise = Image.fromarray(cells).resize((200, side), Image.Resampling.BICUBIC)  # colours that change softly, as in a photo
    if refused:
        with pytest.raises(ValueError, match="the sketch is no drawing but a photo of something: `caan figures sketches FILE`"):
            image_processor().prepare(noise, "sketch")
    else:
        with pytest.warns(UserWarning, match=r"the sketch may be no drawing \(100% sure\)"):
            image_processor().prepare(noise, "sketch")
    assert image_processor().prepare(noise, "sketch", ink_mode="border").mode == "RGB"


def test_the_border_mode_is_the_one_before():
    image = drawing("white", (30, 30, 30))
    before = np.asarray(crop_to_ink(image, 0.1, 0.05))
    assert np.array_equal(np.asarray(image_processor(ink_mode="border").prepare(image, "sketch")), before)
    assert np.array_equal(np.asarray(image_processor().prepare(image, "sketch", ink_mode="border")), before)
    assert image_processor().prepare(image, "sketch").size[0] < before.shape[0]
