"""Zero-shot retrieval of a split, measured and shown, and the report file that makes a number reproducible."""

import json
import platform
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

from caan.data.benchmark import Benchmark
from caan.data.provenance import VERSIONED, command_line, version_of
from caan.evaluation.metrics import retrieval_metrics
from caan.evaluation.report import RetrievalReport, results_table
from caan.evaluation.retrievers import Retriever
from caan.figures.grid import retrieval_grid
from pipeline_caan import embed_images


def embed_benchmark(retriever: Retriever, benchmark: Benchmark, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the queries and of the joined galleries. `options` go to `embed_images`."""
    queries = embed_images(retriever.model, retriever.processor, benchmark.queries, "sketch", **options)
    parts = [embed_images(retriever.model, retriever.processor, g, "photo", **options) for g in benchmark.galleries]
    return queries, torch.cat(parts)


def evaluate(retriever: Retriever, benchmark: Benchmark, metric_options: dict | None = None, **options) -> RetrievalReport:
    """Retrieval metrics of one retriever on one benchmark."""
    queries, gallery = embed_benchmark(retriever, benchmark, **options)
    return retrieval_metrics(queries, gallery, benchmark.queries.labels, benchmark.gallery_labels, **(metric_options or {}))


def retrieval_picture(features: tuple, benchmark: Benchmark, rows: int, top_k: int = 10) -> Image.Image:
    """A grid of some queries with their `top_k` nearest gallery pictures; true matches framed green, false ones red.

    The queries are not chosen by hand: sorted by their average precision, they stand at even distances from the best to the
    worst, so the picture shows what the mean hides.

    Args:
        features: queries and gallery, as `embed_benchmark` gives them. rows: how many queries.
    """
    labels, names = benchmark.gallery_labels, benchmark.queries.names
    report = retrieval_metrics(*features, benchmark.queries.labels, labels, per_query=True)
    order = report.per_query["map_all"].nan_to_num(-1).argsort(descending=True, stable=True)
    rows = min(rows, len(order))
    chosen = [int(order[int((i + 0.5) * len(order) / rows)]) for i in range(rows)]
    queries, gallery = (F.normalize(x, dim=-1) for x in features)
    best = (queries[chosen] @ gallery.T).topk(min(top_k, len(gallery)))
    results = [
        [(benchmark.gallery_picture(i), names[labels[i]], score) for i, score in zip(ids, scores)]
        for ids, scores in zip(best.indices.tolist(), best.values.tolist())
    ]
    return retrieval_grid([(benchmark.queries[row], names[benchmark.queries.labels[row]]) for row in chosen], results)


def write_results(folder: Path, reports: dict[str, RetrievalReport], circumstances: dict) -> Path:
    """Writes `results.json`: each retriever's numbers, their definitions, and everything needed to get them again.

    Args:
        reports: retriever name -> report. circumstances: data set, split, seed and the like, as the caller knows them.
    """
    content = {
        **circumstances,
        "results": {name: report.to_dict() for name, report in reports.items()},
        "definitions": next(iter(reports.values())).definitions,
        "command": command_line(),
        "date": date.today().isoformat(),
        "versions": {"python": platform.python_version(), **{name: version_of(name) for name in VERSIONED}},
    }
    path = folder / "results.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def results_markdown(reports: dict[str, RetrievalReport]) -> str:
    """A markdown table with a row for each retriever and a column for each metric."""
    metrics = list(next(iter(reports.values())).metrics)
    return results_table([{"model": name, **{m: report[m] for m in metrics}} for name, report in reports.items()], digits=4)
