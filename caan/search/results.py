"""What a search gives: pictures with their score, each once however many copies of it there are, and whether any stands out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from caan.search.engine import Photo
from caan.search.photos import full_path

# Two pictures are one shot whose cosine is NEAR or more, and whose distance (1 - cosine) is at most SPREAD of the mean distance
# in the gallery: vectors of some models all lie in a part of the space, where different photos are nearer than NEAR. From MOST
# on they are one in any gallery, such as one of a single shot. Among Sketchy's photos no different ones join, by CAAN, a plain
# ViT, and that with its vectors moved together, of which 2 % would by NEAR alone; 99 % of copies at JPEG quality 75 do, and
# 93 % or more of those at half the size (`benchmarks/search_limits.py`, as all numbers here).
NEAR, SPREAD, MOST = 0.98, 0.06, 0.995
LEAST = 50  # photos of which a mean or a deviation says something
# How far the best score may be below that of the best of as many normal ones, in standard deviations. It says little: scores
# are not normal, and something like a sketch is in most galleries. By CAAN of fold 0 "nothing similar" is said to no sketch in
# 100 or 500 photos, whether its class is there or not; at 0 it would be to 13 and 24 of 100 in 100 photos. By a plain ViT it is
# said to 9 of 10 in both cases: its sketches find photos hardly better than chance.
STANDING = -1.25


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

    standing: how far the best score is above that of the best of as many ordinary photos (`standing_of`); None where the
    gallery is too small to say. similar: whether it stands out.
    """

    def __init__(self, results: Sequence[Result] = (), standing: float | None = None):
        super().__init__(results)
        self.standing = standing

    @property
    def similar(self) -> bool:
        return self.standing is None or self.standing >= STANDING


def standing_of(best: float, scores: np.ndarray, count: int) -> float | None:
    """How far the best score stands out of a gallery, in standard deviations of its scores.

    Of `count` scores that are drawn from a normal distribution the greatest is about sqrt(2 ln count) deviations above their
    mean (for large counts, from above): what exceeds it is no chance.

    Args:
        scores: of a sample of the gallery (n,); of fewer than `LEAST` nothing is told, and None returned.
    """
    if len(scores) < LEAST or not (spread := float(scores.std())):
        return None
    return (best - float(scores.mean())) / spread - math.sqrt(2 * math.log(count))


def near_limit(sample: np.ndarray) -> float:
    """The cosine from which two pictures of a gallery are one shot; `sample`: unit vectors (n, width) from all over it."""
    if len(sample) < LEAST:
        return NEAR
    mean = sample.mean(axis=0)
    spread = 1 - float(mean @ mean)  # the mean distance of all pairs, each with itself too
    return min(max(NEAR, 1 - SPREAD * spread), MOST)


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
