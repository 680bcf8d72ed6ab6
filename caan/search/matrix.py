"""The vectors of a gallery as one matrix on disk, and the exact search in it.

write_matrix(path, [(ids, vectors)], generation=7)
matrix = Matrix.open(path, generation=7)
scores, rows = matrix.search(queries, 100)

All rows are scored in the fastest precision of the machine. What that precision could have put in the wrong order is scored
again in float32, one row like another wherever it lies: the result is that of float32, and equal vectors come in the order of
their rows.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from caan.search.derived import MATRIX, START, is_intact, read_header, writing
from caan.search.scanning import exact_scores, first_scores, near_best

# Scores that are kept at once, 4 bytes each: 128 MiB. More queries are searched in turns.
SCORES = 1 << 25
# A mask that leaves fewer of the rows has them gathered, else all are scored: of a million rows a tenth takes nearly as long
# gathered as all do scored (benchmarks/README.md: folder, quiet beside p50, quiet of "caan, exact").
GATHERED = 0.125


def write_matrix(path: Path, chunks: Iterable[tuple[np.ndarray, np.ndarray]], generation: int) -> None:
    """Writes unit vectors as a matrix; an old one at `path` stays until the new one is whole.

    Args:
        chunks: ids (n,), ascending over all chunks, and vectors (n, width) of unit length, which are kept as float16.
        generation: of the gallery, a number that changes with it.

    Raises:
        ValueError: shapes differ, or ids do not ascend. OSError: the disk is full or the folder cannot be written.
    """
    kept: list[np.ndarray] = []
    last = None
    with writing(path, MATRIX, generation) as file:
        for ids, vectors in chunks:
            ids = np.asarray(ids, dtype="<i8")
            if not len(ids):
                continue
            if vectors.shape != (len(ids), file.width or vectors.shape[1]):
                raise ValueError(f"{len(ids)} ids with vectors of shape {vectors.shape}, width {file.width or 'any'}.")
            if (np.diff(ids) <= 0).any() or (last is not None and ids[0] <= last):
                raise ValueError("The ids do not ascend.")
            file.write(vectors.astype("<f2", copy=False))
            kept.append(ids)
            file.count, file.width, last = file.count + len(ids), vectors.shape[1], ids[-1]
        for ids in kept:
            file.write(ids)


class Matrix:
    """Unit vectors that can be searched.

    Attributes:
        vectors: (count, width) float16, mapped from the file: what is not searched takes no memory.
        ids: (count,) int64, ascending. generation: of the gallery that it was made from.
    """

    def __init__(self, vectors: np.ndarray, ids: np.ndarray, generation: int = 0):
        self.vectors, self.ids, self.generation = vectors, ids, generation
        self._tensor = torch.from_numpy(vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    @classmethod
    def open(cls, path: Path, generation: int | None = None) -> "Matrix":
        """The matrix of a file.

        Args:
            generation: the only one that is wanted, None = any.

        Raises:
            ValueError: it is cut, damaged in its header, no matrix, or of another generation. OSError: it cannot be read.
        """
        header = read_header(path, MATRIX)
        if generation is not None and header.generation != generation:
            raise ValueError(f"{path.name} is of generation {header.generation}, not {generation}")
        shape = header.count, header.width
        if header.size != 2 * header.count * header.width + 8 * header.count:
            raise ValueError(f"{path.name} has {header.size:,} bytes for {shape[0]:,} vectors of {shape[1]}")
        if not header.count:
            return cls(np.empty(shape, dtype=np.float16), np.empty(0, dtype=np.int64), header.generation)
        with open(path, "rb") as file:
            # "c": a write would stay in memory; torch warns of arrays that cannot be written at all
            vectors = np.memmap(file, "<f2", "c", START, shape)
            file.seek(START + vectors.nbytes)
            ids = np.fromfile(file, "<i8", header.count)
        if read_header(path, MATRIX) != header:  # replaced since the first look
            return cls.open(path, generation)
        return cls(np.asarray(vectors), ids, header.generation)

    @staticmethod
    def verify(path: Path) -> list[str]:
        """What is wrong with a file, in words; reads all of it."""
        try:
            header = read_header(path, MATRIX)
        except (ValueError, OSError) as error:
            return [str(error)]
        return [] if is_intact(path, header) else [f"the vectors of {path.name} have changed"]

    def search(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The rows with the greatest products with each query, best first, equal ones in the order of rows.

        Args:
            queries: (q, width), of any length: scores are cosines where they are unit vectors.
            mask: the rows that may be found: (count,) bool, or row numbers; None = all.

        Returns scores (q, k) float32 and rows (q, k) int64; k is `top_k`, or as many rows as there are.

        Raises:
            ValueError: queries of another width or with a value that is no number, top_k below 0, a mask that does not fit.
        """
        queries, mask = self.require_queries(queries, top_k), self.mask_of(mask)
        kept = len(self) if mask is None else int(np.count_nonzero(mask))
        found: list[tuple[np.ndarray, np.ndarray]] = []
        if mask is not None and kept < GATHERED * len(self):
            rows = np.flatnonzero(mask)
            found = [self.best_of(query, rows, top_k) for query in queries]
        elif min(top_k, kept):
            step = max(1, SCORES // len(self))
            for start in range(0, len(queries), step):
                found += self._scan(queries[start : start + step], min(top_k, kept), mask)
        return stacked(found, len(queries), min(top_k, kept))

    def best_of(self, query: np.ndarray, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """The same for one query (width,) float32 and some rows (n,), ascending: scores (k,) and rows (k,)."""
        top_k = min(top_k, len(rows))
        if not top_k:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        scores, error = first_scores(self._tensor, torch.from_numpy(query[None]), rows)
        return self._ordered(query, rows[near_best(scores[0], top_k, error)], top_k)

    def _scan(self, queries: np.ndarray, top_k: int, mask: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
        """Scores and rows of each query, from all rows."""
        scores, error = first_scores(self._tensor, torch.from_numpy(queries))
        if mask is not None:
            scores.masked_fill_(~torch.from_numpy(mask), -torch.inf)
        return [self._ordered(query, near_best(row, top_k, error), top_k) for query, row in zip(queries, scores)]

    def _ordered(self, query: np.ndarray, rows: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = exact_scores(self.vectors, query, rows)
        order = np.lexsort((rows, -scores))[:top_k]
        return scores[order], rows[order]

    def require_queries(self, queries: np.ndarray, top_k: int) -> np.ndarray:
        """Queries (q, width) as float32. Raises ValueError as `search` does."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise ValueError(f"Queries have the shape (number, {self.vectors.shape[1]}), got {queries.shape}.")
        if top_k < 0 or not np.isfinite(queries).all():
            raise ValueError("top_k is negative." if top_k < 0 else "A query has values that are no numbers.")
        return queries

    def mask_of(self, mask: np.ndarray | None) -> np.ndarray | None:
        """A mask as bool (count,), None where it leaves all rows. Raises ValueError as `search` does."""
        if mask is None:
            return None
        mask = np.asarray(mask)
        if mask.dtype != bool:
            rows, mask = mask.astype(np.int64), np.zeros(len(self), dtype=bool)
            if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
                raise ValueError(f"The mask names rows that are not among 0 to {len(self) - 1}.")
            mask[rows] = True
        if mask.shape != (len(self),):
            raise ValueError(f"The mask has the shape {mask.shape}, not ({len(self)},).")
        return None if mask.all() else mask


def stacked(found: list[tuple[np.ndarray, np.ndarray]], queries: int, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores (q, k) and rows (q, k) of results of single queries; `found` may be empty where k is 0."""
    scores = np.array([scores for scores, _ in found], dtype=np.float32).reshape(queries, top_k)
    return scores, np.array([rows for _, rows in found], dtype=np.int64).reshape(queries, top_k)
