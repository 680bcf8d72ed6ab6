"""How a gallery is ranked for each query: scores, the rule for ties, and the ranks of the relevant photos.

Features are compared in float64 and scores rounded to float32: this drops the 1e-16 noise of a matrix product, which depends on
chunk size and device, and copies of a photo get one and the same score, a tie. Near zero float32 is as fine as the noise, so
what is no more than noise becomes zero first: features with many right angles, as binary codes have, would rank by it. Ties
follow a stated rule. The sort is exact: score, tie rule and relevance are packed into one integer a photo, so that sorting
values alone answers everything, quicker than a stable sort and a gather of the relevance. benchmarks/metrics.py measures time
and memory.
"""

from collections.abc import Collection, Hashable, Iterator, Sequence
from numbers import Integral

import torch
from torch import Tensor
from torch.nn.functional import normalize

from caan.evaluation.report import TIES

SIMILARITIES = ("cosine", "dot", "euclidean")
NOISE = 1e-12  # of the product of two lengths: far above what float64 loses in a sum, far below what any feature means


@torch.no_grad()
def best_photos(
    query_features: Tensor,
    gallery_features: Tensor,
    query_labels: Sequence[Hashable] | Tensor,
    gallery_labels: Sequence[Hashable] | Tensor,
    *,
    top_k: int,
    ties: str = "gallery_order",
    similarity: str = "cosine",
) -> tuple[Tensor, Tensor]:
    """The first photos of the ranking that `retrieval_metrics` measures, ties included: to show what was measured.

    Args: as of `retrieval_metrics`; a few queries, whose scores are held at once. Copies of one photo that are equally right or
        wrong stand in gallery order.

    Returns rows of the gallery (num_queries, top_k), or the whole gallery where it is smaller, and their scores, float32.
    """
    check_choice("ties", ties, TIES)
    query_codes, gallery_codes, _ = encode_labels(query_labels, gallery_labels)
    (scores,) = similarities(query_features, gallery_features, similarity, len(query_features))
    relevant = query_codes[:, None].to(scores.device) == gallery_codes.to(scores.device)
    order = ranking_keys(scores, relevant, ties).argsort(dim=1, stable=True)[:, :top_k]
    return order.cpu(), scores.gather(1, order).cpu()


def similarities(queries: Tensor, gallery: Tensor, similarity: str, chunk_size: int) -> Iterator[Tensor]:
    """Score rows (chunk_size, gallery_size), worked out in float64 and rounded to float32: see the module's docstring."""
    device = torch.device("cpu") if queries.device.type == "mps" else queries.device  # mps has no float64
    gallery = gallery.to(device, torch.float64)
    if similarity == "cosine":
        gallery = normalize(gallery)
    longest = gallery.norm(dim=1).max()
    for chunk in queries.split(chunk_size):
        chunk = chunk.to(device, torch.float64)
        if similarity == "euclidean":
            yield -torch.cdist(chunk, gallery).float()
        else:
            chunk = normalize(chunk) if similarity == "cosine" else chunk
            scores = chunk @ gallery.T
            yield scores.masked_fill_(scores.abs() <= NOISE * longest * chunk.norm(dim=1, keepdim=True), 0).float()


def ranking_keys(scores: Tensor, relevant: Tensor, ties: str) -> Tensor:
    """Integers (num_queries, gallery_size) whose ascending order is the ranking; the lowest bit tells relevance."""
    bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0: -0.0 is the same score as 0.0
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # integers in the order of the floats
    keys = (~ascending).long().bitwise_left_shift_(32)  # the best score is smallest; the lower half: ties and relevance
    if ties == "gallery_order":
        keys |= torch.arange(scores.shape[1], device=scores.device) << 1
    keys |= relevant
    return keys


def hit_ranks(scores: Tensor, relevant: Tensor, ties: str) -> Tensor:
    """Ranks, from 1 and ascending, of the relevant photos of each query: (num_queries, most_relevant) float64, inf-padded."""
    keys = ranking_keys(scores, relevant, ties)
    query, position = keys.sort(dim=1).values.bitwise_and_(1).nonzero(as_tuple=True)  # by query, then by rank
    num_relevant = relevant.sum(1)
    first = num_relevant.cumsum(0) - num_relevant
    ranks = torch.full((len(scores), int(num_relevant.max())), torch.inf, dtype=torch.float64, device=scores.device)
    ranks[query, torch.arange(len(query), device=scores.device) - first[query]] = position.double() + 1
    return ranks.cpu()


def encode_labels(query_labels, gallery_labels) -> tuple[Tensor, Tensor, list[Hashable]]:
    """Both label lists as integers of one vocabulary, and the query labels as a list."""
    queries, gallery = as_list(query_labels), as_list(gallery_labels)
    kinds = {
        str if isinstance(label, str) else int if isinstance(label, Integral) else type(label) for label in queries + gallery
    }
    if kinds not in ({str}, {int}):
        raise TypeError(
            "labels must be all class names or all integers, one a row, for queries and gallery alike; "
            f"these are {', '.join(sorted(kind.__name__ for kind in kinds))}"
        )
    codes = {label: code for code, label in enumerate(dict.fromkeys(queries + gallery))}
    return torch.tensor([codes[x] for x in queries]), torch.tensor([codes[x] for x in gallery]), queries


def as_list(labels) -> list[Hashable]:
    return labels.tolist() if hasattr(labels, "tolist") else list(labels)


def check_features(side: str, features: Tensor, labels: Sequence[Hashable] | Tensor) -> None:
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{side}_features must be (count, dim) and not empty, got {tuple(features.shape)}")
    if len(labels) != len(features):
        raise ValueError(f"there are {len(labels)} {side}_labels for {len(features)} rows of {side}_features")
    if (bad := ~features.isfinite().all(1)).any():
        raise ValueError(
            f"{side}_features hold NaN or infinity in {int(bad.sum())} rows, first in row {int(bad.int().argmax())}"
        )


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
