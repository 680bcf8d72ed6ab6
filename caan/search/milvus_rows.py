"""Photos and contents as rows of Milvus, and back."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image

from caan.search.encoding import make_thumbnail
from caan.search.engine import Content, Photo
from caan.search.milvus_tables import TEXT, Tables, row_id

THUMBNAIL = TEXT // 4 * 3  # bytes that fit as base64; only thumbnails of noise have more


def photo_rows(
    photos: Sequence[Photo], roots: Mapping[bytes, str], vectors: Mapping[bytes, np.ndarray], tables: Tables
) -> tuple[dict[str, dict], dict[str, str]]:
    """Rows of the photos that can be read, and texts of the others, by the photo's id; those whose root or content is not known
    are left out.

    Args:
        roots: the number of each. vectors: (width,) float16 of each known content.
    """
    good: dict[str, dict] = {}
    bad: dict[str, str] = {}
    for photo in photos:
        if photo.root in roots:
            name, fields = row_id(roots[photo.root], photo.path), {"size": photo.size, "mtime_ns": photo.mtime_ns}
            if not photo.content:
                good.pop(name, None)  # of a photo that is given twice the last counts
                bad[name] = json.dumps({**fields, "problem": photo.problem})
            elif photo.content in vectors:
                bad.pop(name, None)
                vector = tables.vector(vectors[photo.content])
                good[name] = {"id": name, "content": photo.content.hex(), **fields, "vector": vector}
    return good, bad


def content_row(content: Content, vector: np.ndarray, added: int) -> dict:
    """The row of a content; `vector` in the form that the collections keep."""
    thumbnail = base64.b64encode(fitting(content.thumbnail)).decode()
    return {"id": content.hash.hex(), "added": added, "thumbnail": thumbnail, "vector": vector}


def read_photo(row: dict, roots: Mapping[str, bytes]) -> Photo:
    """A photo from its row; the content of an unreadable one is "". roots: by number."""
    number, _, path = row["id"].partition("/")
    content = bytes.fromhex(row["content"])
    return Photo(roots[number], unquote_to_bytes(path), row["size"], row["mtime_ns"], content, row.get("problem", ""))


def fitting(thumbnail: bytes) -> bytes:
    """A thumbnail that fits into a text of Milvus: of half the side where this one does not."""
    if len(thumbnail) <= THUMBNAIL:
        return thumbnail
    image = Image.open(io.BytesIO(thumbnail))
    return fitting(make_thumbnail(image, max(image.size) // 2))
