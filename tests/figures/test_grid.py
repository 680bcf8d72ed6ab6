"""The retrieval grid, pixel by pixel: frames, their dashes, badges, captions, sizes, and what happens to unusual pictures."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from caan.figures.grid import FALSE, TRUE, UNKNOWN, GridItem, retrieval_grid

TILE, GAP, LINE = 110, 11, 18  # gap is a tenth of a picture, a line of text a sixth
TOP = GAP + LINE
LEFT = [GAP, *(GAP + column * (TILE + GAP) + 2 * GAP for column in range(1, 12))]  # the query, then results 1 to 11


def plain(colour="navy", size=(40, 40), mode="RGB"):
    return Image.new(mode, size, colour)


def grid(queries, results, **options):
    return np.asarray(retrieval_grid(queries, results, tile=TILE, **options))


def border(pixels, left, top=TOP):
    """The outermost pixels of a picture, (4 * TILE, 3), without the corner where the badge is."""
    box = pixels[top : top + TILE, left : left + TILE]
    return np.concatenate([box[0, : TILE - LINE], box[-1], box[:, 0], box[LINE:, -1]])


def is_colour(pixels, colour):
    return (pixels == ImageColor.getrgb(colour)).all(-1)


def test_a_match_has_a_solid_green_frame_and_another_class_a_dashed_red_one():
    pixels = grid([(plain("white"), "cat")], [[(plain(), "cat"), (plain(), "dog")]])
    assert is_colour(border(pixels, LEFT[1]), TRUE).all()
    false = border(pixels, LEFT[2])
    assert 0.45 < is_colour(false, FALSE).mean() < 0.65  # six dashes and five gaps a side
    assert (is_colour(false, FALSE) | is_colour(false, "white")).all()
    inside = pixels[TOP + 30 : TOP + 80, LEFT[1] + 30 : LEFT[1] + 80]
    assert is_colour(inside, "navy").all()


def test_the_badge_tells_a_match_without_colour():
    gray = np.asarray(retrieval_grid([(plain(), "cat")], [[(plain(), "cat"), (plain(), "dog")]], tile=TILE).convert("L"))
    inner = slice(4, LINE - 4)  # within the disc
    tick, cross = (gray[TOP : TOP + LINE, left + TILE - LINE : left + TILE][inner, inner].astype(int) for left in LEFT[1:3])
    assert min((tick > 200).sum(), (cross > 200).sum()) > 10  # white strokes on a dark disc
    assert min((tick < 130).sum(), (cross < 130).sum()) > 30
    assert np.abs(cross - cross[:, ::-1]).mean() < 10  # a cross is its own mirror image, a tick is not
    assert np.abs(tick - tick[:, ::-1]).mean() > 30


@pytest.mark.parametrize(("query_label", "result_label"), [(None, "cat"), ("cat", None), (None, None)])
def test_unknown_classes_get_gray_frames(query_label, result_label):
    pixels = grid([(plain(), query_label)], [[(plain(), result_label)]])
    assert is_colour(border(pixels, LEFT[1]), UNKNOWN).all()
    result = pixels[TOP : TOP + TILE + LINE, LEFT[1] :]
    assert not (is_colour(result, TRUE) | is_colour(result, FALSE)).any()


def test_size_follows_from_rows_columns_captions_and_legend():
    item = (plain(), "cat", 0.5)
    for rows, columns, with_scores, legend in [(1, 1, False, True), (3, 10, True, True), (2, 4, True, False)]:
        query = (plain(), "cat" if legend else None)
        pixels = grid([query] * rows, [[item if with_scores else item[:2]] * columns] * rows)
        height = TOP + rows * (TILE + (1 + with_scores) * LINE + 2 * GAP) - GAP + (LINE + GAP if legend else 0)
        assert pixels.shape == (height, LEFT[columns + 1], 3)


def test_top_k_cuts_and_short_rows_leave_blanks():
    queries = [(plain(), "cat")] * 2
    pixels = grid(queries, [[(plain(), "cat")] * 12, [(plain(), "cat")]])
    assert pixels.shape[1] == LEFT[11]
    below = pixels[TOP + TILE + LINE + 2 * GAP :]
    assert is_colour(below[:, LEFT[2] :], "white").all()
    assert grid(queries[:1], [[(plain(), "cat")] * 12], top_k=3).shape[1] == LEFT[4]


def test_captions_stay_between_their_neighbours():
    name = "a_very_long_class_name_that_no_column_holds"
    pixels = grid([(plain(), "cat")], [[(plain(), "cat"), (plain(), name), (plain(), "cat")]])
    caption = pixels[TOP + TILE : TOP + TILE + LINE]
    ink = np.flatnonzero((caption < 128).any(-1).any(0))
    inside = ink[(ink >= LEFT[2] - GAP) & (ink < LEFT[3] - GAP // 2)]
    assert LEFT[2] - GAP // 2 <= inside.min()
    assert inside.max() < LEFT[2] + TILE + GAP // 2
    assert inside.max() - inside.min() > TILE * 0.8  # cut by an ellipsis, not dropped


def test_sketches_are_padded_photos_are_cut_and_transparency_is_white():
    wide = plain("black", (80, 20))
    pixels = grid([(wide, "cat")], [[(plain((0, 0, 0, 0), mode="RGBA"), "cat"), (wide, "cat")]])
    query = pixels[TOP + 1 : TOP + TILE - 1, LEFT[0] + 1 : LEFT[0] + TILE - 1]
    assert is_colour(query[:20], "white").all()
    assert is_colour(query[50:58], "black").all()
    centre = slice(TOP + 30, TOP + 80)
    assert is_colour(pixels[centre, LEFT[1] + 30 : LEFT[1] + 80], "white").all()
    assert is_colour(pixels[centre, LEFT[2] + 30 : LEFT[2] + 80], "black").all()


def test_files_are_read_and_a_broken_one_is_named(tmp_path):
    good, broken = tmp_path / "good.png", tmp_path / "broken.png"
    plain("lime").save(good)
    broken.write_bytes(good.read_bytes()[:40])
    pixels = grid([GridItem(good, "cat")], [[GridItem(str(good), "cat", 0.25)]])
    assert is_colour(pixels[TOP + 50, LEFT[1] + 50], "lime")
    with pytest.raises(ValueError, match=r"broken\.png"):
        grid([(good, "cat")], [[(broken, "cat")]])


@pytest.mark.parametrize(("queries", "results"), [([], []), ([1], []), ([1], [[]]), ([1], [[1], [1]])])
def test_nothing_to_show_is_refused(queries, results):
    item = (plain(), "cat")
    with pytest.raises(ValueError, match=f"there are {len(queries)} queries and {len(results)} lists"):
        retrieval_grid([item for _ in queries], [[item for _ in row] for row in results])


def test_the_same_input_gives_the_same_bytes():
    arguments = [(plain(), "cat")], [[(plain("red"), "cat", 0.1), (plain("blue"), "dog", -0.1)]]
    assert retrieval_grid(*arguments).tobytes() == retrieval_grid(*arguments).tobytes()
