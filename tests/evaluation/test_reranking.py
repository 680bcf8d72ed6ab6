"""Re-ranking by query expansion.  python -m pytest tests/evaluation/test_reranking.py"""

import pytest
import torch
import torch.nn.functional as F

from caan.evaluation import reranking
from caan.evaluation.reranking import augment_gallery, expand_queries, rerank


def slow(rows, gallery, neighbours, alpha, keep):
    """The definition, one row at a time."""
    result = []
    for row in rows:
        scores = [float(F.normalize(row, dim=0) @ F.normalize(photo, dim=0)) for photo in gallery]
        best = sorted(range(len(gallery)), key=lambda i: -scores[i])[:neighbours]
        weights = [max(scores[i], 0) ** alpha for i in best]
        mean = sum(w * F.normalize(gallery[i], dim=0) for w, i in zip(weights, best)) / sum(weights)
        result.append(F.normalize(keep * F.normalize(row, dim=0) + mean, dim=0))
    return torch.stack(result)


@pytest.mark.parametrize("neighbours,alpha", [(1, 3.0), (4, 3.0), (9, 1.0)])
def test_equals_the_definition_in_any_chunks(monkeypatch, neighbours, alpha):
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.rand(7, 5, generator=generator), torch.rand(9, 5, generator=generator)
    monkeypatch.setattr(reranking, "CHUNK", 4)
    found = augment_gallery(gallery, neighbours, alpha)
    assert torch.allclose(found, slow(gallery, gallery, neighbours, alpha, keep=0), atol=1e-5)
    expanded = expand_queries(queries, found, neighbours, alpha)
    assert torch.allclose(expanded, slow(queries, found, neighbours, alpha, keep=1), atol=1e-5)
    both = rerank(queries, gallery, neighbours, alpha)
    assert torch.equal(both[1], found) and torch.equal(both[0], expanded)


def test_one_neighbour_is_the_photo_itself():
    gallery = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(augment_gallery(gallery, neighbours=1), F.normalize(gallery, dim=-1), atol=1e-6)


def test_a_photo_that_looks_like_the_found_ones_is_found_through_them():
    angles = torch.tensor([0.5, 0.8, 1.2, -1.1]).double()  # query at 0: the fourth is nearer than the third by itself
    gallery, query = torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([[1.0, 0.0]]).double()
    assert (query @ gallery.T).argsort(descending=True).tolist() == [[0, 1, 3, 2]]
    queries, photos = rerank(query, gallery, neighbours=2)
    assert (queries @ photos.T).argsort(descending=True).tolist() == [[0, 1, 2, 3]]


def test_more_neighbours_than_photos_and_none():
    gallery = torch.eye(3)
    assert augment_gallery(gallery, neighbours=10).shape == (3, 3)
    with pytest.raises(ValueError, match="neighbours must be at least 1, got 0"):
        rerank(gallery, gallery, neighbours=0)


def test_opposite_features_give_no_nan():
    queries, photos = rerank(-torch.ones(1, 4), torch.ones(3, 4))
    assert torch.isfinite(queries).all() and torch.isfinite(photos).all()
