"""The gallery on Milvus: a server, a cluster, or a file of Milvus Lite (extra `milvus`).

Milvus has no transaction over several calls, so that a write is not all or nothing, as `Engine` asks it: a process that is
killed inside `put` leaves a part of it. The order of the writes makes every part one that the next `caan index` completes:
contents, with their thumbnails, are written before photos, so that what is cut off is a content without a photo, which `sweep`
removes. Where two processes cross, each looks after its write whether the other has taken away what it stands on: `put`
asks once more for contents and roots, `sweep` for photos. What a kill leaves between write and look (a photo without its
content, or one that is there both as readable and as not) is named by `verify`, and removed by `sweep`; then the photo is new.
"""

import base64
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from caan.search.engine import Content, Engine, Folder, NoGallery, Photo, Size
from caan.search.milvus_address import Address
from caan.search.milvus_notes import Notes
from caan.search.milvus_repair import problems, sweep_up
from caan.search.milvus_rows import content_row, photo_rows, read_photo
from caan.search.milvus_tables import BATCH, Tables, below, row_id, to_vector

MARGIN = 64  # contents that are asked for beyond those wanted: equal ones, and those that float16 put in a wrong order
FIELDS = ("id", "content", "size", "mtime_ns")


class MilvusEngine(Engine):
    """A gallery on Milvus.

    Args:
        uri: `milvus://host:19530/NAME` or `milvus+file:///folder/file.db/NAME` (`milvus_address.py`). create: make it where
            there is none.

    Raises:
        ValueError: the address is not complete, the gallery is not there or of a later format, or NAME is of another program.
        OSError: Milvus does not answer, or refuses. ImportError: its client is not installed.
    """

    def __init__(self, uri: str, create: bool = True):
        address = Address.parse(uri)
        self.uri = address.uri
        if address.file and not os.path.exists(address.file) and not create:
            raise NoGallery(self.uri, self.uri)
        self._tables = Tables(address)
        self._notes = Notes(self._tables)
        self._sample: tuple[tuple[int, int], np.ndarray] | None = None
        try:
            self._notes.require_own(create)
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------------------------ settings and roots

    def settings(self) -> dict[str, str]:
        return self._notes.settings()

    def set_settings(self, settings: dict[str, str]) -> None:
        self._notes.set_settings(settings)

    def roots(self) -> list[bytes]:
        return list(self._notes.roots())

    def add_root(self, root: bytes) -> None:
        self._notes.add_root(root)

    def move_root(self, old: bytes, new: bytes) -> None:
        self._notes.move_root(old, new)

    def remove_root(self, root: bytes) -> None:
        self._notes.remove_root(root)

    # ------------------------------------------------------------------------------------------------ photos

    def photos(self, folder: Folder | None = None) -> Iterator[Photo]:
        roots = {number: root for root, number in self._notes.roots().items()}
        tables, prefix = self._tables, self._prefix(folder)
        if prefix is None:
            return
        for row in tables.rows(tables.photos, below(prefix) if prefix else "", FIELDS):
            if row["id"].partition("/")[0] in roots:
                yield read_photo(row, roots)
        for row in tables.rows(tables.notes, below("/".join(filter(None, ["unreadable", prefix]))), ("id", "value")):
            name = row["id"].removeprefix("unreadable/")
            if name.partition("/")[0] in roots:
                yield read_photo({"id": name, "content": "", **json.loads(row["value"])}, roots)

    def _prefix(self, folder: Folder | None) -> str | None:
        """What the ids of photos in a folder begin with; "" of all, None where its root is not there."""
        if folder is None:
            return ""
        number = self._notes.roots().get(folder.root)
        return None if number is None else row_id(number, folder.path).rstrip("/") if folder.path else number

    def known(self, hashes: Collection[bytes]) -> set[bytes]:
        found = self._tables.get(self._tables.contents, {content.hex() for content in hashes if content})
        return {bytes.fromhex(number) for number in found}

    def put(self, photos: Sequence[Photo], contents: Sequence[Content] = ()) -> list[Photo]:
        tables, roots = self._tables, self._notes.roots()
        vectors = {content.hash: np.ascontiguousarray(content.vector, dtype="<f2") for content in contents[::-1]}
        self._add(contents, vectors)
        vectors |= self._read_vectors({photo.content for photo in photos if photo.content})
        good, bad = photo_rows(photos, roots, vectors, tables)
        tables.upsert(tables.photos, good.values())
        tables.write_notes({f"unreadable/{name}": text for name, text in bad.items()})
        tables.delete(tables.notes, (f"unreadable/{name}" for name in good))
        tables.delete(tables.photos, bad)
        left = self._left_out(photos)
        written = good.keys() | bad.keys()
        self.drop(photo for photo in left if photo.root in roots and row_id(roots[photo.root], photo.path) in written)
        return left

    def _add(self, contents: Sequence[Content], vectors: dict[bytes, np.ndarray]) -> None:
        """Writes the contents that are not known."""
        known, now, tables = self.known(vectors), time.time_ns(), self._tables
        new = list({content.hash: content for content in contents[::-1] if content.hash not in known}.values())[::-1]
        if not new:
            return
        if len({vector.shape for vector in vectors.values()} | {(tables.width() or vectors[new[0].hash].shape[0],)}) > 1:
            raise ValueError(f"Vectors of another width than those in {self.uri} cannot be added.")
        tables.make_vectors(len(vectors[new[0].hash]))
        rows = [content_row(content, tables.vector(vectors[content.hash]), now + n) for n, content in enumerate(new)]
        tables.upsert(tables.contents, rows)

    def _left_out(self, photos: Sequence[Photo]) -> list[Photo]:
        """The photos whose content or root is not there, now that they are written: another process took it away."""
        roots, known = self._notes.roots(), self.known({photo.content for photo in photos})
        return [photo for photo in photos if photo.root not in roots or (photo.content and photo.content not in known)]

    def _read_vectors(self, hashes: Collection[bytes]) -> dict[bytes, np.ndarray]:
        """Vectors (width,) float16 of those contents that are known."""
        rows = self._tables.get(self._tables.contents, [content.hex() for content in hashes], ("id", "vector"))
        return {bytes.fromhex(number): to_vector(row["vector"]).astype("<f2") for number, row in rows.items()}

    def drop(self, photos: Iterable[Photo]) -> int:
        tables, roots = self._tables, self._notes.roots()
        names = {row_id(roots[photo.root], photo.path) for photo in photos if photo.root in roots}
        good = tables.get(tables.photos, names)
        bad = tables.get(tables.notes, [f"unreadable/{name}" for name in names])
        tables.delete(tables.photos, good)
        tables.delete(tables.notes, bad)
        return len(good.keys() | {name.removeprefix("unreadable/") for name in bad})

    def sweep(self) -> int:
        """Reads the ids of all photos and contents: seconds for 100,000. Also ends what a kill has left (see the module)."""
        return sweep_up(self._tables, set(self._notes.roots().values()))

    # --------------------------------------------------------------------------------------------- searching

    def nearest(self, query: np.ndarray, count: int, folder: Folder | None = None) -> list[tuple[bytes, float]]:
        """At most 16,000 contents. Milvus finds them, by float16; the scores are of float32, as of every engine."""
        tables, prefix, query = self._tables, self._prefix(folder), np.asarray(query, dtype=np.float32)
        if prefix is None:
            return []
        if prefix:
            found = tables.search(tables.photos, query, count + MARGIN, below(prefix), group="content")
        else:
            found = tables.search(tables.contents, query, count + MARGIN)
        rows = list(tables.get(tables.contents, found, ("id", "added", "vector")).values())
        if not rows:
            return []
        scores = np.stack([to_vector(row["vector"]) for row in rows]) @ query
        order = np.lexsort(([row["id"] for row in rows], [row["added"] for row in rows], -scores))[:count]
        return [(bytes.fromhex(rows[n]["id"]), float(scores[n])) for n in order]

    def files(self, hashes: Sequence[bytes], folder: Folder | None = None) -> dict[bytes, list[Photo]]:
        roots = {number: root for root, number in self._notes.roots().items()}
        found: dict[bytes, list[Photo]] = {content: [] for content in hashes}
        tables, prefix = self._tables, self._prefix(folder)
        asked = list(found) if prefix is not None else []
        for start in range(0, len(asked), BATCH):
            among = json.dumps([content.hex() for content in asked[start : start + BATCH]])
            condition = f"content in {among}" + (f" and {below(prefix)}" if prefix else "")
            for row in tables.rows(tables.photos, condition, FIELDS):
                if row["id"].partition("/")[0] in roots:
                    found[bytes.fromhex(row["content"])].append(read_photo(row, roots))
        order = {root: n for n, root in enumerate(self.roots())}
        for photos in found.values():
            photos.sort(key=lambda photo: (order.get(photo.root, -1), photo.path))
        return found

    def vectors(self, hashes: Sequence[bytes]) -> np.ndarray:
        rows, width = self._read_vectors(set(hashes)), self._tables.width()
        nothing = np.zeros(width, dtype="<f2")
        return np.array([rows.get(content, nothing) for content in hashes], dtype=np.float32).reshape(len(hashes), width)

    def count(self) -> int:
        return self._tables.count(self._tables.contents)

    def sample(self, count: int) -> np.ndarray:
        """Those with the lowest hashes: as good as drawn. Kept until the number of contents changes."""
        state = (count, self.count())
        if self._sample is None or self._sample[0] != state:
            rows = self._tables.rows(self._tables.contents, "", ("vector",), size=min(count, 1000))
            vectors = np.array([to_vector(row["vector"]) for row, _ in zip(rows, range(count))], dtype=np.float32)
            self._sample = state, vectors.reshape(len(vectors), self._tables.width())
        return self._sample[1]

    def thumbnail(self, content: bytes) -> bytes | None:
        name = content.hex()
        row = self._tables.get(self._tables.contents, [name], ("id", "thumbnail")).get(name)
        return base64.b64decode(row["thumbnail"]) if row else None

    # ------------------------------------------------------------------------------------------ the whole

    def size(self) -> Size:
        """Of a server the bytes are reckoned: it does not say how many it takes. live: vectors, as float16, of contents and
        once more of photos; total: and thumbnails, by the mean of 100, without indexes and replicas. Of a file total is what it
        takes."""
        tables, width = self._tables, self._tables.width()
        photos, contents = tables.count(tables.photos), tables.count(tables.contents)
        unreadable = tables.count(tables.notes, below("unreadable"))
        live = (photos + contents) * width * 2
        some = [len(row["thumbnail"]) for row, _ in zip(tables.rows(tables.contents, "", ("thumbnail",), 100), range(100))]
        total = live + int(contents * sum(some) / max(1, len(some)))
        if tables.address.file:
            place = Path(tables.address.file)
            files = [place] if place.is_file() else list(place.rglob("*"))
            total = max(total, sum(path.stat().st_size for path in files if path.is_file()))
        return Size(photos, contents, unreadable, width, live, total)

    def verify(self) -> list[str]:
        return problems(self._tables, set(self._notes.roots().values()))

    def remove(self) -> None:
        self._tables.drop()
        self.close()

    def close(self) -> None:
        self._tables.client.close()
