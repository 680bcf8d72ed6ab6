"""t-SNE of both modalities, its points and its names.  python -m pytest tests/figures/test_projection.py"""

import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.markers import MarkerStyle

from caan.figures.page import distinct_colours
from caan.figures.projection import draw_projection, medoid, place_names, tsne


def clusters(count: int, seed: int) -> torch.Tensor:
    """Features of three classes in turns, around three directions."""
    noise = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return torch.eye(6)[torch.arange(count) % 3] + 0.02 * noise


def test_both_modalities_are_projected_together(monkeypatch):
    calls = []

    class Recorder:
        def __init__(self, **options):
            calls.append(options)

        def fit_transform(self, features):
            calls.append(features)
            return features[:, :2]

    monkeypatch.setattr("sklearn.manifold.TSNE", Recorder)
    sketches, photos = clusters(6, 0), clusters(4, 1)
    places = tsne(sketches, photos, seed=7, perplexity=30)
    options, features = calls
    np.testing.assert_array_equal(features, torch.cat([sketches, photos]).numpy())
    np.testing.assert_array_equal(places[0], sketches[:, :2])
    np.testing.assert_array_equal(places[1], photos[:, :2])
    assert (options["random_state"], options["perplexity"], options["metric"]) == (7, 3.0, "cosine")  # (10 - 1) / 3


def test_classes_that_are_apart_stay_apart_and_a_seed_repeats_them():
    features = clusters(18, 0), clusters(15, 1)
    places = tsne(*features, seed=3)
    assert places[0].shape == (18, 2) and places[1].shape == (15, 2)
    labels = np.concatenate([np.arange(18) % 3, np.arange(15) % 3])
    points = np.concatenate(places)
    distance = np.linalg.norm(points[:, None] - points, axis=2) + np.eye(33) * 1e9
    assert (labels[distance.argmin(axis=1)] == labels).all()
    np.testing.assert_array_equal(np.concatenate(tsne(*features, seed=3)), points)


def test_a_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(ImportError, match=r'scikit-learn: pip install -e ".\[figures\]"'):
        tsne(clusters(6, 0), clusters(6, 1))


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match="five pictures or more, got 4"):
        tsne(clusters(2, 0), clusters(2, 1))


def test_points_have_their_modalitys_marker_and_their_classs_colour():
    places = {"sketch": np.array([[0.0, 0.0], [5.0, 5.0]]), "photo": np.array([[1.0, 0.0], [5.0, 6.0], [6.0, 6.0], [5.5, 6.0]])}
    figure = draw_projection(places, {"sketch": [2, 0], "photo": [2, 0, 0, 0]}, ["hot-air_balloon", "not shown", "cat"])
    (axes,) = figure.axes
    first, second = distinct_colours(2)
    expected = {"sketch": ("^", [second, first]), "photo": ("o", [second, first, first, first])}
    for collection, (modality, (marker, colours)) in zip(axes.collections, expected.items(), strict=True):
        np.testing.assert_array_equal(collection.get_offsets(), places[modality])
        assert [to_hex(colour) for colour in collection.get_facecolors()] == colours
        style = MarkerStyle(marker)
        outline = style.get_path().transformed(style.get_transform()).vertices
        np.testing.assert_array_equal(collection.get_paths()[0].vertices, outline)
    assert [text.get_text() for text in axes.texts] == ["hot-air balloon", "cat"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sketch", "photo"]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < 0 and right > 6 and bottom < 0 and top > 6
    balloon, cat = (np.array(text.get_position()) for text in axes.texts)
    assert np.linalg.norm(balloon - (5.5, 6)) < 1.5 and np.linalg.norm(cat - (1, 0)) < 1.5  # near the photos


def test_a_medoid_is_a_point_in_the_midst_of_the_most():
    points = np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 1.0], [100.0, 1.0]])
    np.testing.assert_array_equal(medoid(points), [0, 1])  # their mean would lie at (25, 1)


BOUNDS, SIZE = (0, 0, 1000, 800), (120, 30)


def test_a_name_with_room_stays_where_it_belongs():
    placed = place_names(np.array([[300.0, 300.0]]), np.array([SIZE]), np.empty((0, 2)), BOUNDS)
    np.testing.assert_array_equal(placed, [[300, 300]])


def test_names_leave_points_free_and_touch_no_other_name_and_no_border():
    generator = np.random.default_rng(0)
    centres = np.concatenate([np.full((8, 2), 400.0), [[5.0, 5.0], [999.0, 799.0]]])
    points = np.concatenate([generator.normal(400, 12, (60, 2)), [[5.0, 5.0]]])
    sizes = np.array([SIZE] * 10)
    placed = place_names(centres, sizes, points, BOUNDS)
    assert (np.abs(placed[:, None] - points) >= np.array(SIZE) / 2).any(axis=2).all()
    for i in range(10):
        for j in range(i):
            assert (np.abs(placed[i] - placed[j]) >= SIZE).any(), (i, j)
    assert (placed >= np.array(SIZE) / 2).all() and (placed <= (1000 - 60, 800 - 15)).all()
    assert np.linalg.norm(placed - centres, axis=1).max() < 300
