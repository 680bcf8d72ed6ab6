"""Mutually nearest tokens and their lines.  python -m pytest tests/figures/test_correspondences.py"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import to_hex
from PIL import Image
from tiny import photo, sketch

from caan.figures.correspondences import (
    BETWEEN,
    LinkedPair,
    Links,
    cell_centres,
    cells_with_ink,
    draw_correspondences,
    mutual_nearest,
)
from caan.figures.page import distinct_colours

# With the identity as photo tokens these rows are the similarities. Row 1 likes photo 0 best, which likes row 0 better.
SKETCH = torch.tensor([[0.5, 0.1, 0.0], [0.4, 0.2, 0.3], [0.1, 0.0, 0.9]])


def pairs_of(links) -> list[tuple[int, int]]:
    return list(zip(links.sketch.tolist(), links.photo.tolist()))


def test_only_mutual_neighbours_are_linked_the_strongest_first():
    links = mutual_nearest(SKETCH, torch.eye(3))
    assert pairs_of(links) == [(2, 2), (0, 0)]
    torch.testing.assert_close(links.similarity, torch.tensor([0.9, 0.5]))


def test_a_token_that_is_left_out_still_competes():
    links = mutual_nearest(SKETCH, torch.eye(3), keep=torch.tensor([False, True, True]))
    assert pairs_of(links) == [(2, 2)]  # row 1 does not inherit photo 0


def test_agrees_with_a_search_over_all_pairs():
    sketches, photos = (F.normalize(torch.randn(size, 5), dim=-1) for size in (16, 9))
    similarity = (sketches @ photos.T).tolist()
    column = [[row[j] for row in similarity] for j in range(9)]
    expected = [
        (value, i, j) for i, row in enumerate(similarity) for j, value in enumerate(row) if value == max(row) == max(column[j])
    ]
    assert pairs_of(mutual_nearest(sketches, photos)) == [(i, j) for _, i, j in sorted(expected, reverse=True)]
    assert len(expected) > 2


def test_cells_hold_ink_where_a_pixel_is_dark():
    image = Image.new("RGB", (9, 9), "white")
    image.putpixel((7, 1), (0, 0, 0))
    image.putpixel((4, 8), (240, 240, 240))  # too light to be ink
    assert cells_with_ink(image, 3).tolist() == [False, False, True, *[False] * 6]
    assert cells_with_ink(image, 3, threshold=0.05).nonzero().flatten().tolist() == [2, 7]


def test_cells_are_numbered_row_by_row_and_meet_in_their_centres():
    np.testing.assert_allclose(cell_centres(torch.tensor([0, 1, 2]), 2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]])


def linked(count: int) -> LinkedPair:
    links = Links(
        torch.arange(count), torch.arange(count).flip(0), torch.linspace(0.9, 0.5, count) if count else torch.empty(0)
    )
    return LinkedPair("teddy_bear", sketch(), photo(), links, 4)


def test_the_strongest_links_are_drawn_between_the_centres_of_their_cells():
    figure = draw_correspondences([linked(12)], strongest=3)
    (axes,) = figure.axes
    curves = [patch for patch in axes.patches if hasattr(patch.get_path(), "codes") and len(patch.get_path().vertices) == 3]
    starts, ends = (np.stack([curve.get_path().vertices[place] for curve in curves]) for place in (0, -1))
    np.testing.assert_allclose(starts, [[0.125, 0.125], [0.375, 0.125], [0.625, 0.125]])
    np.testing.assert_allclose(ends - (1 + BETWEEN, 0), [[0.875, 0.625], [0.625, 0.625], [0.375, 0.625]])  # cells 11, 10, 9
    assert [to_hex(curve.get_edgecolor()) for curve in curves] == distinct_colours(3)
    assert [text.get_text() for text in axes.texts] == ["1", "1", "2", "2", "3", "3"]
    assert [text.get_text() for text in figure.texts] == ["teddy bear", "cosine 0.90 – 0.83"]
    np.testing.assert_array_equal(axes.get_images()[0].get_array(), np.asarray(sketch()))


def test_a_pair_without_a_link_says_so_and_a_third_panel_starts_a_row():
    one, three = draw_correspondences([linked(0)]), draw_correspondences([linked(0)] * 3)
    assert one.texts[1].get_text() == "cosine none"
    tops = [round(float(axes.get_position().y1), 6) for axes in three.axes]
    assert tops[0] == tops[1] > tops[2]
    assert three.get_figwidth() > one.get_figwidth()


def test_no_pair_is_an_error():
    with pytest.raises(ValueError, match="no pair"):
        draw_correspondences([])


def test_colours_differ_also_beyond_the_palette():
    assert len(set(distinct_colours(24))) == 24
