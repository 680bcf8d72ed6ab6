"""A first stage for galleries in which the exact search takes too long: codes of 2 bits a dimension.

matrix = Matrix.open(...)
codes = Approximate.open_or_build(path, matrix)
scores, rows = (codes or matrix).search(queries, 100)

The codes are those of faiss' 4-bit product quantiser, two dimensions a part, which it scans in registers: at a million rows of
384 they are 96 MB where the matrix has 768. They say which few thousand rows may be the best; scores and order are then the
matrix' own. A random rotation comes first: dimensions of an encoder differ in spread, and two bits are to tell as much of each.
Codes belong to ids: rows that came since are always candidates, rows that went never.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from caan.search.derived import CODES, START, is_intact, read_header, writing
from caan.search.matrix import Matrix, stacked
from caan.search.scanning import as_float32

logger = logging.getLogger(__name__)

# Below as many rows the exact search takes a few milliseconds of CPU time, and needs no second file. Codes take less from
# 25,000 rows on (benchmarks/README.md, crossover); what they save there is not worth the file.
LEAST = 50_000
# Candidates of a search of 100, of which 0.996 are found among a million random vectors, the hardest case, and 0.998 among a
# million made of encoded photos (benchmarks/search.py); and of each one more.
CANDIDATES, MORE = 3_000, 20
# Rows that the codes do not know, and the part of theirs that went: beyond, they are made anew. With the candidates of 100 they
# are still few enough for one thread (scanning.FEW).
TAIL, GONE = 5_000, 0.1
# A mask has the codes scanned for more candidates, since they cannot leave rows out; below this part of the rows it is faster,
# and surer, to score its rows exactly.
MASKED = 0.5
SAMPLE = 4_096  # rows that the quantiser learns from: faiss takes no more than 256 for each of its 16 centroids
LEAST_TO_LEARN = 16  # one row a centroid
ROWS = 65_536  # that are encoded at once: 100 MB at a width of 384


def has_faiss() -> bool:
    """Whether faiss is installed; without it a search is exact, and slower."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def build(path: Path, matrix: Matrix) -> None:
    """Writes the codes of a matrix; old ones at `path` stay until the new ones are whole.

    Raises:
        ImportError: faiss is missing. ValueError: there are too few rows to learn from. OSError: the disk is full.
    """
    import faiss

    count, width = matrix.vectors.shape
    if count < LEAST_TO_LEARN:
        raise ValueError(f"Codes are learned from {LEAST_TO_LEARN} rows or more, not from {count}.")
    parts = (width + 1) // 2  # the rotation gives an odd width one dimension more
    codes = faiss.IndexPQFastScan(2 * parts, parts, 4, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexPreTransform(faiss.RandomRotationMatrix(width, 2 * parts), codes)
    sample = np.sort(np.random.default_rng(0).choice(count, min(count, SAMPLE), replace=False))
    with one_thread(faiss):
        index.train(as_float32(matrix.vectors[sample]))
    for start in range(0, count, ROWS):
        index.add(as_float32(matrix.vectors[start : start + ROWS]))
    with writing(path, CODES, matrix.generation) as file:
        file.count, file.width = count, width
        file.write(matrix.ids)
        file.write(faiss.serialize_index(index))


@contextmanager
def one_thread(faiss) -> Iterator[None]:
    """faiss in one thread: it learns each of its hundreds of parts in milliseconds, and a wait for others takes longer."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class Approximate:
    """The codes of a matrix, and the search through them.

    Args:
        index: faiss' index of the codes. ids: of its rows, ascending. matrix: of this or another generation.
    """

    def __init__(self, index, ids: np.ndarray, matrix: Matrix):
        import faiss

        self.index, self.matrix = index, matrix
        # The rotation and the codes apart: faiss rotates in several threads, which on a busy machine wait for each other longer
        # than the whole search takes.
        rotation: Any = faiss.downcast_VectorTransform(index.chain.at(0))
        self._rotation = faiss.vector_to_array(rotation.A).reshape(rotation.d_out, rotation.d_in)
        self._codes = faiss.downcast_index(index.index)
        self.tail = np.empty(0, dtype=np.int64)  # rows that have no code
        self._rows: np.ndarray | None = None  # code -> row of the matrix, -1 = gone; None = they are the same
        self._gone = 0  # codes without a row
        if not np.array_equal(ids, matrix.ids):
            self.tail = np.flatnonzero(~np.isin(matrix.ids, ids, assume_unique=True))
            there = np.isin(ids, matrix.ids, assume_unique=True)
            self._rows = np.where(there, np.searchsorted(matrix.ids, ids), -1)
            self._gone = int((~there).sum())

    @property
    def is_stale(self) -> bool:
        """Whether so much came or went since that the codes are to be made anew."""
        return len(self.tail) > TAIL or self._gone > GONE * self.index.ntotal

    @classmethod
    def open(cls, path: Path, matrix: Matrix) -> "Approximate":
        """The codes of a file, for a matrix of the generation they were made from or a later one.

        Raises:
            ImportError: faiss is missing. ValueError: it is cut, damaged, no file of codes or of another width. OSError: it
                cannot be read.
        """
        import faiss

        header = read_header(path, CODES)
        if header.width != matrix.vectors.shape[1] or not is_intact(path, header):  # faiss may crash on what is damaged
            raise ValueError(f"{path.name} is damaged, or of another width")
        with open(path, "rb") as file:
            file.seek(START)
            ids = np.fromfile(file, "<i8", header.count)
            index = faiss.deserialize_index(np.fromfile(file, np.uint8))
        if not isinstance(index, faiss.IndexPreTransform) or (index.ntotal, index.d) != (header.count, header.width):
            raise ValueError(f"{path.name} does not fit its header")
        return cls(index, ids, matrix)

    @classmethod
    def open_or_build(cls, path: Path, matrix: Matrix, least: int = LEAST) -> "Approximate | None":
        """The codes of a file, which is made, or made anew where it is missing, damaged or stale.

        None, where the exact search is to be used: there are fewer rows than `least`, faiss is missing, or the file cannot be
        written, of which a warning tells.
        """
        if len(matrix) < least or not has_faiss():
            return None
        try:
            codes = cls.open(path, matrix)
            if not codes.is_stale:
                return codes
        except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: faiss, of a format it does not know
            if path.exists():
                logger.warning("%s is made anew: %s", path, error)
        try:
            build(path, matrix)
            return cls.open(path, matrix)
        except OSError as error:  # a full disk, a folder that cannot be written
            logger.warning("%s cannot be made, searches are slower without: %s", path, error)
            return None

    def search(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As `Matrix.search`: scores and order are exact, and about one in a hundred of the best rows may be missing."""
        queries, mask = self.matrix.require_queries(queries, top_k), self.matrix.mask_of(mask)
        count = max(CANDIDATES, MORE * top_k)
        kept = len(self.matrix) if mask is None else int(np.count_nonzero(mask))
        if kept < max(MASKED * len(self.matrix), 2 * count):
            return self.matrix.search(queries, top_k, mask)
        found = []
        tail = self.tail if mask is None else self.tail[mask[self.tail]]
        for query in queries:
            coded = self.candidates(query, count, mask)
            if len(coded) >= count // 2:
                found.append(self.matrix.best_of(query, np.sort(np.concatenate([coded, tail])), top_k))
            else:  # most of what is near the query is masked or gone
                scores, rows = self.matrix.search(query[None], top_k, mask)
                found.append((scores[0], rows[0]))
        return stacked(found, len(queries), top_k)

    def candidates(self, query: np.ndarray, count: int, mask: np.ndarray | None = None) -> np.ndarray:
        """Rows (n,) with codes that may be nearest to a query (width,) float32, in no order; those of `tail` come besides.

        count: how many there are to be, more or less. mask: (count,) bool, the rows that may be among them; where the query is
        nearer to others, fewer come.
        """
        kept = len(self.matrix) if mask is None else int(np.count_nonzero(mask))
        wanted = count * self.index.ntotal // max(1, kept - len(self.tail))  # codes cannot be left out of a scan, only after it
        turned = np.einsum("ow,w->o", self._rotation, query)
        _, codes = self._codes.search(turned[None], min(max(count, wanted), self.index.ntotal))
        codes = codes[0][codes[0] >= 0]
        rows = codes if self._rows is None else self._rows[codes]
        rows = rows[rows >= 0]
        return rows if mask is None else rows[mask[rows]]
