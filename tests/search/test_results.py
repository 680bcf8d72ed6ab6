"""Copies as one result, and what stands out. python -m pytest tests/search/test_results.py"""

import math

import numpy as np
import pytest

from caan.search.engine import Content, Photo
from caan.search.gallery import Gallery
from caan.search.results import Found, group_copies, near_limit, standing_of


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


def test_the_limit_of_near_copies_keeps_to_the_spread_of_the_gallery():
    wide = np.eye(60, dtype=np.float32)  # mean cosine 1/60
    assert near_limit(wide) == 0.98 and near_limit(wide[:49]) == 0.98
    narrow = np.concatenate([np.full((60, 1), 0.9, dtype=np.float32), np.sqrt(0.19) * wide], axis=1)
    assert near_limit(narrow) == pytest.approx(1 - 0.06 * (1 - 0.81 - 0.19 / 60), abs=1e-6)


def test_a_gallery_of_one_shot_still_joins():
    assert near_limit(np.ones((60, 1), dtype=np.float32)) == 0.995


def test_different_photos_of_a_narrow_model_do_not_join(tmp_path):
    rows = np.concatenate([np.full((60, 1), 0.99), np.sqrt(1 - 0.99**2) * np.eye(60)], axis=1).astype(np.float16)
    names = [bytes([row]) * 32 for row in range(60)]
    files = [Photo(b"/r", b"%d.jpg" % row, 1, 1, name) for row, name in enumerate(names)]
    with Gallery.open(tmp_path / "narrow") as narrow:
        narrow.engine.add_root(b"/r")
        narrow.engine.put(files, [Content(name, row, b"") for name, row in zip(names, rows)])
        assert (rows[0].astype(float) @ rows[1]) > 0.98
        found = narrow.search_vector(rows[0].astype(np.float32), 5)
        assert [len(result.copies) for result in found] == [1] * 5


def test_similar():
    assert Found([], -1.0).similar and not Found([], -1.5).similar and Found([], None).similar
