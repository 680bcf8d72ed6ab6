"""What the figures show: classes and pairs chosen by a seed, so that no one picks the ones that look best."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image

from caan.data.benchmark import Benchmark
from caan.errors import refuse_unknown
from processing_caan import CAANImageProcessor


class Pair(NamedTuple):
    """A sketch and a photo of one class: its label, and rows of the queries and of the joined galleries."""

    label: int
    query: int
    photo: int


def choose_classes(benchmark: Benchmark, wanted: Sequence[str] = (), count: int = 0, seed: int = 0) -> list[int]:
    """Labels of the `wanted` classes in their order or, without any, of `count` classes drawn by the seed; 0 = all.

    Only classes with sketches and photos are drawn.

    Raises:
        ValueError: a wanted class is not among them; the message names the nearest one that is.
    """
    both = sorted(set(benchmark.queries.labels.tolist()) & set(benchmark.gallery_labels.tolist()))
    known = {benchmark.queries.names[label]: label for label in both}
    if wanted:
        refuse_unknown("The split has no class", wanted, known)
        return [known[name] for name in wanted]
    order = torch.randperm(len(both), generator=torch.Generator().manual_seed(seed))
    return [both[i] for i in order[: count or None].tolist()]


def choose_pairs(
    features: tuple[torch.Tensor, torch.Tensor], benchmark: Benchmark, classes: Sequence[int], seed: int = 0
) -> list[Pair]:
    """For each class a sketch, drawn by the seed, and the photo of its class that is nearest to it.

    Args:
        features: of queries and joined galleries, as `embed_benchmark` gives them.
    """
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = (F.normalize(x, dim=-1) for x in features)
    pairs = []
    for label in classes:
        sketches = (benchmark.queries.labels == label).nonzero().flatten()
        query = sketches[torch.randint(len(sketches), (), generator=generator)]
        own = (benchmark.gallery_labels == label).nonzero().flatten()
        pairs.append(Pair(label, int(query), int(own[(gallery[own] @ queries[query]).argmax()])))
    return pairs


def draw_rows(labels: torch.Tensor, classes: Sequence[int], count: int, seed: int = 0) -> torch.Tensor:
    """Rows of these classes, at most `count` of each, drawn by the seed; 0 = all. In rising order."""
    generator = torch.Generator().manual_seed(seed)
    rows = [(labels == label).nonzero().flatten() for label in classes]
    return torch.cat([own[torch.randperm(len(own), generator=generator)[: count or None]] for own in rows]).sort().values


def prepared_pictures(pair: Pair, benchmark: Benchmark, processor: CAANImageProcessor) -> dict[str, Image.Image]:
    """The pair's pictures as the model sees them but for their resolution: the sketch cropped to its ink, on white."""
    sources = {"sketch": benchmark.queries[pair.query], "photo": benchmark.gallery_picture(pair.photo)}
    return {modality: processor.prepare(image, modality) for modality, image in sources.items()}
