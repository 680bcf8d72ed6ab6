"""The rows of an embedded gallery, in a file and in memory. python -m pytest tests/search/test_live.py"""

import numpy as np
import pytest

from caan.search import live
from caan.search.approximate import Approximate, has_faiss
from caan.search.live import FILE, LiveRows


class Rows:
    """What SQLite is for an embedded gallery: numbers and vectors that come and go."""

    def __init__(self, folder):
        self.vectors: dict[int, np.ndarray] = {}
        self.generation = 0
        self.live = LiveRows(folder, self.rows, lambda: np.array(sorted(self.vectors), dtype=np.int64), lambda: self.generation)

    def rows(self, ids):
        chosen = sorted(self.vectors) if ids is None else ids.tolist()
        if chosen:
            yield np.array(chosen, dtype=np.int64), np.stack([self.vectors[number] for number in chosen])

    def add(self, numbers, seed: int = 0):
        generator = np.random.default_rng([seed, len(self.vectors)])
        for number in numbers:
            vector = generator.normal(size=16)
            self.vectors[int(number)] = (vector / np.linalg.norm(vector)).astype(np.float16)
        self.generation += 1

    def remove(self, numbers):
        for number in numbers:
            del self.vectors[int(number)]
        self.generation += 1

    def check(self, allowed=None):
        """The search agrees with a slow one in float64."""
        query = np.random.default_rng(9).normal(size=16).astype(np.float32)
        query /= np.linalg.norm(query)
        scores, ids = self.live.search(query, 20, allowed)
        kept = sorted(self.vectors) if allowed is None else [number for number in allowed.tolist() if number in self.vectors]
        expected = sorted((-float(self.vectors[n].astype(np.float64) @ query), n) for n in kept)[:20]
        assert ids == [number for _, number in expected]
        assert scores == pytest.approx([-score for score, _ in expected], abs=1e-6)


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "FRESH", 100)
    return Rows(tmp_path)


def test_few_rows_need_no_file(rows, tmp_path):
    rows.check()
    rows.add(range(1, 60))
    rows.check()
    rows.remove(range(1, 20))
    rows.add(range(100, 120))
    rows.check()
    rows.check(np.array([5, 30, 31, 110]))
    assert not (tmp_path / FILE).exists()


def test_many_rows_go_into_a_file_and_changes_are_searched_beside_it(rows, tmp_path):
    rows.add(range(1, 500))
    rows.check()
    before = (tmp_path / FILE).read_bytes()
    rows.add(range(1000, 1050))
    rows.remove(range(1, 20))
    rows.check()
    rows.check(np.array(sorted([3, 100, 101, 1001, 1049])))
    assert (tmp_path / FILE).read_bytes() == before
    rows.remove(range(200, 300))
    rows.check()
    assert (tmp_path / FILE).read_bytes() != before


def test_a_number_below_the_last_of_the_file_is_found(rows):
    rows.add(range(100, 400))
    rows.check()
    rows.add(range(1, 30))
    rows.check()


def test_another_process_takes_the_file_as_it_is(rows, tmp_path, monkeypatch):
    rows.add(range(1, 500))
    rows.check()
    again = Rows(tmp_path)
    again.vectors, again.generation = dict(rows.vectors), 7
    again.remove([5, 6])
    monkeypatch.setattr(live, "write_matrix", None)
    again.check()


@pytest.mark.parametrize("damage", [b"", b"no matrix at all", None])
def test_a_damaged_file_is_made_anew(rows, tmp_path, damage):
    rows.add(range(1, 500))
    rows.check()
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:-10] if damage is None else damage)
    again = Rows(tmp_path)
    again.vectors, again.generation = dict(rows.vectors), 1
    again.check()
    assert again.live.verify() == []


def test_a_folder_that_cannot_be_written_is_searched_in_memory(rows, monkeypatch):
    def fail(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live, "write_matrix", fail)
    rows.add(range(1, 500))
    rows.check()


def test_vectors_that_are_not_the_gallerys_are_told(rows, tmp_path):
    rows.add(range(1, 500))
    rows.check()
    assert rows.live.verify() == []
    rows.vectors[7] = -rows.vectors[7]
    assert rows.live.verify() == [f"1 vectors of {FILE} are not the gallery's: delete that file, it is made anew"]
    data = bytearray((tmp_path / FILE).read_bytes())
    data[200] ^= 1
    (tmp_path / FILE).write_bytes(data)
    assert rows.live.verify() == [f"the vectors of {FILE} have changed: delete that file, it is made anew"]


@pytest.mark.skipif(not has_faiss(), reason="faiss is not installed")
def test_codes_are_made_for_many_rows_and_give_exact_scores(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "LEAST", 400)
    monkeypatch.setattr(Approximate.open_or_build.__func__, "__defaults__", (400,))
    rows.add(range(1, 500))
    rows.live.prepare()
    assert rows.live.codes is not None and (tmp_path / live.CODES).exists()
    rows.check()  # so few rows are all candidates
    rows.add(range(1000, 1010))
    rows.remove(range(1, 10))
    rows.check()
    again = Rows(tmp_path)
    again.vectors, again.generation = dict(rows.vectors), 9
    again.check()
    assert again.live.codes is not None
