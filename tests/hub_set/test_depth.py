"""Pictures of more than 8 bits: which value is white.  python -m pytest tests/hub_set/test_depth.py"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import image_processor, sketch

from processing_caan import CAANImageProcessor, flatten_image, open_image, white_value

SHARED = Path(__file__).parents[3] / "shared" / "cases" / "files"


def values(picture, modality="photo") -> np.ndarray:
    """One channel of the prepared picture, (h, w)."""
    return np.asarray(CAANImageProcessor().prepare(picture, modality))[..., 0].astype(int)


def gradient(white: int, dtype=np.uint16) -> np.ndarray:
    return np.linspace(0, white, 48 * 40).reshape(40, 48).astype(dtype)


def png(array: np.ndarray, bits: int | None = None) -> bytes:
    """A gray PNG of 16 bits, with a chunk that says how many of them count."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    data = buffer.getvalue()
    if bits is None:
        return data
    chunk = b"sBIT" + bytes([bits])
    chunk = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + chunk + data[33:]  # behind the header


# name -> (largest value in the picture, what is white, as a uint16 array)
WITHOUT_DEPTH = {
    "all of 16 bits": (65535, 65535),
    "10 bits": (1023, 1023),
    "10 bits, of 8 moved up": (1020, 1023),
    "12 bits, of 8 moved up": (4080, 4095),
    "dark, just below white of 10 bits": (1022, 65535),
    "dark, just below 8 bits moved up": (1019, 65535),
    "dark, within 5 % of 12 bits": (4000, 65535),
    "12 bits": (4095, 4095),
    "dark, just below white of 12 bits": (4094, 65535),
    "dark, just above white of 12 bits": (4096, 65535),
    "dark, 3000": (3000, 65535),
    "dark, 900": (900, 65535),
    "dark 16 bits": (20000, 65535),
    "darker": (5000, 65535),
    "darker yet": (1500, 65535),
    "nearly black": (200, 65535),
    "black": (0, 65535),
}


@pytest.mark.parametrize("name", WITHOUT_DEPTH)
def test_16_bits_that_do_not_say_how_many_count(name):
    peak, white = WITHOUT_DEPTH[name]
    array = gradient(peak)
    assert white_value(array) == white
    expected = np.round(array / white * 255)
    for picture in (array, array.astype(">u2"), Image.fromarray(array), png(array)):
        assert np.abs(values(picture) - expected).max() <= 1
    big_endian = Image.frombytes("I;16B", array.shape[::-1], array.astype(">u2").tobytes())
    assert np.abs(np.asarray(flatten_image(big_endian))[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("bits", [9, 10, 11, 12, 14, 15])
def test_a_png_says_how_many_bits_count(bits):
    low, spread = gradient(2**bits - 1), gradient(65535) >> (16 - bits) << (16 - bits)
    for array, white in ((low, 2**bits - 1), (low // 3, 2**bits - 1), (spread, 65535)):
        assert np.abs(values(png(array, bits)) - np.round(array / white * 255)).max() <= 1


@pytest.mark.parametrize("peak", [200, 1000, 4000, 20000])
def test_16_bits_that_all_count_stay_dark(peak):
    array = gradient(peak)
    expected = np.round(array / 65535 * 255)
    assert np.abs(values(png(array, 16)) - expected).max() <= 1
    netpbm = b"P5 48 40 65535\n" + array.astype(">u2").tobytes()  # its header gives the value of white
    assert np.abs(values(netpbm) - expected).max() <= 1


def test_a_netpbm_file_says_what_is_white():
    array = gradient(1500)
    assert np.abs(values(b"P5 48 40 3000\n" + array.astype(">u2").tobytes()) - np.round(array / 3000 * 255)).max() <= 1


@pytest.mark.parametrize(("white", "peak"), [(4095, 4095), (4095, 900), (1023, 300), (16383, 16383)])
def test_a_tiff_may_say_its_largest_value(white, peak):
    buffer = io.BytesIO()
    Image.fromarray(gradient(peak)).save(buffer, "TIFF", tiffinfo={281: white})
    assert np.abs(values(buffer.getvalue()) - np.round(gradient(peak) / white * 255)).max() <= 1


def test_a_tiff_of_12_bits():
    """Two values in three bytes, as scanners pack them; made by hand, since Pillow writes none."""
    array = gradient(1000)
    flat = array.flatten().astype(int)
    packed = np.stack([flat[::2] >> 4, (flat[::2] & 15) << 4 | flat[1::2] >> 8, flat[1::2] & 255], 1).astype(np.uint8).tobytes()
    entries = {256: 48, 257: 40, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 40, 279: len(packed)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0) + packed
    assert open_image(data).mode == "I;16"
    assert np.abs(values(data) - np.round(array / 4095 * 255)).max() <= 1


# name -> (array, what is white)
TYPES = {
    "bool": (np.array([[False, True]]), 1),
    "int8": (np.array([[0, 127]], np.int8), 127),
    "int16, full": (np.array([[-5, 32767]], np.int16), 32767),
    "int16, 12 bits": (np.array([[-5, 4095]], np.int16), 4095),
    "int16, dark": (np.array([[0, 200]], np.int16), 32767),
    "int32 of 8 bits": (np.array([[0, 200]], np.int32), 255),
    "int64 of 12 bits": (np.array([[0, 4095]]), 4095),
    "int64, dark": (np.array([[0, 4000]]), 65535),
    "int64 of 16 bits": (np.array([[0, 60000]]), 65535),
    "uint32, full": (np.array([[0, 2**32 - 1]], np.uint32), 2**32 - 1),
    "float of 1": (np.array([[0, 0.5]]), 1),
    "float of 1 that overshoots": (np.array([[-0.1, 1.2]]), 1),
    "float16": (np.array([[0, 1]], np.float16), 1),
    "float of 255": (np.array([[0, 200.0]]), 255),
    "float of 255 that overshoots": (np.array([[-9, 280.0]]), 255),
    "float of 16 bits": (np.array([[0, 65535.0]]), 65535),
    "float with holes": (np.array([[np.nan, np.inf, 0.5]]), 1),
}


@pytest.mark.parametrize("name", TYPES)
def test_white_of_other_types(name):
    array, white = TYPES[name]
    assert white_value(array) == white
    expected = np.round(np.nan_to_num(array.astype(float), posinf=white).clip(0, white) / white * 255)
    assert np.abs(values(array) - expected).max() <= 1
    if array.dtype == np.int32 or array.dtype == np.float32:
        assert np.abs(values(Image.fromarray(array)) - expected).max() <= 1


def test_a_transparent_value_of_16_bits_is_white():
    buffer = io.BytesIO()
    Image.fromarray(np.array([[7, 20000], [65535, 0]], np.uint16)).save(buffer, "PNG", transparency=7)
    assert values(buffer.getvalue()).tolist() == [[255, 78], [255, 0]]


@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
def test_a_drawing_is_the_same_at_every_depth(white):
    gray = np.asarray(sketch().convert("L"))
    deep = np.round(gray / 255 * white).astype(np.uint16 if white > 255 else np.uint8)
    process = image_processor(modality="sketch")
    assert np.array_equal(process(deep)["pixel_values"], process(gray)["pixel_values"])


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared pictures")
def test_a_scan_of_ten_bits():
    found = values(SHARED / "ten_bits_in_16.png")
    assert found[0, 0] == 254 and found.min() == 0
