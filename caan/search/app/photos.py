"""The larger picture of a photo, from its file, if that is still the one that was indexed; else its thumbnail."""

import hashlib
import io
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from caan.search.encoding import make_thumbnail
from caan.search.engine import Engine, Photo
from caan.search.photos import full_path
from processing_caan import open_image

SIDE = 1280  # pixels of the longer side of what is shown
FILE_BYTES = 100_000_000  # the largest file that is read
PIXELS = 50_000_000  # of a photo that is decoded
TRIED = 3  # copies of a photo that are looked at


class Shown(NamedTuple):
    """A JPEG without EXIF, at most `SIDE` pixels; whole: made of the photo's file, not of its thumbnail."""

    jpeg: bytes
    whole: bool


def larger_photo(engine: Engine, content: bytes) -> Shown:
    """The picture of a content that is in the gallery.

    Raises:
        ValueError: it is not in the gallery, or nothing is left of it.
    """
    if not engine.known([content]):
        raise ValueError("This photo is not in the gallery any more: search again.")
    if not engine.uri.startswith("hf://"):  # what others published names no file of this machine
        data = read_copy(engine.files([content])[content][:TRIED], content)
        picture = None if data is None else shrink(data)
        if picture is not None:
            return Shown(picture, True)
    thumbnail = engine.thumbnail(content)
    if thumbnail is None:
        raise ValueError("The photo's file is not there any more, and the gallery keeps no thumbnail of it.")
    return Shown(thumbnail, False)


def read_copy(photos: Sequence[Photo], content: bytes) -> bytes | None:
    """The bytes of the first file that still has this content: a link or a file that was put in its place gives nothing."""
    for photo in photos:
        try:
            data = read_file(full_path(photo))
        except (OSError, ValueError):
            continue
        if data is not None and hashlib.sha256(data).digest() == content:
            return data
    return None


def read_file(path: str) -> bytes | None:
    """The bytes of an ordinary file of at most `FILE_BYTES`; None of others, such as a device or a pipe."""
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES:
            return None
        return file.read(FILE_BYTES + 1)


def shrink(data: bytes) -> bytes | None:
    """A photo's bytes as a JPEG of at most `SIDE` pixels; None where it is too large to decode, or no picture any more."""
    try:
        with Image.open(io.BytesIO(data)) as head:
            if head.format != "JPEG" and head.size[0] * head.size[1] > PIXELS:
                return None
    except OSError:
        pass  # HEIC and the like: `open_image` has its own bound
    except Image.DecompressionBombError:
        return None
    try:
        return make_thumbnail(open_image(data, at_least=SIDE), SIDE)
    except (ValueError, OSError, MemoryError):
        return None
