"""Codes: what they find, what they may not change, and files of them that cannot be used.

python -m pytest tests/search/test_approximate.py    (skipped without the extra search)
"""

import logging
import os

import numpy as np
import pytest

from caan.search import approximate
from caan.search.approximate import Approximate, build
from caan.search.matrix import Matrix

WIDTH = 32


def unit(count, width=WIDTH, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def matrix_of(vectors, ids=None, generation=1):
    return Matrix(vectors.astype(np.float16), np.arange(len(vectors)) if ids is None else np.asarray(ids), generation)


@pytest.fixture
def faiss():
    return pytest.importorskip("faiss")


@pytest.fixture
def few(monkeypatch, faiss):
    """Few candidates, so that a matrix of a test has more."""
    monkeypatch.setattr(approximate, "CANDIDATES", 400)
    monkeypatch.setattr(approximate, "TAIL", 50)


def recall(found, expected):
    return np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, expected)])


def test_without_faiss_the_search_is_exact_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert not approximate.has_faiss()
    assert Approximate.open_or_build(tmp_path / "a.codes", matrix_of(unit(100)), least=10) is None
    assert list(tmp_path.iterdir()) == []


def test_a_small_gallery_needs_no_codes(tmp_path, faiss):
    assert Approximate.open_or_build(tmp_path / "a.codes", matrix_of(unit(100))) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("width", [WIDTH, WIDTH + 1])
def test_nearly_all_of_the_best_are_found_with_their_exact_scores(tmp_path, few, width):
    matrix, queries = matrix_of(unit(20_000, width)), unit(20, width, seed=1)
    codes = Approximate.open_or_build(tmp_path / "a.codes", matrix, least=1)
    scores, rows = codes.search(queries, 20)
    exact_scores, exact_rows = matrix.search(queries, 20)
    assert scores.shape == rows.shape == (20, 20)
    assert recall(rows, exact_rows) >= 0.98
    for query, found, found_rows, best in zip(queries, scores, rows, exact_scores):
        alone, order = matrix.search(query[None], 20, found_rows)
        assert order[0].tolist() == found_rows.tolist() and alone[0].tolist() == found.tolist()
        assert (found <= best).all()


def test_equal_rows_come_in_the_order_of_rows(tmp_path, few):
    vectors = np.repeat(unit(500), 10, axis=0)
    matrix = matrix_of(vectors)
    codes = Approximate.open_or_build(tmp_path / "a.codes", matrix, least=1)
    assert codes.search(vectors[2000:2001], 10)[1].tolist() == [list(range(2000, 2010))]


@pytest.mark.parametrize("share", [0.005, 0.3, 0.7, 1.0])
def test_a_mask_leaves_only_its_rows(tmp_path, few, share):
    matrix, queries = matrix_of(unit(20_000)), unit(10, seed=1)
    codes = Approximate.open_or_build(tmp_path / "a.codes", matrix, least=1)
    mask = np.random.default_rng(4).random(20_000) < share
    _, rows = codes.search(queries, 20, mask)
    assert mask[rows].all()
    assert recall(rows, matrix.search(queries, 20, mask)[1]) >= 0.98
    np.testing.assert_array_equal(codes.search(queries, 20, np.flatnonzero(mask))[1], rows)


def test_where_all_that_is_near_is_masked_the_search_is_exact(tmp_path, few):
    vectors = unit(20_000)
    near = vectors[0] + 0.05 * vectors[:4000]
    vectors[:4000] = near / np.linalg.norm(near, axis=1, keepdims=True)
    matrix, query = matrix_of(vectors), vectors[:1]
    codes = Approximate.open_or_build(tmp_path / "a.codes", matrix, least=1)
    mask = np.arange(20_000) >= 4000
    assert len(codes.candidates(query[0], 400, mask)) < 200
    np.testing.assert_array_equal(codes.search(query, 20, mask)[1], matrix.search(query, 20, mask)[1])


def test_more_than_the_candidates_and_nothing(tmp_path, few):
    matrix, queries = matrix_of(unit(2000)), unit(2, seed=1)
    codes = Approximate.open_or_build(tmp_path / "a.codes", matrix, least=1)
    np.testing.assert_array_equal(codes.search(queries, 3000)[1], matrix.search(queries, 3000)[1])
    assert codes.search(queries, 0)[1].shape == (2, 0)
    assert codes.search(queries, 5, np.zeros(2000, dtype=bool))[1].shape == (2, 0)


def test_rows_that_came_and_went_need_no_new_codes(tmp_path, few):
    vectors, path = unit(5_040), tmp_path / "a.codes"
    Approximate.open_or_build(path, matrix_of(vectors[:5000]), least=1)
    written = path.stat().st_mtime_ns
    ids = np.concatenate([np.arange(300, 5000), np.arange(6000, 6040)])
    later = matrix_of(np.concatenate([vectors[300:5000], vectors[5000:]]), ids, generation=2)
    codes = Approximate.open_or_build(path, later, least=1)
    assert path.stat().st_mtime_ns == written and codes.tail.tolist() == list(range(4700, 4740))
    assert codes.search(vectors[5000:], 1)[1].ravel().tolist() == list(range(4700, 4740))
    queries = unit(10, seed=1)
    assert recall(codes.search(queries, 20)[1], later.search(queries, 20)[1]) >= 0.98
    assert codes.search(vectors[:300], 1)[1].max() < 4740  # those that went are not found


@pytest.mark.parametrize("first, last", [(0, 5100), (600, 5000)])
def test_codes_are_made_anew_when_much_came_or_went(tmp_path, few, first, last):
    vectors, path = unit(5_100), tmp_path / "a.codes"
    Approximate.open_or_build(path, matrix_of(vectors[:5000]), least=1)
    later = matrix_of(vectors[first:last], np.arange(first, last), generation=2)
    assert Approximate.open(path, later).is_stale
    codes = Approximate.open_or_build(path, later, least=1)
    assert not codes.is_stale and not len(codes.tail) and codes.index.ntotal == last - first


@pytest.mark.parametrize("damage", ["cut", "byte", "foreign", "width", "content"])
def test_codes_that_cannot_be_used_are_made_anew(tmp_path, few, damage, caplog):
    path, matrix, queries = tmp_path / "a.codes", matrix_of(unit(3000)), unit(5, seed=1)
    expected = Approximate.open_or_build(path, matrix, least=1).search(queries, 5)[1]
    content = bytearray(path.read_bytes())
    if damage == "cut":
        os.truncate(path, 5000)
    elif damage == "foreign":
        path.write_bytes(b"IxPq" * 1000)
    elif damage == "width":
        build(path, matrix_of(unit(3000, 16)))
    elif damage == "byte":
        content[30_000] ^= 255
        path.write_bytes(content)
    else:
        with approximate.writing(path, approximate.CODES, 1) as file:
            file.write(np.zeros(3000, dtype=np.int64))
            file.write(np.zeros(1000, dtype=np.uint8))
            file.count, file.width = 3000, WIDTH
    with pytest.raises((ValueError, RuntimeError)):
        Approximate.open(path, matrix)
    with caplog.at_level(logging.WARNING):
        codes = Approximate.open_or_build(path, matrix, least=1)
    assert "made anew" in caplog.text
    np.testing.assert_array_equal(codes.search(queries, 5)[1], expected)


def test_too_few_rows_to_learn_from(tmp_path, faiss):
    with pytest.raises(ValueError, match="16 rows or more, not from 15"):
        build(tmp_path / "a.codes", matrix_of(unit(15)))
    assert list(tmp_path.iterdir()) == []


def test_where_codes_cannot_be_written_the_search_is_exact(tmp_path, few, caplog):
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert Approximate.open_or_build(tmp_path / "file" / "a.codes", matrix_of(unit(3000)), least=1) is None
    assert "cannot be made, searches are slower without" in caplog.text
