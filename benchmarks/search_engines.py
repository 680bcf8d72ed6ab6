"""The engines that `benchmarks/search.py` measures: a further one is a class here, and a place in `ENGINES`."""

from pathlib import Path

import numpy as np

from caan.search.approximate import Approximate, build
from caan.search.matrix import Matrix, write_matrix

TOP_K = 100
PART = 50_000  # vectors that are made, written or multiplied at once


class Engine:
    """What is measured: `build` once, then `open` and `search` in another process. `name` stands in the table."""

    name = ""

    def build(self, vectors: np.ndarray, folder: Path) -> None:
        """Writes what it needs of vectors (count, width) float16 to a folder of its own."""

    def open(self, vectors: np.ndarray, folder: Path) -> None:
        """Makes ready to search what `build` wrote."""

    def search(self, query: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Row numbers of the best `TOP_K`, best first; mask: (count,) bool, the rows that may be found."""
        raise NotImplementedError


class Brute(Engine):
    """What needs no package but numpy: all in memory in float32, and where there is a filter, its rows copied."""

    name = "numpy, float32"

    def open(self, vectors, folder):
        self.vectors = np.empty(vectors.shape, dtype=np.float32)
        for start in range(0, len(vectors), PART):
            self.vectors[start : start + PART] = vectors[start : start + PART]

    def search(self, query, mask=None):
        rows = None if mask is None else np.flatnonzero(mask)
        scores = (self.vectors if rows is None else self.vectors[rows]) @ query
        best = np.argpartition(-scores, TOP_K)[:TOP_K]
        best = best[np.argsort(-scores[best])]
        return best if rows is None else rows[best]


class Exact(Engine):
    name = "caan, exact"

    def build(self, vectors, folder):
        parts = range(0, len(vectors), PART)
        ids = np.arange(len(vectors))
        write_matrix(folder / "matrix", ((ids[at : at + PART], vectors[at : at + PART]) for at in parts), generation=1)

    def open(self, vectors, folder):
        self.searcher = Matrix.open(folder / "matrix")

    def search(self, query, mask=None):
        return self.searcher.search(query[None], TOP_K, mask)[1][0]


class Codes(Exact):
    """The matrix and its codes; the build is that of both."""

    name = "caan, approximate"

    def build(self, vectors, folder):
        super().build(vectors, folder)
        build(folder / "codes", Matrix.open(folder / "matrix"))

    def open(self, vectors, folder):
        self.searcher = Approximate.open(folder / "codes", Matrix.open(folder / "matrix"))


ENGINES: list[type[Engine]] = [Brute, Exact, Codes]
