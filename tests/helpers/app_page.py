"""Pictures and photos for the tests of `caan app`, as its page sends them: `from app_page import data_url`."""

import base64
import io
import struct
import zlib
from pathlib import Path

import tiny
from PIL import Image, ImageDraw
from tiny import encoded
from trees import CLASSES, draw_photo

NOTE = "taken at home"  # in the EXIF of the large photo: must not leave the server
LARGE = "large & <i>one.jpg"


def data_url(picture: Image.Image | bytes, kind: str = "png") -> str:
    """A picture, or any bytes, as the page sends it."""
    data = picture if isinstance(picture, bytes) else encoded(picture)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def opened(url: str) -> Image.Image:
    """The picture in an answer."""
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def drawing(size: int = 128, mode: str = "RGB", ground="white", ink="black") -> Image.Image:
    """An ellipse with a line through it."""
    picture = Image.new(mode, (size, size), ground)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((size // 5, size // 3, size * 4 // 5, size * 2 // 3), outline=ink, width=3)
    draw.line((size // 5, size // 2, size * 4 // 5, size // 2), ink, 3)
    return picture


def photo_tree(root: Path) -> Path:
    """`root/shapes/CLASS/NUMBER.png`, 63 photos; one of them twice; and a large one, turned by its EXIF."""
    for place, name in enumerate(CLASSES):
        (root / "shapes" / name).mkdir(parents=True)
        for number in range(9):
            draw_photo(name, 100 * place + number).save(root / "shapes" / name / f"{number}.png")
    (root / "a copy.png").write_bytes((root / "shapes" / CLASSES[0] / "0.png").read_bytes())
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, NOTE
    tiny.photo((1600, 1000), seed=7).save(root / LARGE, exif=exif)
    return root


def png_header(width: int, height: int) -> bytes:
    """A PNG that states a size, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
