"""Search among 10^4, 10^5 and 10^6 vectors of 384: what engines find, and what they cost.

    python -m benchmarks.search                        # an hour or more on two cores, 5 GB of memory, 40 GB of disk
    python -m benchmarks.search --sizes 10000          # a few minutes
    python -m benchmarks.search --name crossover --engines Exact Codes --kinds random --sizes 25000 50000 75000 100000 150000

Two kinds of vectors. random: on the sphere, where the best 100 hardly differ from the next 1,000, the hard case. photos: photos
of the folder `shared` beside the repository (or $CAAN_SHARED), encoded by a frozen ViT, then points between two of them with a
little noise; queries are encoded sketches. The truth is the float32 product with the float16 vectors that galleries keep.

Each engine has a process of its own, and they take turns at all queries, so that a busy machine is busy for all. p50 and p95:
wall times of single queries over all turns; p50, quiet: of each query its fastest turn, when no other process is in the way;
CPU: all threads, the fastest turn. Memory is what opening and searching take beside mapped files, which are counted as disk.
folder: a search of one of ten folders. Engines are the classes of `search_engines.py`; its last three are whole galleries, with
a thumbnail a photo, as long as those of the shared photos are. Results of other sizes, kinds and engines stay in the table.
"""

import argparse
import json
import platform
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.search_data import SKETCHY, make_data, thumbnail_bytes, truth
from benchmarks.search_engines import ENGINES, TOP_K, Engine
from benchmarks.search_measure import Worker, build_cost, change, found, open_engine, speeds
from caan.evaluation.report import results_table

HERE = Path(__file__).parent
KINDS = ["random", "photos"]
KEYS = {"size": "vectors", "kind": "kind", "engine": "engine"}
SPEED = KEYS | {
    "p50_ms": "p50 (ms)",
    "p95_ms": "p95 (ms)",
    "quiet_ms": "p50, quiet (ms)",
    "cpu_ms": "CPU (ms)",
    "recall": "recall@100",
    "filter_p50_ms": "folder, p50 (ms)",
    "filter_ms": "folder, quiet (ms)",
    "filter_recall": "folder, recall@100",
    "memory_mb": "memory (MB)",
}
STEPS = {
    "build": "build",
    "open": "open, first search",
    "add": "add",
    "add_search": "next search",
    "remove": "remove",
    "remove_search": "next search, removed",
}
COST = KEYS | {name: f"{heading} (s / CPU s)" for name, heading in STEPS.items()}
DISK = KEYS | {
    "disk_mb": "disk (MB)",
    "thumbnails_mb": "thumbnails",
    "truth_mb": "rest of SQLite",
    "matrix_mb": "matrix",
    "codes_mb": "codes",
}


def chosen(options: argparse.Namespace, count: int) -> list[type[Engine]]:
    """The engines that are measured at a size; of others it prints why not."""
    engines = []
    for engine in ENGINES:
        if engine.__name__ not in options.engines:
            continue
        if missing := engine.missing():
            print(f"{engine.name} is left out: {missing} is not installed")
        elif engine.limited and count > options.milvus_limit:
            print(f"{engine.name} is left out at {count:,}: --milvus_limit {options.milvus_limit}")
        else:
            engines.append(engine)
    return engines


def recall(rows: list[np.ndarray], best: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / TOP_K for a, b in zip(rows, best)]))


def measure(kind: str, count: int, options: argparse.Namespace) -> list[dict]:
    """One row an engine."""
    data, queries = make_data(kind, count + options.changes, options.width, options.queries, options.work)
    vectors, new, file = data[:count], np.array(data[count:]), Path(data.filename)
    rows, workers, folders, engines = {}, {}, [], chosen(options, count)
    for engine in engines:
        folder = options.work / f"{file.stem}_{engine.__name__}"
        folder.mkdir()
        folders.append(folder)
        place = engine, file, count, folder, options.thumbnail
        builder, workers[engine.name] = Worker(), Worker()
        rows[engine.name] = {"size": count, "kind": kind, "engine": engine.name} | builder.call(build_cost, *place)
        builder.pool.shutdown()
        rows[engine.name] |= workers[engine.name].call(open_engine, *place, queries)
        print(f"{kind} {count:,}: {engine.name} built in {rows[engine.name]['build_s']:.1f} s", flush=True)
    best, inside = (truth(vectors, queries, TOP_K, filtered) for filtered in (False, True))
    for name, worker in workers.items():
        rows[name]["recall"] = recall(worker.call(found, queries, False), best)
        rows[name]["filter_recall"] = recall(worker.call(found, queries, True), inside)
    for name, result in speeds(workers, queries, options.turns).items():
        rows[name] |= result
    for engine in engines:
        if engine.grows:
            rows[engine.name] |= workers[engine.name].call(change, new, file, count, queries)
        workers[engine.name].close()
    for folder in folders:
        shutil.rmtree(folder)
    file.unlink()
    measured = [{key: round(float(v), 4) if isinstance(v, float) else v for key, v in row.items()} for row in rows.values()]
    print(*measured, sep="\n", flush=True)
    return measured


def as_shown(row: dict) -> dict[str, str]:
    """Cells of a row that are more than a number of one decimal."""
    cells = {key: f"{row[key]:.4f}" for key in ("recall", "filter_recall")}
    for name in STEPS:
        if f"{name}_s" in row:
            cells[name] = " / ".join(f"{row[key]:.2f}" for key in (f"{name}_s", f"{name}_cpu_s") if key in row)
    return cells


def write_results(rows: list[dict], options: argparse.Namespace) -> None:
    """results/NAME.json, and the tables between the marks of README.md; rows of an earlier run that were not measured stay."""
    file = options.results / f"{options.name}.json"
    old = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    names = [engine.name for engine in ENGINES]
    merged = {tuple(row[key] for key in KEYS): row for row in [*old, *rows] if row["engine"] in names}
    order = lambda row: (row["size"], KINDS.index(row["kind"]), names.index(row["engine"]))  # noqa: E731
    rows = sorted(merged.values(), key=order)
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "numpy": np.__version__}
    run = {name: getattr(options, name) for name in ("width", "queries", "turns", "changes", "thumbnail", "milvus_limit")}
    content = {"top_k": TOP_K, **run, **machine, "python": platform.python_version(), "rows": rows}
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    shown = [row | as_shown(row) for row in rows]
    whole = [columns for columns in (SPEED, COST, DISK) if all(any(key in row for row in shown) for key in columns)]
    tables = [results_table(shown, columns, 1) for columns in whole]
    marks = f"<!-- {options.name}: written by search.py -->\n", f"<!-- end of {options.name} -->\n"
    before, _, rest = options.readme.read_text(encoding="utf-8").partition(marks[0])
    text = before + marks[0] + "\n" + "\n\n".join(tables) + "\n\n" + marks[1] + rest.partition(marks[1])[2]
    options.readme.write_text(text, encoding="utf-8")


def read_options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [engine.__name__ for engine in ENGINES]
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--engines", nargs="+", default=names, choices=names)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--turns", type=int, default=5, help="of which p50 and p95 take all, quiet the best of a query")
    parser.add_argument("--changes", type=int, default=1000, help="rows that are added, and removed")
    parser.add_argument("--width", type=int, default=384, help="of random vectors")
    parser.add_argument("--thumbnail", type=int, help="bytes of each; default: the mean of the shared photos'")
    parser.add_argument("--milvus_limit", type=int, default=100_000, help="rows above which Milvus takes too long")
    parser.add_argument("--work", type=Path, help="where vectors and indexes are made; default: a temporary folder")
    parser.add_argument("--name", default="search", help="of the file of results, and of the marks in README.md")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--readme", type=Path, default=HERE / "README.md")
    options = parser.parse_args(argv)
    if "photos" in options.kinds and not SKETCHY.exists():
        print("photos are left out: there is no folder shared beside the repository")
        options.kinds = [kind for kind in options.kinds if kind != "photos"]
    options.thumbnail = options.thumbnail or thumbnail_bytes()
    return options


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the results."""
    options = read_options(argv)
    with tempfile.TemporaryDirectory() as temporary:
        options.work = options.work or Path(temporary)
        options.work.mkdir(parents=True, exist_ok=True)
        for count in options.sizes:
            for kind in options.kinds:
                write_results(measure(kind, count, options), options)
    print(f"written: {options.name}.json")


if __name__ == "__main__":
    main()
