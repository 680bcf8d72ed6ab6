"""Which classes and pictures the figures show.  python -m pytest tests/figures/test_examples.py"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import image_processor, photo, pixels, sketch

from caan.data.benchmark import Benchmark
from caan.figures.examples import Pair, choose_classes, choose_pairs, draw_rows, prepared_pictures

NAMES = ["ant", "bee", "cat", "dog", "eel"]


class Labelled(list):
    """Pictures with labels, as `caan.data.Pictures` are."""

    names = NAMES

    def __init__(self, labels, pictures=()):
        super().__init__(pictures)
        self.labels = torch.tensor(labels)


def benchmark(queries=(0, 0, 1, 2, 3), *galleries) -> Benchmark:
    return Benchmark(Labelled(list(queries)), tuple(Labelled(list(gallery)) for gallery in galleries or [(0, 1, 1), (2, 4)]))


def test_only_classes_with_both_modalities_are_drawn_and_each_once():
    drawn = choose_classes(benchmark(), count=0, seed=0)  # dog has no photo, eel no sketch
    assert sorted(drawn) == [0, 1, 2]
    assert choose_classes(benchmark(), count=2, seed=0) == drawn[:2]
    assert {tuple(choose_classes(benchmark(), count=2, seed=seed)) for seed in range(30)} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }


def test_wanted_classes_keep_their_order():
    assert choose_classes(benchmark(), ["cat", "ant"], count=1) == [2, 0]


def test_an_unknown_class_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match="The split has no class 'bees', did you mean 'bee'"):
        choose_classes(benchmark(), ["ant", "bees"])
    with pytest.raises(ValueError, match="The split has no class 'dog'"):  # no photo of it
        choose_classes(benchmark(), ["dog"])


def test_the_photo_is_the_nearest_of_the_sketchs_own_class_in_any_gallery():
    angles = torch.tensor([0.0, 0.2, 1.2, 1.0, 0.05])  # of gallery pictures of the classes 0, 1, 1 | 1, 0
    gallery = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor([[1.0], [9.0], [9.0], [1.0], [1.0]])
    directions = torch.tensor([0.06, 0.3, 1.05])
    queries = torch.stack([directions.cos(), directions.sin()], dim=1)
    both = benchmark([0, 1, 2], (0, 1, 1), (1, 0))
    assert choose_pairs((queries, gallery), both, [1, 0]) == [Pair(1, 1, 1), Pair(0, 0, 4)]


def test_sketches_are_drawn_by_the_seed_from_their_class():
    queries, gallery = torch.randn(5, 3), torch.randn(5, 3)
    drawn = {choose_pairs((queries, gallery), benchmark(), [0], seed)[0].query for seed in range(20)}
    assert drawn == {0, 1}
    assert choose_pairs((queries, gallery), benchmark(), [0, 2], 5) == choose_pairs((queries, gallery), benchmark(), [0, 2], 5)


def test_rows_of_some_classes_are_capped_for_each():
    labels = torch.tensor([2, 0, 1, 0, 2, 0, 1])
    assert draw_rows(labels, [2, 0], 0).tolist() == [0, 1, 3, 4, 5]
    capped = draw_rows(labels, [2, 0], 2, seed=1)
    assert sorted(labels[capped].tolist()) == [0, 0, 2, 2] and capped.tolist() == sorted(capped.tolist())
    assert len({tuple(draw_rows(labels, [0], 1, seed).tolist()) for seed in range(20)}) == 3


def test_prepared_pictures_give_the_pixels_that_the_model_sees():
    both = SimpleNamespace(queries=[photo(), sketch()], gallery_picture=[photo(seed=1), photo(seed=2)].__getitem__)
    shown = prepared_pictures(Pair(0, 1, 1), both, image_processor())
    assert shown["sketch"].width == shown["sketch"].height < 64  # cropped to its ink
    np.testing.assert_array_equal(shown["photo"], np.asarray(photo(seed=2)))
    for modality, raw in (("sketch", sketch()), ("photo", photo(seed=2))):
        torch.testing.assert_close(
            pixels(image_processor(), shown[modality], modality="photo"), pixels(image_processor(), raw, modality=modality)
        )
