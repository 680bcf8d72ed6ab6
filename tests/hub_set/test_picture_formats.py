"""HEIC, AVIF and SVG, and JPEGs at reduced size.  python -m pytest tests/hub_set/test_picture_formats.py"""

import base64
import gzip
import importlib.util
import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tiny import caan_model, encoded, image_processor, photo
from transformers.dynamic_module_utils import get_imports

import processing_caan
from pipeline_caan import embed_images, list_images
from processing_caan import CAANImageProcessor, flatten_image, open_image, read_picture

ORIENTATION = 0x0112
CORNERS = ((2, 2), (-3, 2), (-3, -3), (2, -3))  # of a picture, (x, y), clockwise from the top left
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="30">{}</svg>'
DOT = '<rect x="0" y="0" width="10" height="10" fill="#ff0000"/>'  # top left, a third of the height


def marked(size=(40, 20), mode="RGB") -> Image.Image:
    """White, with a red square in the top left corner."""
    image = Image.new("RGB", size, "white")
    image.paste("red", (0, 0, size[0] // 4, size[1] // 2))
    return image.convert(mode)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def red_corners(image: Image.Image) -> list[bool]:
    """Which corners are red, clockwise from the top left."""
    width, height = image.size
    pixels = [image.getpixel((x % width, y % height)) for x, y in CORNERS]
    return [np.abs(np.subtract(pixel, (255, 0, 0))).max() < 40 for pixel in pixels]


def without(monkeypatch, package: str) -> None:
    """As if `package` were not installed."""
    monkeypatch.setitem(sys.modules, package, None)
    found = importlib.util.find_spec
    monkeypatch.setattr(processing_caan, "find_spec", lambda name: None if name == package else found(name))


# -------------------------------------------------------------------------------------------------------------- HEIC


def heic(image: Image.Image, **options) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    data = io.BytesIO()
    pillow_heif.from_pillow(image).save(data, quality=-1, **options)
    return data.getvalue()


def test_heic_is_read_in_every_form(tmp_path, monkeypatch):
    data = heic(marked())
    (tmp_path / "a.heic").write_bytes(data)
    (tmp_path / "named.jpg").write_bytes(data)  # phones rename what they share
    monkeypatch.setattr(processing_caan, "urlopen", lambda *_, **__: io.BytesIO(data))
    with open(tmp_path / "a.heic", "rb") as file:
        sources = [tmp_path / "a.heic", str(tmp_path / "named.jpg"), data, bytearray(data), file, "https://a.org/b.heic"]
        for source in [*sources, {"bytes": data, "path": None}]:
            image = read_picture(source)
            assert image.size == (40, 20) and red_corners(image) == [True, False, False, False]
    assert open_image(tmp_path / "a.heic").filename == str(tmp_path / "a.heic")
    assert "HEIF" not in Image.OPEN  # Pillow is as it was


@pytest.mark.parametrize("orientation, size, corner", [(1, (40, 20), 0), (3, (40, 20), 2), (6, (20, 40), 1), (8, (20, 40), 3)])
def test_heic_is_turned_once(orientation, size, corner):
    image = open_image(heic(marked(), exif=exif(orientation)))
    for upright in (image, flatten_image(image), CAANImageProcessor().prepare(image)):
        assert upright.size == size
        assert red_corners(upright) == [place == corner for place in range(4)]


def test_heic_of_ten_bits_and_of_gray():
    pillow_heif = pytest.importorskip("pillow_heif")
    colours = np.full((20, 40, 3), 65535, np.uint16)
    colours[:10, :10] = (65535, 0, 0)
    gray = np.full((20, 40), 600 * 64, np.uint16)  # 600 of 1023
    gray[:10, :10] = 0
    dark = np.full((20, 40), 20 * 64, np.uint16)  # 20 of 1023: not taken for white
    expected = {"RGB;16": (255, 255, 255), "I;16": (150, 150, 150), "dark": (5, 5, 5)}
    for mode, array in {"RGB;16": colours, "I;16": gray, "dark": dark}.items():
        data = io.BytesIO()
        kind = "I;16" if mode == "dark" else mode
        pillow_heif.from_bytes(mode=kind, size=(40, 20), data=array.tobytes()).save(data, quality=-1)
        assert pillow_heif.open_heif(data).info["bit_depth"] == 10
        pixel = flatten_image(open_image(data)).getpixel((35, 15))
        assert np.abs(np.subtract(pixel, expected[mode])).max() <= 1, mode


def test_transparent_heic_lies_on_white():
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 20, 20))
    flat = flatten_image(open_image(heic(image)))
    assert np.abs(np.subtract(flat.getpixel((5, 5)), (0, 0, 255))).max() < 4 and flat.getpixel((35, 5)) == (255, 255, 255)


def test_broken_heic_is_named(tmp_path, monkeypatch):
    data = heic(photo((64, 64)))
    header = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    for number, content in enumerate((data[:40], data[: len(data) // 2], data[:-30], header + bytes(200))):
        file = tmp_path / f"{number}.heic"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"Cannot read the image .*{number}\.heic: .*Invalid input.*Repair or remove"):
            open_image(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="4096 pixels and may be a decompression bomb; the limit is 2000"):
        open_image(data)


def test_without_pillow_heif_the_error_is_the_cure(tmp_path, monkeypatch):
    without(monkeypatch, "pillow_heif")
    file = tmp_path / "phone.heic"
    file.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    photo().save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"Cannot read the image .*phone\.heic: it is HEIC.*Cure: pip install pillow-heif\.$"):
        open_image(file)
    assert list_images(tmp_path) == [str(tmp_path / "a.png"), str(file)]
    with pytest.raises(ValueError, match=r"phone\.heic.*Cure: pip install pillow-heif"):
        embed_images(caan_model(), image_processor(), tmp_path, "photo", progress=False)
    with pytest.warns(UserWarning, match=r"skipped 1 of 2 photos:\n.*phone\.heic.*Cure: pip install pillow-heif"):
        features = embed_images(caan_model(), image_processor(), tmp_path, "photo", progress=False, on_error="skip")
    assert features.isfinite().all(dim=1).tolist() == [True, False]


def test_the_hub_set_does_without_these_packages():
    """transformers refuses a model of the Hub whose modules import what is not installed."""
    assert not {"pillow_heif", "resvg_py"} & set(get_imports(processing_caan.__file__))
    code = "import sys, processing_caan; print({'pillow_heif', 'resvg_py'} & set(sys.modules))"
    root = Path(processing_caan.__file__).parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout.strip() == "set()"


# -------------------------------------------------------------------------------------------------------------- AVIF


@pytest.mark.skipif(importlib.util.find_spec("PIL._avif") is None, reason="this Pillow has no AVIF")
def test_avif_is_read_turned_and_named_where_broken(tmp_path):
    data = encoded_with(marked(), "AVIF", quality=100, exif=exif(6))
    upright = flatten_image(open_image(data))
    assert upright.size == (20, 40) and red_corners(upright) == [False, True, False, False]
    for number, content in enumerate((data[:20], data[: len(data) // 2], data[:-20])):
        (tmp_path / f"{number}.avif").write_bytes(content)
        with pytest.raises(ValueError, match=rf"Cannot read the image .*{number}\.avif: .*Repair or remove the file"):
            open_image(tmp_path / f"{number}.avif")


def test_without_avif_in_pillow_the_error_is_the_cure(tmp_path, monkeypatch):
    without(monkeypatch, "PIL._avif")
    Image.init()
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "AVIF"])
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B" + bytes(100))
    with pytest.raises(ValueError, match=r'a\.avif: it is AVIF, .*Cure: pip install "pillow>=11\.3"\.$'):
        open_image(tmp_path / "a.avif")
    assert list_images(tmp_path) == [str(tmp_path / "a.avif")]


def encoded_with(image: Image.Image, form: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


# --------------------------------------------------------------------------------------------------------------- SVG


def svg(content: str = DOT, head: str = "") -> str:
    return head + SVG.format(content)


def test_svg_is_drawn_on_a_transparent_ground(tmp_path):
    pytest.importorskip("resvg_py")
    for name in ("drawing.svg", "named.png"):  # known by its content
        (tmp_path / name).write_text(svg())
        image = open_image(tmp_path / name)
        assert image.size == (1024, 512) and image.mode == "RGBA" and image.filename == str(tmp_path / name)
        assert image.getbbox() == (0, 0, 171, 171)  # a sixth of the width, the last pixel in part
        assert image.getpixel((100, 100)) == (255, 0, 0, 255) and image.getpixel((600, 300)) == (0, 0, 0, 0)
        assert flatten_image(image).getpixel((600, 300)) == (255, 255, 255)


DOCTYPE = """<?xml version="1.0" encoding="iso-8859-1"?>
<!-- caf\xe9 > -->
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" [
<!ENTITY ns_svg "http://www.w3.org/2000/svg">
]>
"""
SPELLINGS = {
    "white space": ("\n\t " + svg()).encode(),
    "byte-order mark": svg().encode("utf-8-sig"),
    "byte-order mark and declaration": svg(head='<?xml version="1.0" encoding="UTF-8"?>').encode("utf-8-sig"),
    "UTF-16": svg(head='<?xml version="1.0" encoding="UTF-16"?>').encode("utf-16"),
    "latin-1, document type, entity": (DOCTYPE + svg().replace("http://www.w3.org/2000/svg", "&ns_svg;")).encode("latin-1"),
    "prefix": svg().replace("<", "<s:").replace("<s:/", "</s:").replace("xmlns", "xmlns:s").encode(),
    "long comment": (f"<!--{'<svg> ' * 5000}-->" + svg()).encode(),
    "gzipped": gzip.compress(svg().encode()),
    "no namespace": svg().replace(' xmlns="http://www.w3.org/2000/svg"', "").encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_svg_is_known_in_every_spelling(spelling):
    pytest.importorskip("resvg_py")
    image = open_image(SPELLINGS[spelling])
    assert image.size == (1024, 512) and image.getpixel((100, 100)) == (255, 0, 0, 255)


def nested(levels: int) -> str:
    groups = (f'<g id="a{i}">{f"""<use href="#a{i - 1}"/>""" * 10}</g>' for i in range(1, levels))
    return svg(f'<defs><rect id="a0" width="1" height="1"/>{"".join(groups)}</defs><use href="#a{levels - 1}"/>')


def entities(first: str, count: int) -> str:
    more = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, count))
    return svg(f"<text>&a{count - 1};</text>", f'<!DOCTYPE svg [<!ENTITY a0 "{first}">{more}]>')


def linked(to: str, element: str = "image", space: str = "xlink:") -> str:
    return svg(f'<{element} xmlns:xlink="http://www.w3.org/1999/xlink" width="60" height="30" {space}href="{to}"/>')


def bomb_inside() -> str:
    """A PNG of 30,000 x 30,000 pixels in the drawing, in 150 KB."""
    head = b"\0\0\x75\x30\0\0\x75\x30\1\0\0\0\0"
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(3751 * 30000), 9)), (b"IEND", b""))
    parts = (len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big") for name, data in chunks)
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()
    return svg(f'<image width="60" height="30" href="data:image/png;base64,{png}"/>')


WIDE_PATTERN = (
    '<pattern id="p" width="1e6" height="1e6" patternUnits="userSpaceOnUse">{}</pattern><rect width="60" height="30" {}/>'
)
HARMFUL = {
    "cut": (svg()[:90], "unclosed token|no element"),
    "mismatch": ("<svg xmlns='http://www.w3.org/2000/svg'><g></svg>", "mismatched tag"),
    "no size": (svg().replace('"60"', '"0"'), "invalid size"),
    "a file": (linked("/etc/passwd"), "refers to another file, '/etc/passwd'"),
    "a file's URL": (linked("file:///etc/passwd", space=""), "refers to another file"),
    "the network": (linked("http://127.0.0.1:9/a.png"), "refers to another file"),
    "a part of a file": (linked("other.svg#a", "use"), "refers to another file"),
    "a filter's file": (svg(f'<filter id="f">{linked("a.png", "feImage")}</filter>'), "refers to another file"),
    "a file in an entity": (
        linked("&e;").replace("<svg", '<!DOCTYPE svg [<!ENTITY e "/etc/passwd">]><svg', 1),
        "refers to another file, '/etc/passwd'",
    ),
    "an entity's file": ('<!DOCTYPE svg [<!ENTITY e SYSTEM "/etc/passwd">]>' + svg("<text>&e;</text>"), "unknown entity"),
    "entities in entities": (entities("lol", 10), "entity 'a1' expands too far"),
    "a long entity": (svg("&a;" * 10000, f'<!DOCTYPE svg [<!ENTITY a "{"x" * 5000}">]>'), "entity 'a' expands too far"),
    "uses of uses": (nested(9), "limit|takes more than"),
    "deep": (svg("<g>" * 100_000 + "</g>" * 100_000), "ends its renderer|limit"),
    "a wide pattern": (svg(WIDE_PATTERN.format(DOT, 'fill="url(#p)"')), "takes more than 1 GB to draw"),
    "a bomb inside": (bomb_inside(), "takes more than 1 GB to draw"),
    "large": (svg(f"<!--{'x' * (10 << 20)}-->"), "larger than 10 MB"),
    "large, gzipped": (gzip.compress(svg(f"<!--{'x' * (11 << 20)}-->").encode()), "larger than 10 MB"),
    "an encoding of none": (svg(head='<?xml version="1.0" encoding="UTF-8"?>').encode() + b"\xff", "decode"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no limit of memory for a process")
@pytest.mark.parametrize("what", HARMFUL)
def test_harmful_svg_is_an_error_that_names_it(tmp_path, what):
    pytest.importorskip("resvg_py")
    content, said = HARMFUL[what]
    (tmp_path / "bad.svg").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=rf"(?s)Cannot read the image .*bad\.svg: .*({said}).*Repair or remove the file"):
        open_image(tmp_path / "bad.svg")


def test_svg_within_svg_reads_no_file(tmp_path):
    pytest.importorskip("resvg_py")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    inner = base64.b64encode(linked(str(tmp_path / "red.png"), space="").encode()).decode()
    image = open_image(linked(f"data:image/svg+xml;base64,{inner}", space="").encode())
    assert image.getbbox() is None  # the inner drawing's file was not drawn


def test_a_huge_size_is_no_matter():
    pytest.importorskip("resvg_py")
    for width, height, size in (("1e9", "1e9", (1024, 1024)), ("1", "1e9", (1, 1024)), ("5", "10", (512, 1024))):
        drawing = svg().replace('width="60" height="30"', f'width="{width}" height="{height}"', 1)
        assert open_image(drawing.encode()).size == size


def test_a_drawing_that_takes_too_long_is_stopped(monkeypatch):
    pytest.importorskip("resvg_py")
    monkeypatch.setattr(processing_caan, "SVG_SECONDS", 1)
    blur = '<filter id="f" x="-9999" y="-9999" width="1e6" height="1e6"><feGaussianBlur stdDeviation="1e6"/></filter>'
    with pytest.raises(ValueError, match="takes more than 1 s to draw|ends its renderer"):
        open_image(svg(blur + '<rect width="60" height="30" filter="url(#f)"/>' * 20).encode())


def test_without_resvg_the_error_is_the_cure(tmp_path, monkeypatch):
    without(monkeypatch, "resvg_py")
    (tmp_path / "a.svg").write_text(svg())
    with pytest.raises(ValueError, match=r"a\.svg: it is an SVG drawing, .*Cure: pip install resvg-py\.$"):
        open_image(tmp_path / "a.svg")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><svg/></html>",
        b"<!-- <svg> -->",
        b"<svgs/>",
        b"plain <svg>",
        b"\x1f\x8bno gzip",
        b"\0\0\0\x18ftypisom" + bytes(99),
    ],
)
def test_what_is_none_of_them_stays_an_error(tmp_path, content):
    (tmp_path / "a.svg").write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read the image .*a\.svg: cannot identify image file.*Repair or remove"):
        open_image(tmp_path / "a.svg")


def test_a_folder_of_sketches_holds_svg_and_one_of_photos_does_not(tmp_path):
    pytest.importorskip("resvg_py")
    (tmp_path / "a.svg").write_text(svg('<circle cx="30" cy="15" r="10" fill="none" stroke="black"/>'))
    photo().save(tmp_path / "b.png")
    features = embed_images(caan_model(), image_processor(), tmp_path, "sketch", progress=False)
    assert features.shape[0] == 2 and features.isfinite().all()
    with pytest.warns(UserWarning, match=r"1 entries .* ignored: a\.svg; by suffix: 1 \.svg"):
        assert list_images(tmp_path) == [str(tmp_path / "b.png")]


# --------------------------------------------------------------------------------------------- JPEGs at reduced size


@pytest.mark.parametrize(
    "size, at_least, expected",
    [
        ((1600, 1200), None, (1600, 1200)),
        ((1600, 1200), 2000, (1600, 1200)),
        ((1600, 1200), 601, (1600, 1200)),
        ((1600, 1200), 600, (800, 600)),
        ((1600, 1200), 299, (400, 300)),
        ((1600, 1200), 1, (200, 150)),
        ((1601, 1203), 150, (201, 151)),  # rounded up
        ((3000, 40), 20, (1500, 20)),
    ],
)
def test_a_jpeg_is_decoded_no_smaller_than_asked(size, at_least, expected):
    for data in (
        encoded_with(marked(size), "JPEG"),
        encoded_with(marked(size), "MPO", save_all=True, append_images=[marked()]),
    ):
        image = open_image(data, at_least)
        assert image.size == expected
        assert red_corners(image) == [True, False, False, False]
        assert read_picture({"bytes": data, "path": None}, at_least).size == expected


def test_a_reduced_jpeg_is_upright_in_every_mode():
    for mode, white, ink in (
        ("RGB", (255, 255, 255), (254, 0, 0)),
        ("L", (255,) * 3, (76,) * 3),
        ("CMYK", (255,) * 3, (255, 0, 0)),
    ):
        data = encoded_with(marked((800, 400), mode), "JPEG", quality=95, exif=exif(6))
        image = open_image(data, 100)
        assert image.mode == mode and image.size == (200, 100)
        upright = flatten_image(image)
        assert upright.size == (100, 200)
        for place, colour in (((95, 5), ink), ((5, 5), white), ((5, 195), white)):
            assert np.abs(np.subtract(upright.getpixel(place), colour)).max() <= 4, (mode, place)


def test_a_reduced_jpeg_is_the_mean_of_the_full_one():
    data = encoded_with(photo((256, 256)).resize((512, 512)), "JPEG", quality=95)
    full, reduced = (np.asarray(open_image(data, at_least), dtype=float) for at_least in (None, 128))
    means = full.reshape(128, 4, 128, 4, 3).mean(axis=(1, 3))
    assert np.abs(reduced - means).mean() < 4


def test_only_what_is_read_here_and_is_a_jpeg_is_reduced(tmp_path):
    data = encoded_with(marked((800, 400)), "JPEG")
    assert np.array_equal(open_image(data), Image.open(io.BytesIO(data)))  # bit for bit
    for given in (Image.open(io.BytesIO(data)), encoded(marked((800, 400))), encoded_with(marked((800, 400)), "WEBP")):
        assert open_image(given, 10).size == (800, 400)
    assert ImageOps.exif_transpose(read_picture(np.zeros((40, 30), np.uint8), 10)).size == (30, 40)
    for at_least in (0, -1):
        with pytest.raises(ValueError, match="at_least must be 1 or more pixels"):
            open_image(data, at_least)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no limit of memory for a process")
def test_a_reduced_jpeg_takes_less_memory(tmp_path):
    """A JPEG of 48 megapixels in 64 MB above the imports: at full size its pixels alone are 183 MB, 4 bytes each in Pillow."""
    Image.new("RGB", (8000, 6000), "white").save(tmp_path / "a.jpg")
    code = """if True:
        import resource, sys
        from PIL import Image
        from processing_caan import open_image
        Image.init()
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
        print(*open_image(sys.argv[1], 448).size)
        try:
            open_image(sys.argv[1])
        except ValueError as error:
            print(repr(error.__cause__))
    """
    root = Path(processing_caan.__file__).parent
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.jpg")], cwd=root, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["1000 750", "MemoryError()"], done.stderr
