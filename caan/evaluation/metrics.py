"""Retrieval metrics of zero-shot sketch-based image retrieval, as plain torch functions.

The field's code bases share the names mAP@200 and Prec@100 and little else: AP@K is divided by min(K, R), by the hits in
the top K or by R; precision by K or by min(K, R); means are over queries or over classes; ties are left to the sort. The
divisor alone can move mAP@200 by more than ten points. So every number carries its definition.

Decided: AP without the precision envelope; mAP@K with AP divided by min(K, R) is the headline, the hits-divided variant has
its own name; precision is divided by K; queries without a relevant photo are left out and counted. `ranking.py` ranks, and
says how ties are settled.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral

import torch
from torch import Tensor
from tqdm import tqdm

from caan.evaluation.ranking import (
    SIMILARITIES,
    as_list,
    best_photos,
    check_choice,
    check_features,
    encode_labels,
    hit_ranks,
    similarities,
)
from caan.evaluation.report import AVERAGES, TIES, RetrievalReport, metric_definitions, report_notes

__all__ = ["CHUNK_SCORES", "SIMILARITIES", "RetrievalAccumulator", "best_photos", "retrieval_metrics", "score_metrics"]
CHUNK_SCORES = 2**21  # scores held at once: small enough to stay out of the page allocator, where larger ones lose time


@dataclass(kw_only=True)
class RetrievalAccumulator:
    """Metrics from score rows that arrive in chunks: for pair scorers, re-rankers, or scores from elsewhere.

    Args:
        top_k: the K of each Prec@K.
        ap_k: the K of mAP@K.
        average: "micro", the mean over queries, or "macro", the mean of the class means (needs labels).
        ties: "gallery_order", equal scores rank in gallery order as in a stable sort, so a gallery in another order may give
            another value; or "pessimistic", the irrelevant photos of a tie rank first, so that the order of the gallery does
            not matter and a scorer that saturates gains nothing.
        voc: also AP with VOC's precision envelope, as in the code of SAKE (`eval_AP_inner`) and ZSE-SBIR (`utils/ap.py`).
        per_query: keep the values of every query in the report.

    Chunks of any size give the same report, to float64 rounding.
    """

    top_k: Sequence[int] = (100, 200)
    ap_k: int = 200
    average: str = "micro"
    ties: str = "gallery_order"
    voc: bool = False
    per_query: bool = False
    gallery_size: int | None = field(default=None, init=False)
    _chunks: list[dict[str, Tensor]] = field(default_factory=list, init=False, repr=False)
    _labels: list[Hashable] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self):
        check_choice("average", self.average, AVERAGES)
        check_choice("ties", self.ties, TIES)
        if any(not isinstance(k, Integral) or k < 1 for k in (*self.top_k, self.ap_k)):
            raise ValueError(f"every K must be a positive integer, got top_k={tuple(self.top_k)} and ap_k={self.ap_k}")

    @torch.no_grad()
    def update(self, scores: Tensor, relevant: Tensor, labels: Sequence[Hashable] | None = None) -> None:
        """Add the ranking of some queries.

        Args:
            scores: (num_queries, gallery_size), higher is nearer, any float type; compared in float32.
            relevant: (num_queries, gallery_size) bool, on the device of `scores`.
            labels: class of each query, for `per_class` and the macro mean; these need them in every update.

        Raises:
            ValueError: on empty or unequal shapes, another gallery size than before, or NaN scores; what came before stays.
        """
        if scores.ndim != 2 or scores.shape != relevant.shape or relevant.dtype != torch.bool or 0 in scores.shape:
            raise ValueError(
                "scores and relevant (bool) must both be (num_queries, gallery_size) and not empty, "
                f"got {tuple(scores.shape)} and {tuple(relevant.shape)} of {relevant.dtype}"
            )
        if self.gallery_size not in (None, scores.shape[1]):
            raise ValueError(f"these scores are over {scores.shape[1]} photos, those before over {self.gallery_size}")
        if (nan := scores.isnan().any(1)).any():
            raise ValueError(f"scores hold NaN in {int(nan.sum())} rows of this chunk, first in row {int(nan.int().argmax())}")
        labels = [None] * len(scores) if labels is None else as_list(labels)
        if len(labels) != len(scores):
            raise ValueError(f"there are {len(labels)} labels for {len(scores)} queries")
        self._chunks.append(_query_metrics(hit_ranks(scores, relevant, self.ties), self.top_k, self.ap_k, self.voc))
        self._labels += labels
        self.gallery_size = scores.shape[1]

    def compute(self) -> RetrievalReport:
        """The report of all queries so far.

        Raises:
            ValueError: if no query has a relevant photo, or the macro mean is asked for without labels.
        """
        if not self._chunks or self.gallery_size is None:
            raise ValueError("there are no queries: call update(scores, relevant) first")
        values = {name: torch.cat([chunk[name] for chunk in self._chunks]) for name in self._chunks[0]}
        num_relevant = values.pop("relevant")
        kept = num_relevant > 0
        if not kept.any():
            raise ValueError(
                f"none of the {len(kept):,} queries has a relevant photo in the gallery of {self.gallery_size:,}: "
                "check that both sides use the same class names or indices"
            )
        per_class = {} if None in self._labels else _class_means(values, self._labels, kept)
        if self.average == "macro" and not per_class:
            raise ValueError("the macro mean needs the class of each query: update(scores, relevant, labels)")
        micro = {name: float(value[kept].mean()) for name, value in values.items()}
        macro = {name: sum(means[name] for means in per_class.values()) / len(per_class) for name in values if per_class}
        return RetrievalReport(
            metrics=macro if self.average == "macro" else micro,
            definitions=metric_definitions(self.top_k, self.ap_k, self.voc),
            gallery_size=self.gallery_size,
            num_queries=len(kept),
            num_queries_without_relevant=int((~kept).sum()),
            relevant_min=int(num_relevant[kept].min()),
            relevant_median=float(num_relevant[kept].double().quantile(0.5)),
            average=self.average,
            ties=self.ties,
            notes=report_notes(num_relevant.tolist(), self.gallery_size, sorted(set(self.top_k))),
            per_class=per_class,
            per_query=values if self.per_query else None,
        )


@torch.no_grad()
def retrieval_metrics(
    query_features: Tensor,
    gallery_features: Tensor,
    query_labels: Sequence[Hashable] | Tensor,
    gallery_labels: Sequence[Hashable] | Tensor,
    *,
    similarity: str = "cosine",
    chunk_size: int | None = None,
    progress: bool = False,
    **options,
) -> RetrievalReport:
    """Rank a gallery for every query; a photo is relevant if it has the query's class.

    Args:
        query_features: (num_queries, dim), sketches. Any real type (bf16 and fp16 too) and device; the work is done there.
        gallery_features: (gallery_size, dim), photos.
        query_labels: (num_queries,) class names or integers.
        gallery_labels: (gallery_size,) the same kind.
        similarity: "cosine", "dot", or "euclidean" (the negative distance).
        chunk_size: queries ranked at once; by default as many as make 2M scores.
        progress: show a bar.
        options: `top_k`, `ap_k`, `average`, `ties`, `voc`, `per_query` of `RetrievalAccumulator`.

    Raises:
        ValueError: on empty or unequal shapes, NaN or infinite features, or no relevant photo for any query.
        TypeError: on labels that are neither names nor integers, or names on one side and integers on the other.
    """
    chunks = feature_scores(query_features, gallery_features, query_labels, gallery_labels, similarity, chunk_size)
    return score_metrics(chunks, query_labels, gallery_labels, progress=progress, **options)


def feature_scores(
    query_features: Tensor, gallery_features: Tensor, query_labels, gallery_labels, similarity: str, chunk_size: int | None
) -> Iterator[Tensor]:
    """Score rows (chunk_size, gallery_size) of features, checked; arguments and errors as of `retrieval_metrics`."""
    check_choice("similarity", similarity, SIMILARITIES)
    query_features, gallery_features = torch.as_tensor(query_features), torch.as_tensor(gallery_features)
    check_features("query", query_features, query_labels)
    check_features("gallery", gallery_features, gallery_labels)
    if query_features.shape[1] != gallery_features.shape[1]:
        raise ValueError(f"queries have {query_features.shape[1]} dimensions, the gallery {gallery_features.shape[1]}")
    chunk_size = max(1, CHUNK_SCORES // len(gallery_features)) if chunk_size is None else chunk_size
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    return similarities(query_features, gallery_features, similarity, chunk_size)


def score_metrics(
    score_chunks: Iterable[Tensor],
    query_labels: Sequence[Hashable] | Tensor,
    gallery_labels: Sequence[Hashable] | Tensor,
    *,
    progress: bool = False,
    **options,
) -> RetrievalReport:
    """As `retrieval_metrics`, from scores: an iterable of (some_queries, gallery_size) tensors, in `query_labels`' order."""
    query_codes, gallery_codes, query_names = encode_labels(query_labels, gallery_labels)
    accumulator = RetrievalAccumulator(**options)
    start = 0
    with tqdm(total=len(query_codes), desc="ranking", unit="query", disable=not progress) as bar:
        for scores in score_chunks:
            stop = start + len(scores)
            if stop > len(query_codes) or scores.shape[1:] != gallery_codes.shape:
                raise ValueError(
                    f"scores reach row {stop} of {tuple(scores.shape[1:])} photos, but there are "
                    f"{len(query_codes)} query labels and {len(gallery_codes)} gallery labels"
                )
            gallery_codes = gallery_codes.to(scores.device)
            relevant = query_codes[start:stop, None].to(scores.device) == gallery_codes
            accumulator.update(scores, relevant, query_names[start:stop])
            bar.update(len(scores))
            start = stop
    if start != len(query_codes):
        raise ValueError(f"there are {len(query_codes)} query labels, but scores of {start} queries")
    return accumulator.compute()


def _query_metrics(ranks: Tensor, top_k: Sequence[int], ap_k: int, voc: bool) -> dict[str, Tensor]:
    """Each metric (num_queries,), and the number of relevant photos as `relevant`; NaN where there is none."""
    num_relevant = ranks.isfinite().sum(1)
    precision = torch.arange(1, ranks.shape[1] + 1) / ranks  # at each hit; 0 in the padding
    within = ranks <= ap_k
    precision_within = precision * within
    best_of_k = num_relevant.clamp(max=ap_k)
    values = {
        "map_all": precision.sum(1) / num_relevant,
        f"map_{ap_k}": precision_within.sum(1) / best_of_k,
        f"map_{ap_k}_hits": precision_within.sum(1) / within.sum(1).clamp(min=1),
        **{f"prec_{k}": (ranks <= k).sum(1, dtype=torch.float64) / k for k in top_k},
        "top1": (ranks <= 1).sum(1, dtype=torch.float64),
    }
    if voc:
        values["map_all_voc"] = _envelope(precision).sum(1) / num_relevant
        values[f"map_{ap_k}_voc"] = (_envelope(precision_within) * within).sum(1) / best_of_k
    missing = num_relevant == 0
    return {"relevant": num_relevant, **{name: v.masked_fill(missing, torch.nan) for name, v in values.items()}}


def _envelope(precision: Tensor) -> Tensor:
    """The best precision at this or any later hit."""
    return precision.flip(1).cummax(1).values.flip(1) if precision.shape[1] else precision


def _class_means(values: dict[str, Tensor], labels: list[Hashable], kept: Tensor) -> dict[Hashable, dict[str, float]]:
    rows: dict[Hashable, list[int]] = {}
    for row in kept.nonzero().flatten().tolist():
        rows.setdefault(labels[row], []).append(row)
    return {label: {name: float(value[of_class].mean()) for name, value in values.items()} for label, of_class in rows.items()}
