"""Time and memory of the retrieval metrics at the sizes of TU-Berlin and QuickDraw, on random features.

    python benchmarks/metrics.py                    # about 4 minutes of an idle core
    python benchmarks/metrics.py --device cuda

Times are multiples of what no exact metric can do without, measured in turns in the same run: the float32 matrix product and
one sort of each row, in the same chunks. On the CPU they are CPU seconds of one thread, so that a busy machine does not bend
the ratio; on a GPU wall time. Memory is the peak of a fresh process (on a GPU: of torch's allocator) above its data; Linux.
QuickDraw is timed on a slice of its queries: time grows with their number, and the gallery is whole. scikit-learn and
torchmetrics compute average precision alone, a query at a time, on fewer queries; they are left out if not installed.
"""

import argparse
import importlib.util
import json
import multiprocessing
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from caan.evaluation.metrics import CHUNK_SCORES, retrieval_metrics
from caan.evaluation.report import results_table

# name: queries measured, queries in all, gallery size, classes
SIZES = {"TU-Berlin": (2_400, 2_400, 27_989, 30), "QuickDraw": (2_000, 92_291, 54_151, 30)}
DIM = 384
FEW = 50  # queries for the libraries that take one at a time
SOME = 300  # queries for the peak of memory: several chunks

Data = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def make_data(size: str, device: str) -> Data:
    """Random features (count, 384) and labels of queries and gallery."""
    queries, _, gallery, classes = SIZES[size]
    rng = torch.Generator().manual_seed(0)
    features = [torch.randn(count, DIM, generator=rng).to(device) for count in (queries, gallery)]
    labels = [torch.randint(classes, (count,), generator=rng) for count in (queries, gallery)]
    return *features, *labels


def ours(data: Data) -> None:
    retrieval_metrics(*data)


def product_and_sort(data: Data) -> None:
    queries, gallery, *_ = data
    for chunk in queries.split(CHUNK_SCORES // len(gallery)):
        (chunk @ gallery.T).sort(dim=1, descending=True)


def scikit_learn(data: Data) -> None:
    from sklearn.metrics import average_precision_score

    queries, gallery, query_labels, gallery_labels = data
    scores = (queries[:FEW] @ gallery.T).cpu().numpy()
    for row, label in zip(scores, query_labels[:FEW]):
        average_precision_score((gallery_labels == label).numpy(), row)


def torchmetrics(data: Data) -> None:
    from torchmetrics.functional.retrieval import retrieval_average_precision

    queries, gallery, query_labels, gallery_labels = data
    gallery_labels = gallery_labels.to(gallery.device)
    for row, label in zip(queries[:FEW] @ gallery.T, query_labels[:FEW].to(gallery.device)):
        retrieval_average_precision(row, gallery_labels == label)


METHODS: dict[str, tuple[Callable[[Data], None], str | None]] = {
    "product and sort": (product_and_sort, None),
    "caan.evaluation.metrics, all metrics": (ours, None),
    "scikit-learn, mAP@all": (scikit_learn, "sklearn"),
    "torchmetrics, mAP@all": (torchmetrics, "torchmetrics"),
}


def seconds_per_query(method: Callable[[Data], None], data: Data) -> float:
    """CPU seconds, or on a GPU wall seconds."""
    clock = time.perf_counter if data[0].is_cuda else time.process_time
    start = clock()
    method(data)
    if data[0].is_cuda:
        torch.cuda.synchronize()
    return (clock() - start) / (len(data[0]) if method in (ours, product_and_sort) else FEW)


def peak_memory(name: str, size: str, device: str) -> float:
    """MiB above the data; to be called in a process of its own."""
    queries, gallery, query_labels, gallery_labels = make_data(size, device)
    data = queries[:SOME], gallery, query_labels[:SOME], gallery_labels
    METHODS[name][0]((queries[:1], gallery, query_labels[:1], gallery_labels))  # what imports and libraries take is not counted
    before = _memory(device, "VmRSS")
    METHODS[name][0](data)
    return _memory(device, "VmHWM") - before


def _memory(device: str, line: str) -> float:
    if device.startswith("cuda"):
        return (torch.cuda.memory_allocated() if line == "VmRSS" else torch.cuda.max_memory_allocated()) / 2**20
    status = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(status[line].split()[0]) / 2**10


def measure(size: str, device: str, repeats: int) -> list[dict]:
    """One row a method: the best of `repeats` turns, as a multiple of the product and sort, and its memory."""
    data = make_data(size, device)
    methods = {name: run for name, (run, needs) in METHODS.items() if needs is None or importlib.util.find_spec(needs)}
    best = dict.fromkeys(methods, float("inf"))
    for _ in range(repeats):
        for name, method in methods.items():
            best[name] = min(best[name], seconds_per_query(method, data))
    rows = []
    for name in methods:
        with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            memory = fresh.submit(peak_memory, name, size, device).result()
        rows.append({"size": size, "method": name, "ratio": best[name] / best["product and sort"], "memory_mib": round(memory)})
    whole = best["caan.evaluation.metrics, all metrics"] * SIZES[size][1]
    print(f"{size}: {whole:,.0f} s for all {SIZES[size][1]:,} queries, in the state this machine is in now")
    return rows


def main() -> None:
    """Measures, prints the table and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=2, help="turns, of which the best counts")
    results = Path(__file__).parent / "results" / "metrics.json"
    parser.add_argument("--output", type=Path, default=results, help="JSON file of the results")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"repeats must be at least 1, got {options.repeats}.")
    torch.set_num_threads(1)
    rows = [row for size in SIZES for row in measure(size, options.device, options.repeats)]
    print(results_table(rows, {"size": "size", "method": "method", "ratio": "time (ratio)", "memory_mib": "memory (MiB)"}, 2))
    device = torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu, one thread"
    machine = {"device": device, "torch": torch.__version__, "python": platform.python_version()}
    sizes = {name: dict(zip(("queries_measured", "queries", "gallery", "classes"), size)) for name, size in SIZES.items()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = {**machine, "dim": DIM, "sizes": sizes, "rows": rows}
    options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written: {options.output.name}")


if __name__ == "__main__":
    main()
