"""Re-ranking without training: query expansion on both sides, from the features alone; ours in this combination.

A sketch finds its nearest photos, and these know better than the sketch what the class's other photos look like. So each
photo first takes in its own neighbours (database-side augmentation, Arandjelovic and Zisserman 2012), then the query takes in
what it found (alpha query expansion, Radenovic et al. 2018). Cost: one gallery x gallery product, in chunks, once a gallery.

It is transductive: what a photo scores depends on all other photos of the gallery, the whole test gallery in an evaluation. So
its numbers are not comparable with those of a method that looks at one photo at a time, and are always said to be re-ranked.
It helps where most of a photo's neighbours are of its class: many relevant photos a query, well above `neighbours`, and fair
features. With few relevant photos a query it takes in other classes and hurts (docs/evaluation.md has numbers of both).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1024  # rows of a similarity matrix held at once


@dataclass(frozen=True)
class Reranking:
    """How a ranking is made anew. Raises ValueError unless `neighbours` is positive.

    Attributes:
        neighbours: photos that each photo and each query takes in, at most all. alpha: power of their similarity.
    """

    neighbours: int
    alpha: float = 3.0
    method: str = "query expansion with database-side augmentation"
    uses: str = "the whole gallery: transductive"

    def __post_init__(self):
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}.")

    def __call__(self, queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (n, d) and gallery (m, d) as `rerank` gives them."""
        return rerank(queries, gallery, self.neighbours, self.alpha)

    def describe(self, relevant_median: float) -> str:
        """What a reader must know of re-ranked numbers, in sentences.

        Args:
            relevant_median: relevant photos of the median query, which tells whether the neighbours can be of one class.
        """
        text = (
            f"These numbers are re-ranked by {self.method} over {self.neighbours:,} neighbours, which uses {self.uses}. "
            "They cannot be compared with numbers of one photo at a time. It helps where a query has many more relevant photos "
            "than there are neighbours, and hurts where it has few."
        )
        if relevant_median < self.neighbours:
            text += (
                f" Here the median query has {relevant_median:,g}, fewer than the neighbours, so that photos of other classes "
                "are taken in whatever the features are: these numbers may well be lower than those without."
            )
        return text


def augment_gallery(gallery: Tensor, neighbours: int = 10, alpha: float = 3.0) -> Tensor:
    """Each photo's feature plus those of its nearest photos, weighted by their similarity to the power `alpha`.

    Args:
        gallery: (photos, d) features. neighbours: photos taken in, itself among them; at most all.

    Returns unit vectors (photos, d).
    """
    return _expand(F.normalize(gallery, dim=-1), F.normalize(gallery, dim=-1), neighbours, alpha, keep=0.0)


def expand_queries(queries: Tensor, gallery: Tensor, neighbours: int = 10, alpha: float = 3.0) -> Tensor:
    """Each query's feature plus the weighted mean of its nearest photos'.

    Args:
        queries: (queries, d) features. gallery: (photos, d) features, as `augment_gallery` gives them.

    Returns unit vectors (queries, d).
    """
    return _expand(F.normalize(queries, dim=-1), F.normalize(gallery, dim=-1), neighbours, alpha, keep=1.0)


def rerank(queries: Tensor, gallery: Tensor, neighbours: int = 10, alpha: float = 3.0) -> tuple[Tensor, Tensor]:
    """Queries and gallery after both steps; their cosine similarity is the new score.

    Raises ValueError unless `neighbours` is positive.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}.")
    gallery = augment_gallery(gallery, neighbours, alpha)
    return expand_queries(queries, gallery, neighbours, alpha), gallery


def _expand(rows: Tensor, gallery: Tensor, neighbours: int, alpha: float, keep: float) -> Tensor:
    expanded = []
    for chunk in rows.split(CHUNK):
        near = (chunk @ gallery.T).topk(min(neighbours, len(gallery)))
        weights = near.values.clamp(min=0) ** alpha  # (rows, neighbours)
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
        expanded.append(keep * chunk + (weights[..., None] * gallery[near.indices]).sum(dim=1))
    return F.normalize(torch.cat(expanded), dim=-1)
