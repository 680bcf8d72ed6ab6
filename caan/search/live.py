"""What an embedded gallery searches: a matrix on disk, made from SQLite, and the rows that came or went since.

A matrix is written anew when much has changed, so that a gallery that grows by a batch every few seconds is searched all the
while. Numbers of contents are never given twice and their vectors never change, so a matrix of any age stays right for the rows
that are left.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from caan.search.approximate import LEAST, Approximate, has_faiss
from caan.search.matrix import Matrix, write_matrix

FILE, CODES = "vectors.matrix", "vectors.codes"
# Rows that are searched in memory before they go into a file; a new process reads them anew, in about a tenth of a second.
FRESH = 10_000
STALE = 0.05  # of a matrix's rows: as many new or removed ones, and it is made anew
Parts = Iterator[tuple[np.ndarray, np.ndarray]]  # numbers (n,) int64, ascending, and vectors (n, width) float16


class LiveRows:
    """The rows of a gallery as they are now.

    Args:
        folder: where the matrix is kept. rows: numbers and vectors, of all contents or of given ones, in parts.
        ids: all numbers, ascending. generation: changes with every write.
    """

    def __init__(
        self,
        folder: Path,
        rows: Callable[[np.ndarray | None], Parts],
        ids: Callable[[], np.ndarray],
        generation: Callable[[], int],
    ):
        self.codes_file = folder / CODES
        self.file, self._rows, self._ids, self._read_generation = folder / FILE, rows, ids, generation
        self.generation = -1
        self.kept: Matrix | None = None  # of the file
        self.codes: Approximate | None = None  # of `kept`, where it is large and faiss is there
        self.present = np.empty(0, dtype=bool)  # rows of it that were not removed since
        self.fresh: Matrix | None = None  # what it lacks

    def search(self, query: np.ndarray, count: int, allowed: np.ndarray | None = None) -> tuple[list[float], list[int]]:
        """Scores and numbers of the `count` rows nearest to a unit vector (width,), best first, equals by number.

        allowed: the only numbers, ascending; None = all.
        """
        self.update()
        scores, ids = [], []
        for matrix, mask, engine in ((self.kept, self.present, self.codes or self.kept), (self.fresh, None, self.fresh)):
            if matrix is None or engine is None or not len(matrix):
                continue
            if allowed is not None:
                inside = np.isin(matrix.ids, allowed, assume_unique=True)
                mask = inside if mask is None else mask & inside
            found, rows = engine.search(query[None], count, None if mask is None or mask.all() else mask)
            scores.append(found[0])
            ids.append(matrix.ids[rows[0]])
        if not scores:
            return [], []
        merged, numbers = np.concatenate(scores), np.concatenate(ids)
        order = np.lexsort((numbers, -merged))[:count]
        return merged[order].tolist(), numbers[order].tolist()

    def update(self) -> None:
        """Takes in what was written since the last call, by this process or another."""
        generation = self._read_generation()
        if generation == self.generation:
            return
        if self.kept is None:
            with contextlib.suppress(ValueError, OSError):  # none there yet, or a damaged one: it is made anew
                self.kept = Matrix.open(self.file)
                self._open_codes()
        ids = self._ids()
        known = np.empty(0, dtype=np.int64) if self.kept is None else self.kept.ids
        lacking = ids[~np.isin(ids, known, assume_unique=True)]
        self.present = np.isin(known, ids, assume_unique=True)
        if len(lacking) + (~self.present).sum() > max(FRESH, STALE * len(known)):
            self._rebuild(generation)
        else:
            self.fresh = self._read(lacking)
        self.generation = generation

    def count(self) -> int:
        """How many rows there are."""
        self.update()
        return int(self.present.sum()) + (0 if self.fresh is None else len(self.fresh))

    def sample(self, count: int) -> np.ndarray:
        """Vectors (n, width) float32 of `count` rows, evenly spaced, of all where there are fewer."""
        kept, total = np.flatnonzero(self.present), self.count()
        chosen = np.linspace(0, total - 1, min(count, total)).astype(int)
        parts = [] if self.kept is None else [self.kept.vectors[kept[chosen[chosen < len(kept)]]]]
        parts += [] if self.fresh is None else [self.fresh.vectors[chosen[chosen >= len(kept)] - len(kept)]]
        return np.concatenate(parts).astype(np.float32) if parts else np.empty((0, 0), dtype=np.float32)

    def _read(self, ids: np.ndarray) -> Matrix | None:
        """These rows in memory; of those that are there only the new ones are read."""
        parts = []
        if self.fresh is not None:
            left = np.isin(self.fresh.ids, ids, assume_unique=True)
            parts.append((self.fresh.ids[left], self.fresh.vectors[left]))
            ids = ids[~np.isin(ids, self.fresh.ids, assume_unique=True)]
        parts += self._rows(ids) if len(ids) else []
        return in_memory(parts)

    def _rebuild(self, generation: int) -> None:
        """A matrix of all rows, in memory where the folder cannot be written."""
        try:
            write_matrix(self.file, self._rows(None), generation)
            self.kept, self.codes = Matrix.open(self.file), None
            self._open_codes()
        except OSError:
            self.kept, self.codes = in_memory(list(self._rows(None))), None
        self.present = np.ones(0 if self.kept is None else len(self.kept), dtype=bool)
        self.fresh = None

    def _open_codes(self) -> None:
        """The codes of the matrix, where they are there and right; a search does not wait for them to be made."""
        if self.kept is not None and len(self.kept) >= LEAST and has_faiss():
            with contextlib.suppress(ValueError, OSError, RuntimeError):
                codes = Approximate.open(self.codes_file, self.kept)
                self.codes = None if codes.is_stale else codes

    def prepare(self) -> None:
        """Brings matrix and codes up to the gallery, so that no search has to."""
        self.update()
        if self.kept is not None and self.codes is None:
            self.codes = Approximate.open_or_build(self.codes_file, self.kept)

    def verify(self) -> list[str]:
        """What is wrong with the file, in words: its bytes, and vectors that are not SQLite's."""
        if not self.file.exists():
            return []
        if found := Matrix.verify(self.file):
            return [f"{text}: delete that file, it is made anew" for text in found]
        matrix = Matrix.open(self.file)
        rows = {int(number): row for row, number in enumerate(matrix.ids)}
        wrong = 0
        for numbers, vectors in self._rows(None):
            inside = [(rows[int(number)], place) for place, number in enumerate(numbers) if int(number) in rows]
            ours, theirs = (np.array(column, dtype=np.int64) for column in zip(*inside)) if inside else (numbers[:0],) * 2
            wrong += int((matrix.vectors[ours] != vectors[theirs]).any(axis=1).sum())
        return [f"{wrong} vectors of {FILE} are not the gallery's: delete that file, it is made anew"] if wrong else []

    def close(self) -> None:
        """Lets go of the file."""
        self.kept = self.codes = self.fresh = None
        self.generation = -1


def in_memory(parts: list[tuple[np.ndarray, np.ndarray]]) -> Matrix | None:
    """A matrix of rows, by ascending number; None of none."""
    parts = [part for part in parts if len(part[0])]
    if not parts:
        return None
    ids, vectors = np.concatenate([ids for ids, _ in parts]), np.concatenate([vectors for _, vectors in parts])
    order = ids.argsort()
    return Matrix(vectors[order], ids[order])
