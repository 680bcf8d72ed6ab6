"""The engines that `benchmarks/search.py` measures: a further one is a class here, and a place in `ENGINES`."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.search_data import PART, in_folder
from caan.search.approximate import Approximate, build
from caan.search.engine import Content, Folder, Photo
from caan.search.engine import Engine as GalleryEngine
from caan.search.matrix import Matrix, write_matrix
from caan.search.names import open_engine

TOP_K = 100
PUT = 1000  # photos of one write, as `caan index` makes one every few seconds


class Engine:
    """What is measured: `build` once, then all else in another process.

    name: in the table. grows: it has `add` and `remove`. limited: it takes too long for more than `--milvus_limit` rows.
    thumbnail: bytes of each, where thumbnails are kept.
    """

    name = ""
    grows = True
    limited = False

    def __init__(self, thumbnail: int = 0):
        self.thumbnail = thumbnail

    @classmethod
    def missing(cls) -> str:
        """The package that it needs and that is not there; "" = none."""
        return ""

    def build(self, vectors: np.ndarray, folder: Path) -> None:
        """Writes what it needs of vectors (count, width) float16 to a folder of its own."""

    def open(self, vectors: np.ndarray, folder: Path) -> None:
        """Makes ready to search what `build` wrote."""

    def search(self, query: np.ndarray, filtered: bool = False) -> np.ndarray:
        """Row numbers of the best `TOP_K`, best first; filtered: of the rows that are `in_folder`."""
        raise NotImplementedError

    def add(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Adds rows by their numbers, which come after all others; on disk, where it has a disk, when the call returns."""

    def remove(self, rows: np.ndarray) -> None:
        """Removes rows by their numbers."""

    def processes(self) -> list[int]:
        """The processes that search, whose memory counts."""
        return [os.getpid()]

    def close(self) -> None:
        """Ends what `open` began."""


class Brute(Engine):
    """What needs no package but numpy: all in memory in float32, and where there is a filter, its rows copied."""

    name = "numpy, float32"

    def open(self, vectors, folder):
        self.vectors, self.rows = np.empty(vectors.shape, dtype=np.float32), np.arange(len(vectors))
        for start in range(0, len(vectors), PART):
            self.vectors[start : start + PART] = vectors[start : start + PART]

    def search(self, query, filtered=False):
        allowed = np.flatnonzero(in_folder(self.rows)) if filtered else slice(None)
        scores = self.vectors[allowed] @ query
        best = np.argpartition(-scores, TOP_K)[:TOP_K]
        return self.rows[allowed][best[np.argsort(-scores[best])]]

    def add(self, rows, vectors):
        self.vectors, self.rows = np.concatenate([self.vectors, vectors], dtype=np.float32), np.concatenate([self.rows, rows])

    def remove(self, rows):
        left = ~np.isin(self.rows, rows)
        self.vectors, self.rows = self.vectors[left], self.rows[left]


class Exact(Engine):
    """The matrix alone; rows come and go in the gallery that it is of."""

    name = "caan, exact"
    grows = False

    def build(self, vectors, folder):
        parts = range(0, len(vectors), PART)
        ids = np.arange(len(vectors))
        write_matrix(folder / "matrix", ((ids[at : at + PART], vectors[at : at + PART]) for at in parts), generation=1)

    def open(self, vectors, folder):
        self.searcher: Matrix | Approximate = Matrix.open(folder / "matrix")
        self.mask = in_folder(np.arange(len(vectors)))

    def search(self, query, filtered=False):
        return self.searcher.search(query[None], TOP_K, self.mask if filtered else None)[1][0]


class Codes(Exact):
    """The matrix and its codes; the build is that of both."""

    name = "caan, approximate"

    def build(self, vectors, folder):
        super().build(vectors, folder)
        build(folder / "codes", Matrix.open(folder / "matrix"))

    def open(self, vectors, folder):
        super().open(vectors, folder)
        self.searcher = Approximate.open(folder / "codes", Matrix.open(folder / "matrix"))


class Gallery(Engine):
    """The whole gallery in a folder: SQLite with thumbnails, the matrix, and from `approximate.LEAST` rows on the codes.

    The content of a row is known by a hash in which its number stands; its photo is in one of ten folders, by the last digit.
    """

    name = "gallery"
    root = b"/photos"
    engine: GalleryEngine

    def address(self, folder: Path) -> str:
        return str(folder / "gallery")

    def open(self, vectors, folder):
        self.engine = open_engine(self.address(folder), create=True)

    def build(self, vectors, folder):
        Gallery.open(self, vectors, folder)
        self.engine.add_root(self.root)
        self.add(np.arange(len(vectors)), vectors)
        self.engine.prepare()
        self.close()

    def search(self, query, filtered=False):
        found = self.engine.nearest(query, TOP_K, Folder(self.root, b"0") if filtered else None)
        return np.array([int.from_bytes(content[-8:], "big") for content, _ in found])

    def photo(self, row: int) -> Photo:
        content = np.random.default_rng(row).bytes(24) + int(row).to_bytes(8, "big")  # hashes come in no order
        return Photo(self.root, b"%d/%d.jpg" % (row % 10, row), 100_000, 1, content)

    def add(self, rows, vectors):
        noise = np.random.default_rng(0).bytes(self.thumbnail + PUT)  # a JPEG cannot be made smaller either
        for start in range(0, len(rows), PUT):
            photos = [self.photo(row) for row in rows[start : start + PUT]]
            thumbnails = (noise[n : n + self.thumbnail] for n in range(len(photos)))
            made = zip(photos, vectors[start : start + PUT], thumbnails)
            self.engine.put(photos, [Content(photo.content, vector, jpeg) for photo, vector, jpeg in made])

    def remove(self, rows):
        self.engine.drop([self.photo(row) for row in rows])
        self.engine.sweep()

    def close(self):
        self.engine.close()


class MilvusFile(Gallery):
    """The same photos on Milvus Lite, in this process."""

    name = "gallery, Milvus Lite"
    limited = True

    @classmethod
    def missing(cls):
        return next((name for name in ("pymilvus", "milvus_lite") if importlib.util.find_spec(name) is None), "")

    def address(self, folder):
        return f"milvus+file://{(folder / 'gallery.db').absolute()}/bench"


class MilvusServer(MilvusFile):
    """The same over TCP, with a server of Milvus Lite on this machine, whose memory counts and whose CPU time does not."""

    name = "gallery, Milvus Lite over TCP"
    server: subprocess.Popen | None = None

    def address(self, folder):
        return f"milvus://127.0.0.1:{self.start(folder)}/bench"

    def start(self, folder: Path) -> int:
        """Starts a server; returns its port."""
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder), "--host", "127.0.0.1"]
        with open(folder / "server.log", "wb") as log:
            self.server = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
        for _ in range(600):
            with socket.socket() as one:
                if self.server.poll() is None and one.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.1)
        raise OSError(f"the server of Milvus Lite does not answer: {folder / 'server.log'}")

    def processes(self):
        return [*super().processes(), *([self.server.pid] if self.server else [])]

    def close(self):
        super().close()
        if self.server:
            self.server.terminate()
            self.server.wait(timeout=60)


ENGINES: list[type[Engine]] = [Brute, Exact, Codes, Gallery, MilvusFile, MilvusServer]
