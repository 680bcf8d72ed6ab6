"""One picture or many, in every form that people have them.  python -m pytest tests/hub_set/test_forms.py"""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from PIL import PngImagePlugin, TiffImagePlugin
from tiny import encoded, image_processor, photo, pixels, sketch

from ink_caan import MAX_SIDE, crop_to_ink
from processing_caan import CAANImageProcessor, as_batch, flatten_image, open_image


@pytest.fixture(scope="module")
def process():
    return image_processor()


@pytest.fixture
def path(tmp_path) -> Path:
    sketch().save(tmp_path / "s.png")
    return tmp_path / "s.png"


def single_forms(path: Path) -> dict:
    content = path.read_bytes()
    return {
        "path": path,
        "text": str(path),
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "open file": open(path, "rb"),  # noqa: SIM115
        "BytesIO": io.BytesIO(content),
        "PIL": sketch(),
        "array": np.asarray(sketch()),
        "gray array": np.asarray(sketch().convert("L")),
        "tensor": torch.tensor(np.asarray(sketch())).permute(2, 0, 1),
        "row with bytes": {"bytes": content, "path": None},
        "row with a path": {"bytes": None, "path": str(path)},
        "gradio's editor": {"background": None, "layers": [], "composite": sketch()},
        "gradio's editor, array": {"background": None, "layers": [], "composite": np.asarray(sketch())},
    }


COUNTS = {"array of gray pictures": 5, "keys of a dict": 1}  # of the pictures in a form; the others hold two


def many_forms(path: Path) -> dict:
    column = Dataset.from_dict({"image": [str(path)] * 2}).cast_column("image", Image())["image"]
    array = np.asarray(sketch())
    objects = np.empty(2, dtype=object)
    objects[:] = [sketch(), str(path)]
    return {
        "list": [path, str(path)],
        "tuple": (path, sketch()),
        "list of all": list(single_forms(path).values())[:2],
        "map": map(str, [path, path]),
        "generator": (p for p in [path, path]),
        "column of a data set": column,
        "list of rows": [{"bytes": None, "path": str(path)}] * 2,
        "array of pictures": np.stack([array] * 2),
        "array of gray pictures": np.stack([array[..., 0]] * 5)[:5],
        "tensor of pictures": torch.tensor(np.stack([array] * 2)).permute(0, 3, 1, 2),
        "array of objects": objects,
        "keys of a dict": {str(path): 1}.keys(),
    }


def test_a_single_picture_in_every_form(process, path):
    expected = pixels(process, sketch(), modality="sketch")
    for name, form in single_forms(path).items():
        assert as_batch(form)[1] is True, name
        assert torch.equal(pixels(process, form, modality="sketch"), expected), name


def test_an_open_file_may_be_read_twice(process, path):
    file = io.BytesIO(path.read_bytes())
    assert torch.equal(*(pixels(process, file, modality="sketch") for _ in range(2)))


def test_several_pictures_in_every_form(process, path):
    expected = pixels(process, sketch(), modality="sketch")[0]
    for name, form in many_forms(path).items():
        assert name == "array of gray pictures" or name in ("map", "generator") or as_batch(form)[1] is False, name
        made = pixels(process, form, modality="sketch")
        assert len(made) == COUNTS.get(name, 2) and all(torch.equal(one, expected) for one in made), name


@pytest.mark.parametrize("wrong", [None, 7, 3.5, True, object()])
def test_what_is_neither_names_its_type(process, wrong):
    with pytest.raises(
        ValueError, match=f"{'None' if wrong is None else f'a {type(wrong).__name__}'} is no picture: a picture is"
    ):
        process(wrong)


# ------------------------------------------------------------------------------------------------------------- depth


def prepared(image) -> np.ndarray:
    return np.asarray(CAANImageProcessor().prepare(image, "photo"))[..., 0]


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("kind", ["array", "picture", "file", "tensor"])
def test_white_is_that_of_the_depth_in_use(tmp_path, bits, kind):
    """Half of white, white, black."""
    white = 2**bits - 1
    values = np.array([[white, white // 2, 0, white]] * 4, np.uint16)
    image = PILImage.fromarray(values)
    image.save(tmp_path / "deep.png")
    forms = {"array": values, "picture": image, "file": tmp_path / "deep.png", "tensor": torch.tensor(values.astype(np.int32))}
    assert prepared(forms[kind])[0].tolist() == pytest.approx([255, 127, 0, 255], abs=1)


def png_with_depth(values: np.ndarray, bits: int) -> bytes:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"sBIT", bytes([bits]))
    return encoded(PILImage.fromarray(values), pnginfo=chunks)


@pytest.mark.parametrize("bits,expected", [(10, 255), (12, 64), (14, 16), (16, 4)])
def test_a_depth_that_the_file_states_wins(bits, expected):
    """The brightest value is 1023: white of 10 bits, and dark where the file says that there are more."""
    values = np.array([[1023, 0], [0, 1023]], np.uint16)
    assert prepared(png_with_depth(values, bits)).max() == pytest.approx(expected, abs=1)


def test_a_depth_that_a_tiff_states_wins(tmp_path):
    values = np.array([[1000, 0], [0, 500]], np.uint16)
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[281] = 4095  # MaxSampleValue
    PILImage.fromarray(values).save(tmp_path / "deep.tif", tiffinfo=info)
    assert prepared(tmp_path / "deep.tif").max() == pytest.approx(1000 / 4095 * 255, abs=1)


def test_photos_keep_their_colours(process):
    red, blue = PILImage.new("RGB", (20, 10), (200, 30, 10)), PILImage.new("RGB", (20, 10), (10, 30, 200))
    for picture, brightest in ((red, 0), (blue, 2)):
        assert CAANImageProcessor().prepare(picture, "photo").getpixel((3, 3)) == picture.getpixel((3, 3))
        means = pixels(process, picture)[0].mean(dim=(1, 2))
        assert means.argmax() == brightest and means.max() - means.min() > 1


# ------------------------------------------------------------------------------------------- ground, threshold, memory


def frame(border: list[int], inner: int = 255) -> PILImage.Image:
    """A gray picture whose border pixels are these in turn, with a dark and a bright dot inside."""
    gray = np.full((20, 20), inner, np.uint8)
    places = (
        [(0, i) for i in range(20)] + [(19, i) for i in range(20)] + [(i, 0) for i in range(20)] + [(i, 19) for i in range(20)]
    )
    for number, place in enumerate(places):
        gray[place] = border[number % len(border)]
    gray[9:11, 9:11], gray[12, 12] = 0, 255
    return PILImage.fromarray(gray).convert("RGB")


def test_the_ground_is_told_by_the_median_of_the_border():
    """Neither by its mean, which a few black pixels move, nor by its darkest or brightest pixel."""
    mostly_white = frame([0, 0, 255, 255, 255])  # mean 153 > 128: both say white
    assert np.asarray(crop_to_ink(mostly_white, 0.1, 0.0)).mean() > 128
    gray_and_black = frame([0, 0, 130, 130, 130], inner=130)  # mean 78, median 130
    assert np.asarray(crop_to_ink(gray_and_black, 0.6, 0.0))[9, 9].tolist() == [0, 0, 0]  # not inverted
    dark = frame([120, 120, 120, 255, 255], inner=120)  # mean 174, median 120
    assert np.asarray(crop_to_ink(dark, 0.6, 0.0)).max() == 255 and np.asarray(crop_to_ink(dark, 0.6, 0.0))[9, 9, 0] == 255


@pytest.mark.parametrize("value,is_ink", [(229, True), (230, False), (225, True), (235, False)])
def test_ink_is_darker_than_nine_tenths_of_white(value, is_ink):
    """The threshold of 0.1 is 229.5; at exactly that distance a pixel is no ink, here 255 * (1 - 0.2) = 204."""
    image = PILImage.new("RGB", (30, 30), "white")
    image.putpixel((10, 10), (0, 0, 0))
    image.putpixel((20, 20), (value,) * 3)
    side = CAANImageProcessor(ink_padding=0.0, ink_mode="border").prepare(image, "sketch").size[0]
    assert side == (11 if is_ink else 1)


@pytest.mark.parametrize("value,side", [(203, 11), (204, 1), (205, 1)])
def test_a_pixel_at_the_threshold_is_no_ink(value, side):
    image = PILImage.new("RGB", (30, 30), "white")
    image.putpixel((10, 10), (0, 0, 0))
    image.putpixel((20, 20), (value,) * 3)
    assert crop_to_ink(image, 0.2, 0.0).size[0] == side


@pytest.mark.parametrize("size", [(3, 30000), (30000, 3), (1, 100_000)])
def test_a_strip_takes_the_memory_of_the_output_and_keeps_its_place(size):
    image = PILImage.new("RGB", size, "white")
    image.paste("black", (0, 0, size[0], size[1] // 2) if size[1] > size[0] else (0, 0, size[0] // 2, size[1]))
    image.paste("black", (size[0] - size[0] // 9 - 1, size[1] - size[1] // 9 - 1, size[0], size[1]))
    square = crop_to_ink(image, 0.1, 0.05)
    assert square.size == (MAX_SIDE, MAX_SIDE)
    gray = np.asarray(square.convert("L"))
    rows, columns = np.flatnonzero((gray < 200).any(axis=1)), np.flatnonzero((gray < 200).any(axis=0))
    longer, shorter = (rows, columns) if size[1] > size[0] else (columns, rows)
    assert longer[-1] - longer[0] == pytest.approx(MAX_SIDE / 1.1, rel=0.02) and len(shorter) <= 2
    assert shorter[0] == pytest.approx(MAX_SIDE / 2, abs=2)


def test_up_to_the_limit_pixels_are_those_of_the_picture():
    image = PILImage.new("RGB", (2400, 1800), "white")
    for x in range(100, 2300, 7):
        image.putpixel((x, (x * 13) % 1700), (x % 200, 3, 9))
    square = crop_to_ink(image, 0.1, 0.0)
    assert len(np.unique(np.asarray(square.crop((0, 0, square.width, square.height))).reshape(-1, 3), axis=0)) > 100
    assert square.size[0] == 2199


# -------------------------------------------------------------------------------------------------------------- fuzz

MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")
FUZZ = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@FUZZ
@given(
    mode=st.sampled_from(MODES),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.sampled_from([(1, 1), (5000, 3), (3, 5000)]),
    seed=st.integers(0, 10**6),
    modality=st.sampled_from(["sketch", "photo"]),
    shade=st.sampled_from([0.0, 0.55]),
)
def test_any_mode_and_size_gives_finite_pixels_or_is_told_to_be_blank(mode, size, seed, modality, shade):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    if mode in ("I", "F", "I;16"):
        kind = {"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]
        image = PILImage.fromarray((values[..., 0].astype(np.int64) * 300).astype(kind))
    else:
        image = PILImage.frombytes(mode, size, np.resize(values, size[0] * size[1] * 4).tobytes()[: needed(mode, size)])
    try:
        made = image_processor(sketch_shade=shade)(image, modality=modality, return_tensors="pt").pixel_values
    except ValueError as error:
        assert "blank" in str(error) and modality == "sketch"
        return
    assert made.shape == (1, 3, 32, 32) and made.isfinite().all()


def needed(mode: str, size: tuple[int, int]) -> int:
    """Bytes of a picture of this mode and size."""
    return -(-size[0] // 8) * size[1] if mode == "1" else size[0] * size[1] * len(PILImage.new(mode, (1, 1)).getbands())


@FUZZ
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
)
def test_a_broken_file_is_read_or_named(kind, cut, flips):
    content = bytearray(encoded(photo(size=(24, 20)), kind))
    for place, value in flips:
        content[int(place * (len(content) - 1))] = value
    content = bytes(content[: max(1, int(cut * len(content)))])
    try:
        image = flatten_image(open_image(content))
    except ValueError as error:
        assert str(error).startswith(f"Cannot read the image <{len(content)} bytes>: ")
        return
    assert image.mode == "RGB"


@FUZZ
@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_picture_are_named(content):
    with pytest.raises(ValueError, match=f"Cannot read the image <{len(content)} bytes>"):
        open_image(content)
