"""What a search gives: pictures with their score, each once however many copies of it there are, and whether any stands out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from caan.search.engine import Photo
from caan.search.photos import full_path

NEAR = 0.98  # cosine from which two pictures are one shot: to be measured
STANDING = 3.0  # standard deviations above the gallery's mean score from which the best photo stands out: to be measured


@dataclass(frozen=True)
class Result:
    """A picture that was found.

    path: of its first file; copies: paths of all files with it, or with a near-copy of it; score: cosine similarity; rank: 1,
    2, ...;
    content: the hash that names it in the gallery.
    """

    path: str
    score: float
    rank: int
    copies: tuple[str, ...]
    content: bytes


class Found(list[Result]):
    """Results, best first.

    standing: how far the best score is above the mean of the gallery's, in their standard deviations; None where the gallery is
    too small to say. similar: whether that is far enough for the sketch's thing to be there.
    """

    def __init__(self, results: Sequence[Result] = (), standing: float | None = None):
        super().__init__(results)
        self.standing = standing

    @property
    def similar(self) -> bool:
        return self.standing is None or self.standing >= STANDING


def standing_of(best: float, scores: np.ndarray) -> float | None:
    """How far a score is above those of a sample of the gallery (n,), in their standard deviations; None of fewer than 50."""
    if len(scores) < 50 or not (spread := float(scores.std())):
        return None
    return (best - float(scores.mean())) / spread


def group_copies(
    found: Sequence[tuple[bytes, float]],
    vectors: np.ndarray,
    files: Mapping[bytes, Sequence[Photo]],
    top_k: int,
    near: float = NEAR,
) -> list[Result]:
    """The first `top_k` pictures; one that is nearer than `near` to a better one joins it.

    Args:
        found: contents and scores, best first. vectors: theirs, (n, width), unit length. files: their photos.
    """
    leaders: list[int] = []
    members: dict[int, list[int]] = {}
    for row in range(len(found)):
        if not files[found[row][0]]:
            continue  # removed since
        alike = vectors[leaders] @ vectors[row] if leaders else np.empty(0)
        if len(alike) and alike.max() >= near:
            members[leaders[int(alike.argmax())]].append(row)
        elif len(leaders) < top_k:
            leaders.append(row)
            members[row] = [row]
    results = []
    for rank, row in enumerate(leaders, 1):
        paths = tuple(full_path(photo) for member in members[row] for photo in files[found[member][0]])
        results.append(Result(paths[0], found[row][1], rank, paths, found[row][0]))
    return results
