"""Search among 10^4, 10^5 and 10^6 vectors of 384: what engines find, and what they cost.

    python -m benchmarks.search                        # half an hour on two idle cores, 5 GB of memory, 6 GB of disk
    python -m benchmarks.search --sizes 10000 100000   # five minutes
    OMP_NUM_THREADS=1 python -m benchmarks.search      # on a busy machine: two threads would wait for each other; read CPU

Two kinds of vectors. random: on the sphere, where the best 100 hardly differ from the next 1,000, the hard case. photos: photos
of the folder `shared` beside the repository (or $CAAN_SHARED), encoded by a frozen ViT, then points between two of them with a
little noise; queries are encoded sketches. The truth is the float32 product with the float16 vectors that galleries keep.

Engines take turns at each query in one process, so that a busy machine is busy for all. p50 and p95 are wall times of single
queries over all turns; p50, quiet: of each query its fastest turn, when no other process is in the way; CPU: all threads, the
fastest turn. Memory is what a fresh process takes for opening and searching beside mapped files, which are counted as disk.
Another engine is one class in `search_engines.py`.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from benchmarks.search_engines import ENGINES, PART, TOP_K, Engine
from caan.evaluation.report import results_table

SHARED = Path(os.environ.get("CAAN_SHARED", Path(__file__).parents[2] / "shared"))
RESULT = Path(__file__).parent / "results" / "search.json"
README = Path(__file__).parent / "README.md"
MARKS = "<!-- search: written by search.py -->\n", "<!-- end of search -->\n"
WIDTH = 384
IMAGE_SIZE = 112  # pixels: a quarter of the time that 224 takes, and vectors are alike enough to photos' for a search
NOISE = 0.005  # a dimension: a tenth of a vector's length
FILTER = 0.1  # of the rows are in the folder that a search is restricted to
COLUMNS = {
    "size": "vectors",
    "kind": "kind",
    "engine": "engine",
    "build_s": "build (s)",
    "disk_mb": "disk (MB)",
    "memory_mb": "memory (MB)",
    "p50_ms": "p50 (ms)",
    "p95_ms": "p95 (ms)",
    "quiet_ms": "p50, quiet (ms)",
    "cpu_ms": "CPU (ms)",
    "filter_ms": "filter, quiet (ms)",
    "recall": "recall@100",
}


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def encodings(work: Path, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the shared photos and of some sketches; kept in `work`, since they take minutes."""
    kept = work / "encodings.npz"
    if not kept.exists():
        from caan.evaluation.retrievers import load_retriever  # here, since every fresh process imports this file
        from pipeline_caan import embed_images

        retriever = load_retriever(str(SHARED / "models" / "vit-small-patch14"), IMAGE_SIZE)
        folder = SHARED / "data" / "Sketchy" / "256x256"
        sketches = sorted((folder / "sketch").rglob("*.png"))
        model, processor = retriever.model, retriever.processor
        chosen = [str(path) for path in sketches[:: max(1, len(sketches) // queries)][:queries]]
        photos = embed_images(model, processor, str(folder / "photo"), "photo")
        np.savez(kept, photos=photos.numpy(), sketches=embed_images(model, processor, chosen, "sketch").numpy())
    arrays = np.load(kept)
    return unit(arrays["photos"]), unit(arrays["sketches"])


def make_data(kind: str, count: int, queries: int, work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (count, 384) float16, mapped from a file, and queries (queries, 384) float32."""
    rng = np.random.default_rng(0)
    vectors = np.lib.format.open_memmap(work / f"{kind}_{count}.npy", "w+", np.float16, (count, WIDTH))
    photos, asked = encodings(work, queries) if kind == "photos" else (None, rng.standard_normal((queries, WIDTH)))
    for start in range(0, count, PART):
        part = vectors[start : start + PART]
        drawn = rng.standard_normal(part.shape, dtype=np.float32)
        if photos is not None:
            one, other = rng.integers(len(photos), size=(2, len(part)))
            share = rng.random((len(part), 1), dtype=np.float32)
            drawn = share * photos[one] + (1 - share) * photos[other] + NOISE * drawn
        part[:] = unit(drawn)
    return vectors, unit(asked).astype(np.float32)


def truth(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The best `TOP_K` rows of each query, in no order."""
    scores = [queries @ vectors[start : start + PART].astype(np.float32).T for start in range(0, len(vectors), PART)]
    return np.argpartition(-np.concatenate(scores, axis=1), TOP_K, axis=1)[:, :TOP_K]


def in_fresh_process(function, *arguments):
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(function, *arguments).result()


def build_cost(engine: type[Engine], file: Path, folder: Path) -> dict:
    """Seconds of a build, and bytes that it left."""
    vectors = np.load(file, mmap_mode="r")
    start, cpu = time.perf_counter(), time.process_time()
    engine().build(vectors, folder)
    seconds = {"build_s": time.perf_counter() - start, "build_cpu_s": time.process_time() - cpu}
    return seconds | {"disk_mb": sum(path.stat().st_size for path in folder.iterdir()) / 1e6}


def search_memory(engine: type[Engine], file: Path, folder: Path, queries: np.ndarray) -> float:
    """MB that opening and searching take, beside mapped files."""

    def own_memory() -> float:
        status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
        return int(status["RssAnon"].split()[0]) / 1e3

    torch.mv(torch.randn(4096, WIDTH), torch.randn(WIDTH))  # threads and their buffers are not counted
    before, searcher = own_memory(), engine()
    searcher.open(np.load(file, mmap_mode="r"), folder)
    for query in queries[:5]:
        searcher.search(query)
    return own_memory() - before


def speeds(engines: dict[str, Engine], queries: np.ndarray, mask: np.ndarray, turns: int) -> dict[str, dict]:
    """Milliseconds of each engine, and what it found."""
    wall, cpu, filtered = ({name: np.full((turns, len(queries)), np.inf) for name in engines} for _ in range(3))
    found = {name: [engine.search(query) for query in queries] for name, engine in engines.items()}
    for turn in range(turns):
        for number, query in enumerate(queries):
            for name, engine in engines.items():
                start, start_cpu = time.perf_counter(), time.process_time()
                engine.search(query)
                wall[name][turn, number] = 1e3 * (time.perf_counter() - start)
                cpu[name][turn, number] = 1e3 * (time.process_time() - start_cpu)
                start = time.perf_counter()
                engine.search(query, mask)
                filtered[name][turn, number] = 1e3 * (time.perf_counter() - start)
    return {
        name: {
            "found": found[name],
            "p50_ms": np.median(wall[name]),
            "p95_ms": np.quantile(wall[name], 0.95),
            "quiet_ms": np.median(wall[name].min(axis=0)),
            "cpu_ms": np.median(cpu[name].min(axis=0)),
            "filter_ms": np.median(filtered[name].min(axis=0)),
        }
        for name in engines
    }


def measure(kind: str, count: int, options: argparse.Namespace) -> list[dict]:
    """One row an engine."""
    vectors, queries = make_data(kind, count, options.queries, options.work)
    best, mask = truth(vectors, queries), np.random.default_rng(1).random(count) < FILTER
    rows, engines, file = [], {}, Path(vectors.filename)
    for engine in ENGINES:
        folder = options.work / f"{file.stem}_{engine.__name__}"
        folder.mkdir(exist_ok=True)
        row = {"size": count, "kind": kind, "engine": engine.name} | in_fresh_process(build_cost, engine, file, folder)
        rows.append(row | {"memory_mb": in_fresh_process(search_memory, engine, file, folder, queries)})
        engines[engine.name] = engine()
        engines[engine.name].open(vectors, folder)
    results = speeds(engines, queries, mask, options.turns)
    for row in rows:
        result = results[row["engine"]]
        row["recall"] = np.mean([len(np.intersect1d(a, b)) / TOP_K for a, b in zip(result.pop("found"), best)])
        row |= result
        print(
            ", ".join(f"{key} {value:,.3f}" if isinstance(value, float) else f"{value}" for key, value in row.items()),
            flush=True,
        )
    return [{key: round(float(value), 4) if isinstance(value, float) else value for key, value in row.items()} for row in rows]


def write_results(rows: list[dict], options: argparse.Namespace) -> None:
    """results/search.json, and the table between the marks of README.md."""
    machine = {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    content = {"width": WIDTH, "top_k": TOP_K, "queries": options.queries, "turns": options.turns, **machine, "rows": rows}
    RESULT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    table = results_table([row | {"recall": f"{row['recall']:.4f}"} for row in rows], COLUMNS, 1)
    before, _, rest = README.read_text(encoding="utf-8").partition(MARKS[0])
    README.write_text(before + MARKS[0] + f"\n{table}\n\n" + MARKS[1] + rest.partition(MARKS[1])[2], encoding="utf-8")


def main() -> None:
    """Measures, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["random", "photos"], choices=["random", "photos"])
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--turns", type=int, default=5, help="of which p50 and p95 take all, quiet the best of a query")
    parser.add_argument("--work", type=Path, help="where vectors and indexes are made, and left; default: a temporary folder")
    options = parser.parse_args()
    if "photos" in options.kinds and not (SHARED / "data" / "Sketchy").exists():
        print("photos are left out: there is no folder shared beside the repository")
        options.kinds.remove("photos")
    with tempfile.TemporaryDirectory() as temporary:
        options.work = options.work or Path(temporary)
        options.work.mkdir(parents=True, exist_ok=True)
        rows = [row for count in options.sizes for kind in options.kinds for row in measure(kind, count, options)]
    write_results(rows, options)
    print(f"written: {RESULT.name}")


if __name__ == "__main__":
    main()
