"""Copies as one result, and what stands out. python -m pytest tests/search/test_results.py"""

import math

import numpy as np
import pytest

from caan.search.engine import Photo
from caan.search.results import Found, group_copies, standing_of


def photos(name: str, *more: str) -> list[Photo]:
    return [Photo(b"/r", path.encode(), 1, 1, name.encode()) for path in (name, *more)]


def unit(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def test_copies_and_near_copies_join_the_best_of_them():
    vectors = np.array([unit(0), unit(40), unit(5), unit(41), unit(80)])  # cos 5° = .996, cos 1° = .9998, cos 39° = .78
    files = {b"a": photos("a", "a2"), b"b": photos("b"), b"c": photos("c"), b"d": photos("d"), b"e": photos("e")}
    found = [(b"a", 0.9), (b"b", 0.8), (b"c", 0.7), (b"d", 0.6), (b"e", 0.5)]
    results = group_copies(found, vectors, files, top_k=3, near=0.98)
    assert [(result.path, result.score, result.rank) for result in results] == [
        ("/r/a", 0.9, 1),
        ("/r/b", 0.8, 2),
        ("/r/e", 0.5, 3),
    ]
    assert [result.copies for result in results] == [("/r/a", "/r/a2", "/r/c"), ("/r/b", "/r/d"), ("/r/e",)]
    assert [result.path for result in group_copies(found, vectors, files, top_k=1)] == ["/r/a"]
    assert len(group_copies(found, vectors, files, top_k=9, near=1.1)) == 5


def test_a_picture_without_a_file_is_no_result():
    files = {b"a": [], b"b": photos("b")}
    (result,) = group_copies([(b"a", 0.9), (b"b", 0.8)], np.array([unit(0), unit(40)]), files, top_k=5)
    assert (result.path, result.rank) == ("/r/b", 1)


def test_what_stands_out_by_hand():
    scores = np.array([0.0, 1.0] * 25)  # mean .5, deviation .5
    assert standing_of(2.5, scores, 50) == pytest.approx(4 - math.sqrt(2 * math.log(50)))
    assert standing_of(2.5, scores[:49], 49) is None and standing_of(2.5, np.ones(50), 50) is None


def test_similar():
    assert Found([], -1.0).similar and not Found([], -1.5).similar and Found([], None).similar
