"""What an embedded gallery searches: a matrix on disk, made from SQLite, and the rows that came or went since.

A matrix is written anew when much has changed, so that a gallery that grows by a batch every few seconds is searched all the
while. Numbers of contents only grow and their vectors never change, so a matrix of any age stays right for the rows that are
left.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from caan.search.matrix import Matrix

# Rows that are searched in memory before they go into a matrix: their exact product takes about a millisecond.
FRESH = 10_000
STALE = 0.05  # of a matrix's rows: as many new or removed ones, and it is made anew
Rows = Iterator[tuple[np.ndarray, np.ndarray]]  # numbers (n,) int64 and vectors (n, width) float16


class LiveRows:
    """The rows of a gallery as they are now.

    Args:
        folder: where the matrix is kept. rows: numbers and vectors above a number, in parts. ids: all numbers, ascending.
        generation: changes with every write.
    """

    def __init__(self, folder: Path, rows: Callable[[int], Rows], ids: Callable[[], np.ndarray], generation: Callable[[], int]):
        self.folder, self._rows, self._ids, self._read_generation = folder, rows, ids, generation
        self.generation = -1
        self.matrix: Matrix | None = None
        self.matrix_ids = np.empty(0, dtype=np.int64)
        self.present = np.empty(0, dtype=bool)  # of the matrix's rows: not removed since
        self.fresh_ids = np.empty(0, dtype=np.int64)
        self.fresh = np.empty((0, 0), dtype=np.float32)

    def search(self, query: np.ndarray, count: int, allowed: np.ndarray | None = None) -> tuple[list[float], list[int]]:
        """Scores and numbers of the `count` rows nearest to a vector (width,), best first, equals by number.

        allowed: the only numbers, ascending; None = all.
        """
        self.update()
        fresh = np.ones(len(self.fresh_ids), bool) if allowed is None else np.isin(self.fresh_ids, allowed)
        ids, scores = [self.fresh_ids[fresh]], [self.fresh[fresh] @ query if fresh.any() else np.empty(0, np.float32)]
        if self.matrix is not None:
            mask = self.present if allowed is None else self.present & np.isin(self.matrix_ids, allowed)
            found, rows = self.matrix.search(query[None], count, None if mask.all() else mask)
            ids.append(self.matrix_ids[rows[0]])
            scores.append(found[0])
        merged_ids, merged = np.concatenate(ids), np.concatenate(scores)
        order = np.lexsort((merged_ids, -merged))[:count]
        return merged[order].tolist(), merged_ids[order].tolist()

    def update(self) -> None:
        """Takes in what was written since the last call, by this process or another."""
        generation = self._read_generation()
        if generation == self.generation:
            return
        if self.matrix is None:
            self._open()
        ids = self._ids()
        last = self.matrix_ids[-1] if len(self.matrix_ids) else 0
        self.present = np.isin(self.matrix_ids, ids, assume_unique=True)
        fresh = ids[ids > last]
        if len(fresh) + (~self.present).sum() > max(FRESH, STALE * len(self.matrix_ids)):
            self._rebuild(generation, ids)
        else:
            self._read_fresh(fresh, last)
        self.generation = generation

    def _read_fresh(self, ids: np.ndarray, last: int) -> None:
        """The rows that the matrix lacks; of those that are in memory only the new ones are read."""
        kept = np.isin(self.fresh_ids, ids, assume_unique=True)
        self.fresh_ids, self.fresh = self.fresh_ids[kept], self.fresh[kept]
        for numbers, vectors in self._rows(self.fresh_ids[-1] if len(self.fresh_ids) else last):
            known = self.fresh.reshape(len(self.fresh_ids), vectors.shape[1])
            self.fresh_ids = np.concatenate([self.fresh_ids, numbers])
            self.fresh = np.concatenate([known, vectors.astype(np.float32)])

    def _open(self) -> None:
        """The newest whole matrix of the folder, where there is one."""
        for path in sorted(self.folder.glob("*.matrix"), reverse=True):
            with contextlib.suppress(ValueError, OSError):
                self.matrix, self.matrix_ids = Matrix.open(path), read_ids(path)
                return

    def _rebuild(self, generation: int, ids: np.ndarray) -> None:
        """A matrix of all rows. Where the folder cannot be written, it is kept in memory."""
        raise NotImplementedError

    def verify(self) -> list[str]:
        """What is wrong with the matrix, in words."""
        return []

    def close(self) -> None:
        """Lets go of the matrix."""
        self.matrix = None
