"""Zero-shot retrieval of a split, measured and shown."""

from pathlib import Path

import torch
from PIL import Image

from caan.data.benchmark import Benchmark
from caan.evaluation.instance import InstanceReport, instance_metrics
from caan.evaluation.metrics import best_photos, retrieval_metrics
from caan.evaluation.report import RetrievalReport
from caan.evaluation.retrievers import Retriever
from caan.figures.grid import retrieval_grid
from pipeline_caan import embed_images


def embed_benchmark(retriever: Retriever, benchmark: Benchmark, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the queries and of the joined galleries. `options` go to `embed_images`."""
    queries = embed_images(retriever.model, retriever.processor, benchmark.queries, "sketch", **options)
    parts = [embed_images(retriever.model, retriever.processor, g, "photo", **options) for g in benchmark.galleries]
    return queries, torch.cat(parts)


def measure(features: tuple[torch.Tensor, torch.Tensor], benchmark: Benchmark, **options) -> RetrievalReport:
    """Retrieval metrics of features, as `embed_benchmark` gives them. `options` go to `retrieval_metrics`."""
    queries, gallery = features
    return retrieval_metrics(queries, gallery, benchmark.queries.labels, benchmark.gallery_labels, **options)


def measure_instances(features: tuple[torch.Tensor, torch.Tensor], benchmark: Benchmark, **options) -> InstanceReport:
    """acc@K of features, as `embed_benchmark` gives them. `options` go to `instance_metrics`.

    Raises:
        ValueError: no query has the photo that it was drawn from in the gallery.
    """
    labels = benchmark.queries.labels, benchmark.gallery_labels
    instances = benchmark.queries.instances, benchmark.gallery_instances
    names = ["/".join(Path(file).parts[-2:]) for file in benchmark.queries.files]  # class and name: no path of this machine
    return instance_metrics(*features, *labels, *instances, names=names, **options)


def evaluate(retriever: Retriever, benchmark: Benchmark, metric_options: dict | None = None, **options) -> RetrievalReport:
    """Retrieval metrics of one retriever on one benchmark. `options` go to `embed_images`."""
    return measure(embed_benchmark(retriever, benchmark, **options), benchmark, **(metric_options or {}))


def retrieval_picture(
    features: tuple, benchmark: Benchmark, report: RetrievalReport, rows: int, top_k: int = 10
) -> Image.Image:
    """A grid of some queries with their `top_k` first gallery pictures; true matches framed green, false ones red.

    The queries are not chosen by hand: sorted by their average precision, they stand at even distances from the best to the
    worst, so the picture shows what the mean hides. Queries without a relevant photo come last.

    Args:
        features: queries and gallery, as `embed_benchmark` gives them.
        report: of these features, with `per_query=True`; the picture shows its ranking, with its rule for ties.
        rows: how many queries.
    """
    if report.per_query is None:
        raise ValueError("the picture needs a report with per_query=True: its queries are chosen by their average precision")
    labels, names = benchmark.gallery_labels, benchmark.queries.names
    assert report.per_query is not None, "the report must have per_query"
    order = report.per_query["map_all"].nan_to_num(-1).argsort(descending=True, stable=True)
    rows = min(rows, len(order))
    chosen = [int(order[int((i + 0.5) * len(order) / rows)]) for i in range(rows)]
    queries, gallery = features
    asked = benchmark.queries.labels[chosen]
    found = best_photos(queries[chosen], gallery, asked, labels, top_k=top_k, ties=report.ties)
    results = [
        [(benchmark.gallery_picture(i), names[labels[i]], score) for i, score in zip(ids, scores)]
        for ids, scores in zip(found[0].tolist(), found[1].tolist())
    ]
    return retrieval_grid([(benchmark.queries[row], names[benchmark.queries.labels[row]]) for row in chosen], results)
