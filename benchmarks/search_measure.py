"""How `benchmarks/search.py` measures an engine: in a process of its own, so that no engine's threads are in another's way.

worker = Worker()
worker.call(open_engine, Exact, file, count, folder, 0, queries)
worker.call(turn, queries, False)
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.search_data import in_folder
from benchmarks.search_engines import Engine

WARM = 5  # searches before memory is read
OPENED: list[Engine] = []  # of this process


class Worker:
    """A fresh process, in which functions are called."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))

    def call(self, function: Callable, *arguments: Any) -> Any:
        return self.pool.submit(function, *arguments).result()

    def close(self) -> None:
        self.call(close_engine)
        self.pool.shutdown()


def seconds(name: str, call: Callable[[], object]) -> dict[str, float]:
    """How long a call takes: wall, and CPU of all threads of this process."""
    start, cpu = time.perf_counter(), time.process_time()
    call()
    return {f"{name}_s": time.perf_counter() - start, f"{name}_cpu_s": time.process_time() - cpu}


def build_cost(engine: type[Engine], file: Path, count: int, folder: Path, thumbnail: int) -> dict[str, float]:
    """Seconds of a build, and MB that it left, of the gallery's files each."""
    row = seconds("build", lambda: engine(thumbnail).build(np.load(file, mmap_mode="r")[:count], folder))
    sizes = {path.name: path.stat().st_size / 1e6 for path in folder.rglob("*") if path.is_file()}
    row["disk_mb"] = sum(sizes.values())
    if "gallery.sqlite" in sizes:
        row["thumbnails_mb"] = count * thumbnail / 1e6
        row["truth_mb"] = sizes["gallery.sqlite"] - row["thumbnails_mb"]
        row |= {"matrix_mb": sizes.get("vectors.matrix", 0.0), "codes_mb": sizes.get("vectors.codes", 0.0)}
    return row


def own_memory(processes: list[int]) -> float:
    """MB of processes, without mapped files: those are counted as disk."""
    status = [(Path("/proc") / str(number) / "status").read_text().splitlines() for number in processes]
    return sum(int(line.split()[1]) for lines in status for line in lines if line.startswith("RssAnon")) / 1e3


def open_engine(engine: type[Engine], file: Path, count: int, folder: Path, thumbnail: int, queries: np.ndarray) -> dict:
    """Seconds until a built engine has answered once, and MB that opening and searching take."""
    torch.mv(torch.randn(4096, queries.shape[1]), torch.randn(queries.shape[1]))  # threads and their buffers are not counted
    before = own_memory([os.getpid()])
    OPENED.append(engine(thumbnail))

    def first() -> None:
        OPENED[0].open(np.load(file, mmap_mode="r")[:count], folder)
        OPENED[0].search(queries[0])

    row = seconds("open", first)
    found(queries[:WARM], False)
    return row | {"memory_mb": own_memory(OPENED[0].processes()) - before}


def close_engine() -> None:
    OPENED.pop().close()


def found(queries: np.ndarray, filtered: bool) -> list[np.ndarray]:
    """Rows of each query."""
    return [OPENED[0].search(query, filtered) for query in queries]


def turn(queries: np.ndarray, filtered: bool) -> tuple[list[float], list[float]]:
    """Milliseconds of each query, wall and CPU of all threads of this process."""
    wall, cpu = [], []
    for query in queries:
        start, start_cpu = time.perf_counter(), time.process_time()
        OPENED[0].search(query, filtered)
        wall.append(1e3 * (time.perf_counter() - start))
        cpu.append(1e3 * (time.process_time() - start_cpu))
    return wall, cpu


def speeds(workers: dict[str, Worker], queries: np.ndarray, turns: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each engine. They take turns, so that a busy machine is busy for all."""
    times: dict[str, list[np.ndarray]] = {name: [] for name in workers}
    for _ in range(turns):
        for name, worker in workers.items():
            times[name].append(np.array([*worker.call(turn, queries, False), *worker.call(turn, queries, True)]))
    result = {}
    for name, measured in times.items():
        wall, cpu, filtered, _ = np.stack(measured, axis=1)  # each (turns, queries)
        result[name] = {
            "p50_ms": np.median(wall),
            "p95_ms": np.quantile(wall, 0.95),
            "quiet_ms": np.median(wall.min(axis=0)),
            "cpu_ms": np.median(cpu.min(axis=0)),
            "filter_p50_ms": np.median(filtered),
            "filter_ms": np.median(filtered.min(axis=0)),
        }
    return result


def change(new: np.ndarray, file: Path, count: int, queries: np.ndarray) -> dict[str, float]:
    """Seconds of adding some rows and of removing as many old ones, and of the first search after each, which takes in what has
    changed; then whether they are found."""
    engine, rows, row = OPENED[0], np.arange(count, count + len(new)), dict[str, float]()
    gone = np.linspace(0, count - 1, len(new)).astype(int)
    for name, call in (("add", lambda: engine.add(rows, new)), ("remove", lambda: engine.remove(gone))):
        row |= seconds(name, call) | seconds(f"{name}_search", lambda: engine.search(queries[0]))
    asked = slice(None, None, max(1, len(new) // WARM))
    vectors = np.load(file, mmap_mode="r")
    firsts = [engine.search(vector.astype(np.float32))[0] for vector in new[asked]]
    others = [engine.search(vectors[number].astype(np.float32)) for number in gone[asked]]
    inside = [engine.search(vector.astype(np.float32), filtered=True) for vector in new[asked]]
    row["added_found"] = float(np.mean(np.array(firsts) == rows[asked]))
    row["removed_found"] = float(np.isin(np.concatenate(others), gone).sum())
    row["outside_folder"] = float((~in_folder(np.concatenate(inside))).sum())
    row["after_ms"] = float(np.median(turn(queries, False)[0]))
    return row
