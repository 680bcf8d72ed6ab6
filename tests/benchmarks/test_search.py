"""The benchmark of searches, small.  python -m pytest tests/benchmarks/test_search.py"""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import search, search_data
from benchmarks.search_engines import ENGINES, Brute, Exact, Gallery, MilvusFile, MilvusServer

COUNT, ADDED = 2000, 100
SMALL = [Brute, Exact, Gallery]  # each is two processes, which import torch


def vectors(count: int = COUNT + ADDED, width: int = 16) -> np.ndarray:
    return search_data.unit(np.random.default_rng(3).standard_normal((count, width))).astype(np.float16)


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.__name__)
def engine(request, tmp_path):
    """Each engine, built of the first 2,000 vectors and open."""
    kind = request.param
    if kind.missing():
        pytest.skip(f"{kind.missing()} is not installed")
    kind(10).build(vectors()[:COUNT], tmp_path)
    engine = kind(10)
    engine.open(vectors()[:COUNT], tmp_path)
    yield engine
    engine.close()


def best(query: np.ndarray, rows: np.ndarray) -> list[int]:
    """The best hundred of some rows, by a loop."""
    scores = {int(row): float(vectors()[row].astype(np.float32) @ query) for row in rows}
    return sorted(scores, key=lambda row: -scores[row])[:100]


def test_each_engine_finds_what_is_there(engine):
    query, rows = vectors()[7].astype(np.float32), np.arange(COUNT)
    assert engine.search(query).tolist() == best(query, rows)
    assert engine.search(query)[0] == 7
    assert engine.search(query, filtered=True).tolist() == best(query, rows[::10])


def test_added_rows_are_found_and_removed_ones_are_not(engine):
    if not engine.grows:
        pytest.skip("it is a part of the gallery, which has what comes and goes")
    added, gone = np.arange(COUNT, COUNT + ADDED), np.arange(0, COUNT, 20)
    engine.add(added, vectors()[added])
    engine.remove(gone)
    left = np.setdiff1d(np.arange(COUNT + ADDED), gone)
    for row in (COUNT, COUNT + 57, 0, 1):  # two that came, one that went, one that stays
        query = vectors()[row].astype(np.float32)
        assert engine.search(query).tolist() == best(query, left)
        assert (engine.search(query)[0] == row) == (row != 0)
        assert engine.search(query, filtered=True).tolist() == best(query, left[left % 10 == 0])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The command as it is typed: its results, and the page that it writes to."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "README.md").write_text(
        "before\n<!-- small: written by search.py -->\nan earlier table\n<!-- end of small -->\nafter\n"
    )
    old = {"size": 10, "kind": "random", "recall": 0.5, "filter_recall": 0.25}
    rows = [old | {"engine": Exact.name}, old | {"engine": "an engine that is no more"}]
    (folder / "small.json").write_text(json.dumps({"rows": rows}))
    command = [sys.executable, "-m", "benchmarks.search", "--name", "small", "--kinds", "random", "--work", folder / "work"]
    command += ["--engines", *(engine.__name__ for engine in SMALL), "--results", folder, "--readme", folder / "README.md"]
    numbers = {"sizes": COUNT, "width": 16, "queries": 4, "turns": 2, "changes": ADDED, "thumbnail": 1000}
    command += [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
    subprocess.run(command, check=True, timeout=300)
    return folder


def test_a_run_measures_each_engine(run):
    written = json.loads((run / "small.json").read_text())
    rows = {row["engine"]: row for row in written["rows"] if row["size"] == COUNT}
    assert list(rows) == [engine.name for engine in SMALL] and written["width"] == 16 and written["thumbnail"] == 1000
    for row in rows.values():
        assert row["recall"] == row["filter_recall"] == 1
        assert row["p95_ms"] >= row["p50_ms"] >= row["quiet_ms"] > 0 and row["filter_p50_ms"] >= row["filter_ms"] > 0
    for engine in (Brute, Gallery):
        row = rows[engine.name]
        assert (row["added_found"], row["removed_found"], row["outside_folder"]) == (1, 0, 0)
    assert "add_s" not in rows[Exact.name]


def test_the_disk_is_told_by_parts(run):
    row = next(row for row in json.loads((run / "small.json").read_text())["rows"] if row["engine"] == Gallery.name)
    assert row["thumbnails_mb"] == 2.0  # 2,000 of 1,000 bytes
    assert row["truth_mb"] > COUNT * 16 * 2 / 1e6
    parts = ("thumbnails_mb", "truth_mb", "matrix_mb", "codes_mb")
    assert sum(row[part] for part in parts) == pytest.approx(row["disk_mb"], abs=0.001)
    assert not list((run / "work").iterdir())  # what was measured is not left


def test_the_page_has_the_tables_and_what_was_measured_before(run):
    text = (run / "README.md").read_text()
    assert text.startswith("before\n<!-- small: written by search.py -->\n\n|")
    assert text.endswith("<!-- end of small -->\nafter\n")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    speeds, costs, disks = (lines[part : part + 6] for part in (0, 6, 12))
    assert [line[:3] for line in speeds[2:]] == [line[:3] for line in costs[2:]] == [line[:3] for line in disks[2:]]
    assert speeds[2][:3] == ["10", "random", Exact.name] and "0.5000" in speeds[2] and "–" in speeds[2]
    assert speeds[3][:3] == ["2,000", "random", Brute.name] and speeds[3].count("1.0000") == 2
    assert disks[5][:3] + disks[5][4:5] == ["2,000", "random", Gallery.name, "2.0"]
    assert "earlier" not in text and "no more" not in text


def test_what_is_left_out_is_said(capsys, monkeypatch):
    options = search.read_options(
        ["--thumbnail", "10", "--milvus_limit", "500", "--engines", "Brute", "MilvusFile", "MilvusServer"]
    )
    monkeypatch.setattr(MilvusFile, "missing", classmethod(lambda engine: ""))
    assert search.chosen(options, 500) == [Brute, MilvusFile, MilvusServer]
    assert search.chosen(options, 501) == [Brute]
    assert "gallery, Milvus Lite over TCP is left out at 501: --milvus_limit 500" in capsys.readouterr().out
    monkeypatch.setattr(MilvusFile, "missing", classmethod(lambda engine: "pymilvus"))
    assert search.chosen(options, 500) == [Brute]
    assert "gallery, Milvus Lite is left out: pymilvus is not installed" in capsys.readouterr().out


def test_photos_without_a_shared_folder_are_left_out(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(search, "SKETCHY", tmp_path / "none")
    assert search.read_options(["--thumbnail", "10"]).kinds == ["random"]
    assert "photos are left out" in capsys.readouterr().out


def test_photos_are_mixed_of_encoded_ones(tmp_path):
    """Each vector is near the plane of two photos; queries are the sketches."""
    rng = np.random.default_rng(0)
    photos, sketches = rng.standard_normal((3, 384)), rng.standard_normal((5, 384))
    np.savez(tmp_path / "encodings.npz", photos=photos, sketches=sketches)
    made, queries = search_data.make_data("photos", 50, 384, 4, tmp_path)
    assert made.shape == (50, 384) and made.dtype == np.float16
    np.testing.assert_allclose(queries, search_data.unit(sketches)[:4], rtol=1e-6)
    base = np.linalg.qr(photos.T)[0]
    inside = np.linalg.norm(made.astype(np.float64) @ base, axis=1)
    assert inside.min() > 0.97 and np.linalg.norm(made.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)


def test_the_truth_is_that_of_a_loop():
    query, rows = vectors()[5:6].astype(np.float32), np.arange(COUNT)
    assert sorted(search_data.truth(vectors()[:COUNT], query, 100)[0]) == sorted(best(query[0], rows))
    assert sorted(search_data.truth(vectors()[:COUNT], query, 100, True)[0]) == sorted(best(query[0], rows[::10]))
