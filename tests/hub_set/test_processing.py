"""The values of processed photos and sketches.  python -m pytest tests/hub_set/test_processing.py"""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops, ImageDraw
from tiny import IMAGE_SIZE, encoded, image_processor, photo, pixels, processor, sketch

from ink_caan import crop_to_ink
from processing_caan import CAANImageProcessor, flatten_image

ORIENTATIONS = {  # EXIF value -> how the camera's picture was turned from the upright one
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def process():
    return image_processor()


def by_hand(image: Image.Image, size=(IMAGE_SIZE, IMAGE_SIZE)) -> torch.Tensor:
    """The same computed with PIL and numpy alone: (3, height, width) in [-1, 1]."""
    resized = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC), dtype=np.float64)
    return torch.from_numpy(resized.transpose(2, 0, 1) / 127.5 - 1).float()


# ------------------------------------------------------------------------------------------------------------ photos


@pytest.mark.parametrize("size", [(48, 40), (20, 90), (32, 32), (7, 5)])
def test_a_photo_is_resized_to_the_square_and_normalised(process, size):
    assert torch.allclose(pixels(process, photo(size), modality="photo"), by_hand(photo(size))[None], atol=1e-6)


def test_every_number_of_the_processor_is_used():
    mean, std = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    process = image_processor(size={"height": 24, "width": 16}, image_mean=mean, image_std=std)
    got = pixels(process, photo())
    expected = ((by_hand(photo(), (24, 16)) + 1) / 2 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert got.shape == (1, 3, 24, 16) and torch.allclose(got[0], expected, atol=1e-5)
    assert torch.equal(pixels(process, photo(), do_resize=False, do_normalize=False)[0, :, 3, 5] * 255, rgb_at(photo(), 3, 5))


def rgb_at(image, row, column):
    return torch.tensor(image.getpixel((column, row))).float()


MODES = {  # mode -> a colour in it, and what that is in RGB on white
    "1": (1, (255, 255, 255)),
    "L": (100, (100, 100, 100)),
    "RGB": ((10, 20, 30), (10, 20, 30)),
    "RGBX": ((10, 20, 30, 0), (10, 20, 30)),
    "RGBA": ((10, 20, 30, 51), (206, 208, 210)),  # 255 - 0.2 * (255 - c)
    "RGBa": ((2, 4, 6, 51), (206, 208, 210)),  # the same, premultiplied
    "LA": ((10, 51), (206, 206, 206)),
    "La": ((2, 51), (206, 206, 206)),
    "CMYK": ((0, 255, 255, 0), (255, 0, 0)),
    "YCbCr": ((100, 128, 128), (100, 100, 100)),
    "HSV": ((0, 255, 255), (255, 0, 0)),
    "LAB": ((255, 128, 128), (255, 255, 255)),
    "I;16": (40 * 257, (40, 40, 40)),
    "I;16B": (40 * 257, (40, 40, 40)),
    "I": (40 * 257, (40, 40, 40)),
    "F": (0.4, (102, 102, 102)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_the_same_colour_on_white(mode):
    colour, expected = MODES[mode]
    image = flatten_image(Image.new(mode, (5, 4), colour))
    assert image.mode == "RGB" and image.size == (5, 4)
    assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


def test_palettes_with_and_without_transparency():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert flatten_image(image).getpixel((0, 0)) == (200, 100, 50)
    image.putpixel((2, 1), 0)
    for transparency in (0, b"\x00\xff"):
        flat = flatten_image(Image.open(io.BytesIO(encoded(image, transparency=transparency))))
        assert flat.getpixel((2, 1)) == (255, 255, 255) and flat.getpixel((0, 0)) == (200, 100, 50)
    assert flatten_image(image.convert("PA")).getpixel((0, 0)) == (200, 100, 50)


@pytest.mark.parametrize(("mode", "ground", "expected"), [("L", 7, (90, 90, 90)), ("RGB", (7, 8, 9), (90, 91, 92))])
def test_one_colour_may_be_declared_transparent(mode, ground, expected):
    image = Image.new(mode, (4, 4), ground)
    image.putpixel((0, 0), expected[0] if mode == "L" else expected)
    flat = flatten_image(Image.open(io.BytesIO(encoded(image, transparency=ground))))
    assert flat.getpixel((0, 0)) == expected and flat.getpixel((1, 1)) == (255, 255, 255)


def test_a_16_bit_file_is_scaled_and_not_cut(tmp_path):
    values = np.linspace(0, 65535, 48 * 40).reshape(40, 48).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    flat = np.asarray(CAANImageProcessor().prepare(tmp_path / "deep.png"))
    assert np.abs(flat[..., 0] - values / 257).max() <= 0.51 and (flat[..., 0] == flat[..., 2]).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_photo_turned_by_exif_is_set_upright(tmp_path, process, orientation):
    upright = photo((30, 20))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright.transpose(ORIENTATIONS[orientation]).save(tmp_path / "turned.png", exif=exif)
    assert ImageChops.difference(process.prepare(tmp_path / "turned.png"), upright).getbbox() is None
    assert torch.equal(pixels(process, tmp_path / "turned.png"), pixels(process, upright))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_does_not_lose_the_photo(process):
    data = encoded(photo((16, 16)), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert process.prepare(data).size == (16, 16)


# ---------------------------------------------------------------------------------------------------------- sketches


def test_the_ink_box_and_the_square_by_hand():
    """A 10 x 4 bar; without margin a 10 x 10 square with 3 white rows above and below."""
    image = Image.new("RGB", (40, 30), "white")
    ImageDraw.Draw(image).rectangle((7, 20, 16, 23), fill="black")
    square = np.asarray(crop_to_ink(image, threshold=0.1, padding=0))
    assert square.shape == (10, 10, 3)
    assert (square[3:7] == 0).all() and (square[:3] == 255).all() and (square[7:] == 255).all()
    margin = np.asarray(crop_to_ink(image, threshold=0.1, padding=0.2))  # 2 pixels on each side
    assert margin.shape == (14, 14, 3) and (margin[2:-2, 2:-2] == square).all()
    assert (margin == 0).sum() == (square == 0).sum()


@pytest.mark.parametrize("padding", [0, 0.05, 0.3])
@pytest.mark.parametrize("box", [(10, 20, 40, 50), (0, 0, 63, 63), (30, 2, 34, 60), (5, 60, 50, 63)])
def test_the_crop_is_pils_bounding_box_centred(box, padding):
    image = sketch(box)
    left, top, right, bottom = ImageChops.invert(image.convert("L")).getbbox()
    side = max(right - left, bottom - top)
    side += 2 * round(padding * side)
    expected = Image.new("RGB", (side, side), "white")
    expected.paste(image.crop((left, top, right, bottom)), ((side - right + left) // 2, (side - bottom + top) // 2))
    assert ImageChops.difference(crop_to_ink(image, 0.1, padding), expected).getbbox() is None


def test_the_threshold_is_a_share_of_the_full_range():
    image = Image.new("RGB", (20, 20), "white")
    image.putpixel((10, 10), (0, 0, 0))
    image.putpixel((2, 3), (204, 204, 204))  # at a fifth of the range
    assert crop_to_ink(image, 0.25, 0).size == (1, 1) and crop_to_ink(image, 0.15, 0).size == (9, 9)


def test_place_does_not_matter_at_all_and_size_hardly(process):
    drawing = sketch((10, 20, 49, 59))  # 40 pixels, so that the margin is a whole number at both sizes
    placed = [sketch((10 + dx, 20 + dy, 49 + dx, 59 + dy), (100, 90)) for dx, dy in ((0, 0), (40, 5), (-9, 25))]
    expected = pixels(process, drawing, modality="sketch")
    for other in pixels(process, placed, modality="sketch"):
        assert torch.equal(other, expected[0])
    larger = drawing.resize((256, 256), Image.Resampling.NEAREST)
    assert (pixels(process, larger, modality="sketch") - expected).abs().mean() < 0.05
    as_photos = pixels(process, [drawing, larger, placed[1]], modality="photo")
    assert (as_photos[0] - as_photos[2]).abs().mean() > 0.1  # whereas a photo's place is kept


def test_white_on_black_is_the_same_drawing(process):
    drawing = sketch()
    inverted = Image.eval(drawing, lambda value: 255 - value)
    assert torch.equal(pixels(process, inverted, modality="sketch"), pixels(process, drawing, modality="sketch"))
    assert pixels(process, drawing, modality="sketch").mean() > 0


def test_a_drawing_that_touches_a_border_keeps_its_ground():
    drawing = Image.new("RGB", (32, 32), "white")
    ImageDraw.Draw(drawing).line((0, 0, 0, 31), fill="black")  # a whole side, a quarter of the border
    assert crop_to_ink(drawing, 0.1, 0).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("source", ["picture", "path", "bytes", "palette", "with tokenizer"])
def test_a_transparent_sketch_is_the_same_as_one_on_white(tmp_path, process, source):
    """Ink on nothing: the stock loader would give black on black."""
    drawing = sketch()
    transparent = drawing.convert("RGBA")
    transparent.putalpha(ImageChops.invert(drawing.convert("L")))
    transparent.save(tmp_path / "sketch.png")
    expected = pixels(process, drawing, modality="sketch")
    given = {
        "picture": transparent,
        "path": str(tmp_path / "sketch.png"),
        "bytes": (tmp_path / "sketch.png").read_bytes(),
        "palette": transparent.quantize(8),
        "with tokenizer": tmp_path / "sketch.png",
    }[source]
    assert torch.equal(pixels(processor() if source == "with tokenizer" else process, given, modality="sketch"), expected)


def test_the_values_of_a_sketch_by_hand(process):
    drawing = sketch()
    left, top, right, bottom = ImageChops.invert(drawing.convert("L")).getbbox()
    side = max(right - left, bottom - top) + 2 * round(0.05 * max(right - left, bottom - top))
    square = Image.new("RGB", (side, side), "white")
    square.paste(drawing.crop((left, top, right, bottom)), ((side - right + left) // 2, (side - bottom + top) // 2))
    assert torch.allclose(pixels(process, drawing, modality="sketch")[0], by_hand(square), atol=1e-6)


@pytest.mark.parametrize("ground", ["white", "black", (250, 250, 250)])
def test_a_blank_sketch_is_named(tmp_path, process, ground):
    Image.new("RGB", (20, 20), ground).save(tmp_path / "blank.png")
    with pytest.raises(ValueError, match="Image 1 of the batch .*blank.png.*: the sketch has no ink: it is blank"):
        process([sketch(), tmp_path / "blank.png"], modality="sketch")
    with pytest.raises(ValueError, match="Image 0 of the batch: the sketch has no ink"):
        process(Image.new("RGB", (20, 20), ground), modality="sketch")
    assert pixels(process, tmp_path / "blank.png", modality="photo").shape == (1, 3, 32, 32)
