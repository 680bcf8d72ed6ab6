"""The exact search, against a slow one in float64; and the file of a matrix.

python -m pytest tests/search/test_matrix.py
"""

import os

import numpy as np
import pytest
import torch

from caan.search import scanning
from caan.search.derived import MATRIX, START, read_header, writing
from caan.search.matrix import Matrix, write_matrix


@pytest.fixture(params=["float16", "float32", "few"])
def precision(request, monkeypatch):
    """All ways to look first, whatever this machine is faster with."""
    monkeypatch.setattr(scanning, "FEW", 8192 if request.param == "few" else 0)
    monkeypatch.setattr(scanning, "half_is_fast", lambda width: request.param == "float16")
    return request.param


@pytest.fixture(params=[1, 7, 8192])
def chunk(request, monkeypatch):
    monkeypatch.setattr(scanning, "ROWS", request.param)


def unit(count, width, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def matrix_of(vectors):
    return Matrix(vectors.astype(np.float16), np.arange(len(vectors)))


def reference(matrix, query, top_k, allowed=None):
    """Scores and rows by float64 sums, equal ones by row."""
    scores = [float(sum(a * b for a, b in zip(row, query.astype(np.float64)))) for row in matrix.vectors.astype(np.float64)]
    rows = range(len(scores)) if allowed is None else sorted(allowed)
    best = sorted(rows, key=lambda row: (-scores[row], row))[:top_k]
    return [scores[row] for row in best], best


@pytest.mark.parametrize("count, width, top_k", [(300, 16, 10), (1, 5, 1), (50, 1, 50), (2000, 3, 7), (129, 33, 129)])
def test_it_finds_what_the_slow_reference_finds(precision, chunk, count, width, top_k):
    matrix, queries = matrix_of(unit(count, width)), unit(5, width, seed=1)
    for batch in (queries, queries[:1]):
        scores, rows = matrix.search(batch, top_k)
        assert scores.dtype == np.float32 and rows.dtype == np.int64 and rows.shape == (len(batch), top_k)
        for query, found, found_rows in zip(batch, scores, rows):
            expected, expected_rows = reference(matrix, query, top_k)
            np.testing.assert_allclose(found, expected, atol=1e-6)
            if width > 3:  # else float32 has equals where float64 has none
                assert found_rows.tolist() == expected_rows


def test_equal_rows_come_in_the_order_of_rows_with_equal_scores(precision, chunk):
    vectors = unit(6, 24)[np.random.default_rng(2).integers(6, size=3000)]
    matrix, query = matrix_of(vectors), unit(1, 24, seed=3)
    for top_k in (1, 40, 700, 3000):
        scores, rows = matrix.search(query, top_k)
        expected = reference(matrix, query[0], top_k)[1]
        assert rows[0].tolist() == expected
        assert len(np.unique(scores)) == len({tuple(vectors[row]) for row in expected})


def test_what_float16_cannot_tell_apart_is_told_apart(precision):
    """Scores that differ by less than a float16 of their size: 2,000 rows around 0.9, a thousandth of 2^-11 apart."""
    scores = (0.9 + np.random.default_rng(0).permutation(2000) * 5e-7).astype(np.float64)
    second = np.float16(0.4)
    vectors = np.zeros((2000, 3), dtype=np.float16)
    vectors[:, 0], vectors[:, 1] = np.float16(0.9), second
    query = np.array([[1.0, 0.0, 0.0]], dtype=np.float32)
    vectors[:, 2] = (scores - 0.9).astype(np.float16)  # small numbers, which float16 has finely
    query[0, 2] = 1.0
    matrix = matrix_of(vectors)
    found, rows = matrix.search(query, 20)
    assert rows[0].tolist() == reference(matrix, query[0], 20)[1]


def test_more_than_there_are(precision):
    matrix, query = matrix_of(unit(10, 4)), unit(2, 4, seed=1)
    scores, rows = matrix.search(query, 50)
    assert scores.shape == rows.shape == (2, 10)
    assert sorted(rows[1].tolist()) == list(range(10))
    assert matrix.search(query, 0)[1].shape == (2, 0)
    assert matrix.search(query[:0], 3)[1].shape == (0, 3)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.9, 1.0])
def test_a_mask_leaves_only_its_rows(precision, chunk, share):
    matrix, queries = matrix_of(unit(2000, 12)), unit(2, 12, seed=1)
    mask = np.random.default_rng(4).random(2000) < share
    allowed = np.flatnonzero(mask)
    for form in (mask, allowed, allowed[::-1], np.concatenate([allowed, allowed])):
        scores, rows = matrix.search(queries, 30, form)
        for query, found, found_rows in zip(queries, scores, rows):
            expected, expected_rows = reference(matrix, query, 30, allowed)
            assert found_rows.tolist() == expected_rows
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_mask_of_nothing_and_of_less_than_asked(precision):
    matrix, queries = matrix_of(unit(100, 12)), unit(3, 12, seed=1)
    for nothing in (np.zeros(100, dtype=bool), np.empty(0, dtype=np.int64), []):
        scores, rows = matrix.search(queries, 5, nothing)
        assert scores.shape == rows.shape == (3, 0)
    assert matrix.search(queries, 5, [7, 3])[1].shape == (3, 2)


def test_the_length_of_a_query_scales_the_scores(precision):
    matrix, query = matrix_of(unit(3000, 12)), unit(1, 12, seed=1)
    scores, rows = matrix.search(query, 9)
    for length in (1e-6, 1e6):
        scaled, same = matrix.search(query * np.float32(length), 9)
        assert same.tolist() == rows.tolist()
        np.testing.assert_allclose(scaled, scores * length, rtol=1e-5)
    assert matrix.search(query * 0, 3)[1].tolist() == [[0, 1, 2]]


def test_many_queries_in_turns(monkeypatch):
    matrix, queries = matrix_of(unit(500, 8)), unit(21, 8, seed=1)
    whole = matrix.search(queries, 5)
    monkeypatch.setattr("caan.search.matrix.SCORES", 1200)
    np.testing.assert_array_equal(matrix.search(queries, 5)[1], whole[1])
    assert [matrix.search(query[None], 5)[1][0].tolist() for query in queries] == whole[1].tolist()


def test_what_cannot_be_searched_is_refused():
    matrix = matrix_of(unit(10, 4))
    with pytest.raises(ValueError, match=r"shape \(number, 4\), got \(1, 5\)"):
        matrix.search(unit(1, 5), 3)
    with pytest.raises(ValueError, match="no numbers"):
        matrix.search(np.full((1, 4), np.nan), 3)
    with pytest.raises(ValueError, match="negative"):
        matrix.search(unit(1, 4), -1)
    with pytest.raises(ValueError, match=r"shape \(9,\), not \(10,\)"):
        matrix.search(unit(1, 4), 3, np.ones(9, dtype=bool))
    with pytest.raises(ValueError, match="not among 0 to 9"):
        matrix.search(unit(1, 4), 3, [10])


@pytest.mark.parametrize("half, single, fast", [(1, 2, True), (2, 1, False)])
def test_the_faster_precision_is_taken_by_the_fastest_of_its_tries(monkeypatch, half, single, fast):
    """Most tries are disturbed: ten times as long."""
    disturbed = [10.0] * (scanning.TRIES - 1)
    seconds = iter([*disturbed, half, *disturbed, single])
    monkeypatch.setattr(scanning, "seconds_of", lambda scan: next(seconds))
    assert scanning.half_is_fast.__wrapped__(16) is fast
    assert next(seconds, None) is None


def test_a_precision_that_is_wrong_is_not_taken(monkeypatch):
    monkeypatch.setattr(scanning, "half_scores", lambda chunk, queries: torch.zeros(len(queries), len(chunk)))
    assert scanning.half_is_fast.__wrapped__(16) is False


def chunks(vectors, ids, step):
    return [(ids[start : start + step], vectors[start : start + step]) for start in range(0, len(ids), step)]


@pytest.mark.parametrize("count, width, step", [(100, 6, 7), (100, 5, 100), (3, 1, 1), (1, 1, 5)])
def test_a_matrix_is_read_as_it_was_written(tmp_path, count, width, step):
    path, vectors, ids = tmp_path / "a.matrix", unit(count, width), np.arange(count) * 3 + 5
    write_matrix(path, chunks(vectors, ids, step), generation=4)
    matrix = Matrix.open(path, generation=4)
    assert matrix.vectors.dtype == np.float16 and matrix.generation == 4 and len(matrix) == count
    np.testing.assert_array_equal(matrix.vectors, vectors.astype(np.float16))
    np.testing.assert_array_equal(matrix.ids, ids)
    assert path.stat().st_size == START + count * width * 2 + count * 8
    assert Matrix.verify(path) == []
    assert matrix.search(vectors[:1], 1)[1].tolist() == [[0]]


def test_an_empty_matrix(tmp_path):
    write_matrix(tmp_path / "a.matrix", [], generation=1)
    matrix = Matrix.open(tmp_path / "a.matrix")
    assert matrix.vectors.shape == (0, 0)
    assert matrix.search(np.empty((2, 0)), 5)[1].shape == (2, 0)


def test_files_that_are_not_this_matrix_are_refused(tmp_path):
    path, vectors = tmp_path / "a.matrix", unit(20, 4)
    write_matrix(path, [(np.arange(20), vectors)], generation=1)
    with pytest.raises(ValueError, match="of generation 1, not 2"):
        Matrix.open(path, generation=2)
    with open(path, "r+b") as file:
        file.seek(START)
        file.write(b"\xff")
    assert Matrix.verify(path) == ["the vectors of a.matrix have changed"]
    os.truncate(path, 100)
    with pytest.raises(ValueError, match="has 100 of 384 bytes"):
        Matrix.open(path)
    assert Matrix.verify(path) == ["a.matrix has 100 of 384 bytes"]


def test_a_header_that_does_not_fit_its_content_is_refused(tmp_path):
    with writing(tmp_path / "a.matrix", MATRIX, 1) as file:
        file.write(np.zeros(10, dtype=np.int64))
        file.count, file.width = 10, 4
    with pytest.raises(ValueError, match="80 bytes for 10 vectors of 4"):
        Matrix.open(tmp_path / "a.matrix")


def test_what_cannot_be_a_matrix_is_not_written(tmp_path):
    path, vectors = tmp_path / "a.matrix", unit(4, 4)
    write_matrix(path, [(np.arange(4), vectors)], generation=1)
    for parts in (
        [([0, 1, 1, 2], vectors)],
        [([0, 1, 2, 3], vectors), ([3, 4, 5, 6], vectors)],
        [([0, 1, 2], vectors)],
        [([0, 1, 2, 3], vectors), ([4, 5], unit(2, 3))],
    ):
        with pytest.raises(ValueError, match="ascend|ids with vectors"):
            write_matrix(path, parts, generation=2)
    assert read_header(path, MATRIX).generation == 1


def test_an_open_matrix_outlives_its_file(tmp_path):
    path, vectors = tmp_path / "a.matrix", unit(50, 8)
    write_matrix(path, [(np.arange(50), vectors)], generation=1)
    matrix = Matrix.open(path)
    write_matrix(path, [(np.arange(2), vectors[:2])], generation=2)
    np.testing.assert_array_equal(matrix.vectors, vectors.astype(np.float16))
    assert len(Matrix.open(path)) == 2
