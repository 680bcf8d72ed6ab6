"""The instance level, or fine-grained retrieval: at which rank does a sketch find the very photo that it was drawn from?

acc@K is the share of queries whose own photo is among the first K (Yu et al., "Sketch Me That Shoe", CVPR 2016), within the
photos of the query's class, as the field has it, and in the whole gallery, which is what a search is.

Decided: mean over queries (micro); queries without a photo of their own are in no mean, and are counted; where the gallery
holds copies of the photo, the best one counts. Scores and ties are those of `ranking.py`: under "pessimistic" all other photos
of equal score rank before the own one, so that a model which gives all photos one vector has acc@K 0 in classes of more than K.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Integral

import torch
from torch import Tensor

from caan.data.instances import NO_INSTANCE, instance_codes
from caan.evaluation.metrics import feature_scores
from caan.evaluation.ranking import check_choice, encode_labels, ranking_keys
from caan.evaluation.report import TIES

TOP_K = (1, 5, 10)
SHOWN = 5  # names of sketches without a photo in a note
SCOPES = {"class": "of the photos of its class", "gallery": "of the whole gallery"}


@dataclass(frozen=True)
class InstanceReport:
    """acc@K, what it means, and what it was measured on.

    Attributes:
        metrics: fractions in [0, 1]: `acc_{k}_class` and `acc_{k}_gallery` of each top k. definitions: of each.
        gallery_size: photos ranked. photos_per_class: of the classes of the queries that count, median over these classes.
        num_queries: all; of these no instance is known of `num_queries_without_pair`, and the photo of
            `num_queries_without_photo` more is not in the gallery. Neither are in a mean.
        ties: a key of `report.TIES`. notes: what a reader of these numbers must know, in sentences.
        ranks: scope ("class", "gallery") -> int64 (num_queries,), the own photo's rank from 1 on; 0 for queries without.
    """

    metrics: dict[str, float]
    definitions: dict[str, str]
    gallery_size: int
    photos_per_class: float
    num_queries: int
    num_queries_without_pair: int
    num_queries_without_photo: int
    ties: str
    notes: tuple[str, ...]
    ranks: dict[str, Tensor] = field(repr=False)

    def __getitem__(self, name: str) -> float:
        return self.metrics[name]

    def to_dict(self) -> dict[str, float | int | str]:
        """The metrics and their circumstances as one flat dictionary, fit for JSON."""
        names = ["gallery_size", "photos_per_class", "num_queries", "num_queries_without_pair", "num_queries_without_photo"]
        return {**self.metrics, **{name: getattr(self, name) for name in [*names, "ties"]}}

    def __str__(self) -> str:
        counted = self.num_queries - self.num_queries_without_pair - self.num_queries_without_photo
        width = max(map(len, self.metrics))
        return "\n".join(
            [
                f"instance level: {counted:,} queries with their own photo in a gallery of {self.gallery_size:,}; photos a "
                f"class: median {self.photos_per_class:,g}",
                f"mean over queries; ties: {TIES[self.ties]}",
                *(f"  {name:<{width}}  {value:.4f}  {self.definitions[name]}" for name, value in self.metrics.items()),
                *(f"note: {note}" for note in self.notes),
            ]
        )


def instance_definitions(top_k: Sequence[int] = TOP_K) -> dict[str, str]:
    """A definition of each metric, the scopes one after the other."""
    return {
        f"acc_{k}_{scope}": f"acc@{k}: share of sketches whose own photo is among the first {k} {where}"
        for scope, where in SCOPES.items()
        for k in top_k
    }


def instance_metrics(
    query_features: Tensor,
    gallery_features: Tensor,
    query_labels: Sequence[Hashable] | Tensor,
    gallery_labels: Sequence[Hashable] | Tensor,
    query_instances: Sequence[str | None],
    gallery_instances: Sequence[str | None],
    *,
    similarity: str = "cosine",
    chunk_size: int | None = None,
    **options,
) -> InstanceReport:
    """Ranks the photo that each query was drawn from.

    Args:
        query_features, gallery_features, query_labels, gallery_labels, similarity, chunk_size: as of `retrieval_metrics`.
        query_instances, gallery_instances: what a sketch and its photo have in common within their class; None = no pair.
        options: `top_k`, `ties` and `names` of `score_instance_metrics`.

    Raises:
        ValueError, TypeError: as `retrieval_metrics`, and where no query has its photo in the gallery.
    """
    chunks = feature_scores(query_features, gallery_features, query_labels, gallery_labels, similarity, chunk_size)
    return score_instance_metrics(chunks, query_labels, gallery_labels, query_instances, gallery_instances, **options)


@torch.no_grad()
def score_instance_metrics(
    score_chunks: Iterable[Tensor],
    query_labels: Sequence[Hashable] | Tensor,
    gallery_labels: Sequence[Hashable] | Tensor,
    query_instances: Sequence[str | None],
    gallery_instances: Sequence[str | None],
    *,
    top_k: Sequence[int] = TOP_K,
    ties: str = "gallery_order",
    names: Sequence[str] | None = None,
) -> InstanceReport:
    """As `instance_metrics`, from scores: an iterable of (some_queries, gallery_size) tensors, higher is nearer.

    Args:
        top_k: the K of each acc@K. ties: as of `RetrievalAccumulator`. names: of the queries, to name those without a photo.
    """
    check_choice("ties", ties, TIES)
    if not top_k or any(not isinstance(k, Integral) or k < 1 for k in top_k):
        raise ValueError(f"every K must be a positive integer, got top_k={tuple(top_k)}")
    query_classes, gallery_classes, _ = encode_labels(query_labels, gallery_labels)
    codes: dict[tuple, int] = {}
    queries = instance_codes(query_classes, query_instances, codes)
    gallery = instance_codes(gallery_classes, gallery_instances, codes)
    paired = queries != NO_INSTANCE
    kept = paired & torch.isin(queries, gallery)
    if not kept.any():
        raise ValueError(_no_pairs(len(kept), int(paired.sum()), len(gallery)))
    ranks = _rank(score_chunks, (query_classes, gallery_classes), (queries, gallery), kept, ties)
    without = [str(i) if names is None else names[i] for i in (paired & ~kept).nonzero().flatten().tolist()]
    sizes = torch.stack([(gallery_classes == label).sum() for label in query_classes[kept].unique()])
    hits = {(k, scope): (ranks[kept, column] <= k).double() for column, scope in enumerate(SCOPES) for k in top_k}
    return InstanceReport(
        metrics={f"acc_{k}_{scope}": float(hit.mean()) for (k, scope), hit in hits.items()},
        definitions=instance_definitions(top_k),
        gallery_size=len(gallery),
        photos_per_class=float(sizes.double().quantile(0.5)),
        num_queries=len(kept),
        num_queries_without_pair=int((~paired).sum()),
        num_queries_without_photo=len(without),
        ties=ties,
        notes=_notes(int((~paired).sum()), without, len(kept)),
        ranks=dict(zip(SCOPES, ranks.T)),
    )


def _rank(
    score_chunks: Iterable[Tensor], classes: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor], kept: Tensor, ties: str
) -> Tensor:
    """`own_photo_ranks` of the `kept` queries, 0 for the others: (num_queries, 2). The pairs are of queries and gallery."""
    ranks, start = torch.zeros(len(kept), 2, dtype=torch.long), 0
    for scores in score_chunks:
        stop = start + len(scores)
        if stop > len(kept) or scores.shape[1:] != codes[1].shape:
            raise ValueError(
                f"scores reach row {stop} of {tuple(scores.shape[1:])} photos, but there are {len(kept)} queries and "
                f"{len(codes[1])} photos"
            )
        rows = kept[start:stop].nonzero().flatten()
        own, same = ((x[start + rows, None] == y).to(scores.device) for x, y in (codes, classes))
        ranks[start + rows] = own_photo_ranks(scores[rows.to(scores.device)], own, same, ties).cpu()
        start = stop
    if start != len(kept):
        raise ValueError(f"there are {len(kept)} query labels, but scores of {start} queries")
    return ranks


def own_photo_ranks(scores: Tensor, own: Tensor, same_class: Tensor, ties: str) -> Tensor:
    """Ranks, from 1, of the best own photo of each query: (num_queries, 2) int64, within its class and in the whole gallery.

    Args:
        scores: (num_queries, gallery_size). own, same_class: the same shape, bool: photos of the query's instance, of which
            each row has one or more, and of its class.

    Raises:
        ValueError: a score is NaN.
    """
    if scores.isnan().any():
        raise ValueError(f"scores hold NaN in {int(scores.isnan().any(1).sum())} rows of this chunk")
    keys = ranking_keys(scores, own, ties)  # ascending keys are the ranking
    best = keys.masked_fill(~own, torch.iinfo(keys.dtype).max).amin(dim=1, keepdim=True)
    before = keys < best
    return torch.stack([(before & same_class).sum(1), before.sum(1)], dim=1) + 1


def _notes(unpaired: int, without: Sequence[str], queries: int) -> tuple[str, ...]:
    notes = []
    if without:
        more = f" and {len(without) - SHOWN:,} more" if len(without) > SHOWN else ""
        shown = ", ".join(without[:SHOWN])
        notes.append(
            f"the photos that {len(without):,} of {queries:,} sketches were drawn from are not in the gallery, and these "
            f"sketches are in no acc@K: {shown}{more}"
        )
    if unpaired:
        notes.append(f"{unpaired:,} of {queries:,} sketches belong to no photo and are in no acc@K")
    return tuple(notes)


def _no_pairs(queries: int, paired: int, gallery: int) -> str:
    if not paired:
        return f"none of the {queries:,} sketches belongs to a photo: the data pair no sketches with photos"
    return f"the photos that the {paired:,} paired sketches were drawn from are not among the {gallery:,} of the gallery"
