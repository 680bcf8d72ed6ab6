"""What comes from a browser, checked before anything is decoded: requests, hashes, pictures of sketches.

A sketch comes as a data URL, `data:image/png;base64,...`. Its length is checked first, then that it is base64, then the size
that its header states; only then are pixels decoded.
"""

import base64
import binascii
import io
import re
import string
import warnings
from typing import Any

from PIL import Image

BODY_BYTES = 5_000_000  # the longest request; the page scales uploads down before it sends them
PIXELS = 2048 * 2048  # of a sketch; the page sends 1024 x 1024 at most
FORMATS = ("PNG", "JPEG", "WEBP")  # what browsers write
DATA_URL = re.compile(r"data:image/[a-z+.-]{2,20};base64,")
DIGEST = 64  # hexadecimal digits of a content's hash


def field(request: Any, name: str, kind: type, default: Any = None) -> Any:
    """A field of a request; `default` where it is absent.

    Raises:
        ValueError: the request is no object, or the field of another kind.
    """
    value = request.get(name) if isinstance(request, dict) else request
    if value is None and isinstance(request, dict):
        return default
    if type(value) is not kind or not isinstance(request, dict):
        raise ValueError(f"The request has no proper {name!r}: load the page again.")
    return value


def read_hash(text: Any) -> bytes:
    """The hash (32 bytes) that 64 hexadecimal digits write. Raises ValueError for anything else, such as a path."""
    if not isinstance(text, str) or len(text) != DIGEST or not set(text) <= set(string.hexdigits):
        raise ValueError("A photo is named by the 64 hexadecimal digits of its hash, not by a path or anything else.")
    return bytes.fromhex(text)


def read_sketch(url: Any) -> Image.Image:
    """The decoded picture in a data URL, with its mode and transparency.

    Raises:
        ValueError: it is too long or too large, no data URL, or no picture that a browser writes.
    """
    head = DATA_URL.match(url[:64]) if isinstance(url, str) else None
    if head is None:
        raise ValueError("There is no picture in what the page sent: draw a sketch, or choose a picture.")
    if len(url) > BODY_BYTES:
        raise ValueError(
            f"The sketch takes {len(url) / 1e6:.1f} MB, and the most is {BODY_BYTES / 1e6:.0f} MB: make it smaller."
        )
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("The picture was damaged on its way here (no base64): try again.") from error
    return decode(data)


def decode(data: bytes) -> Image.Image:
    """The picture of a file's bytes. Raises ValueError in words where it is none, too large, or cut short."""
    most = f"the most is {PIXELS / 1e6:.0f} million. Make it smaller."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is a lower one
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"It has more pixels than any picture that is read here; {most}") from error
    except Exception as error:  # a broken header raises whatever its reader comes upon
        raise ValueError(f"This is no picture, or none that is read here ({', '.join(FORMATS)}).") from error
    width, height = image.size
    if width * height > PIXELS:
        raise ValueError(f"The picture has {width:,} x {height:,} pixels, {width * height / 1e6:.0f} million; {most}")
    try:
        image.load()
    except Exception as error:
        raise ValueError("The picture is cut short or damaged: save it again, or take another.") from error
    return image


def is_blank(image: Image.Image) -> bool:
    """Whether there is nothing in it: one colour all over, or all transparent. So is a pad that was wiped clean."""
    rgba = image.convert("RGBA")
    extrema: Any = rgba.getextrema()
    return extrema[3][1] == 0 or all(low == high for low, high in extrema)
