"""Zero-shot retrieval of a split, measured and shown, and the report file that makes a number reproducible."""

import importlib.metadata
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image

from caan.data import Pictures
from caan.embedding import embed_images
from caan.figures import retrieval_grid
from caan.metrics import retrieval_metrics
from caan.report import RetrievalReport, results_table
from caan.retrievers import Retriever

VERSIONED = ("torch", "transformers", "datasets", "timm", "caan")


class Benchmark(NamedTuple):
    """Queries and the galleries, one after the other, that they are searched in."""

    queries: Pictures
    galleries: tuple[Pictures, ...]

    @property
    def gallery_labels(self) -> torch.Tensor:
        """Class of each gallery picture, (gallery_size,)."""
        return torch.cat([gallery.labels for gallery in self.galleries])

    def gallery_picture(self, row: int):
        """The decoded picture at `row` of the joined galleries."""
        for gallery in self.galleries:
            if row < len(gallery):
                return gallery[row]
            row -= len(gallery)
        raise IndexError(row)


def make_benchmark(splits, split: str = "test", generalized: bool = False) -> Benchmark:
    """The sketches of `split` as queries and its photos as gallery.

    Args:
        splits: a `DatasetDict` of `dataset_scripts.load`. split: "test" (unseen classes) or "validation" (seen classes).
        generalized: the photos of all seen classes, train and validation, join the gallery as distractors (the protocol
            with unseen queries only).
    """
    if split not in splits:
        raise ValueError(
            f"The data set has no split {split!r}, only {', '.join(splits)}. Validation needs five sketches of a class or more."
        )
    galleries = [Pictures(splits[split], "photo")]
    if generalized:
        if split != "test":
            raise ValueError("generalized adds the seen classes to the gallery of the unseen ones: use it with split test.")
        galleries += [Pictures(splits[s], "photo") for s in ("train", "validation") if s in splits and has_photos(splits[s])]
    return Benchmark(Pictures(splits[split], "sketch"), tuple(galleries))


def has_photos(split) -> bool:
    """Whether a split has any photo; a validation split may search in the training photos of another."""
    return split.features["modality"].names.index("photo") in split.unique("modality")


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


def version_of(package: str) -> str:
    """Installed version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def command_line(argv: Sequence[str] | None = None) -> str:
    """The command that runs now, without the folder that its script lies in."""
    script, *rest = sys.argv if argv is None else argv
    return shlex.join(["python", Path(script).name, *rest])
