"""Re-ranking without training: query expansion on both sides, from the features alone; ours in this combination.

A sketch finds its nearest photos, and these know better than the sketch what the class's other photos look like. So each
photo first takes in its own neighbours (database-side augmentation, Arandjelovic and Zisserman 2012), then the query takes in
what it found (alpha query expansion, Radenovic et al. 2018). Cost: one gallery x gallery product, in chunks, once a gallery.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1024  # rows of a similarity matrix held at once


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
