"""Attention maps against the model's own output and by hand.  python -m pytest tests/figures/test_attention.py"""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tiny import batch, caan_model, photo, sketch

from caan.figures.attention import (
    AttentionExample,
    draw_attention_maps,
    most_attended,
    read_attention,
    why_no_attention,
    word_map,
)
from caan.figures.words import Word

ATTENTION = torch.tensor(  # a global token and a 2 x 2 grid, over five text tokens
    [
        [0.0, 0.9, 0.1, 0.0, 0.0],
        [0.5, 0.1, 0.1, 0.3, 0.0],
        [0.2, 0.2, 0.2, 0.4, 0.0],
        [0.4, 0.0, 0.1, 0.5, 0.0],
        [0.0, 0.1, 0.2, 0.6, 0.1],
    ]
)


def test_a_map_is_the_sum_of_the_pieces_columns_over_the_patches_divided_by_its_sum():
    heat = word_map(ATTENTION, Word("wings", (1, 2)), (2, 2))
    torch.testing.assert_close(heat, torch.tensor([[0.2, 0.4], [0.1, 0.3]]))  # the global token's 0.9 is not in it
    tall = word_map(ATTENTION, Word("wings", (1, 2)), (4, 1))
    torch.testing.assert_close(tall, torch.tensor([[0.2], [0.4], [0.1], [0.3]]))


def test_the_most_attended_words_come_in_the_order_of_the_sentence():
    words = [Word("first", (0,)), Word("pair", (1, 2)), Word("third", (3,)), Word("last", (4,))]
    assert [word.text for word in most_attended(words, [ATTENTION], 2)] == ["first", "third"]  # 1.1, 1.0, 1.8 and 0.1
    assert most_attended(words, [ATTENTION], 9) == words
    only_last = torch.eye(5)[[4] * 9]  # eight patches of another picture: it counts once, not twice
    assert [word.text for word in most_attended(words, [ATTENTION, only_last], 2)] == ["third", "last"]


@pytest.mark.parametrize("layers", [1, 2])
def test_attention_is_that_of_the_models_forward(layers):
    model, inputs = caan_model(num_alignment_layers=layers), batch(num_classes=3, per_class=1)
    ids, mask = inputs["input_ids"][:, 0], inputs["attention_mask"][:, 0]
    one_sentence = {**inputs, "input_ids": ids[:, None], "attention_mask": mask[:, None]}
    with torch.no_grad():
        output = model(**one_sentence, output_attentions=True)
    pixels = {"sketch": inputs["sketch_pixel_values"], "photo": inputs["pixel_values"]}
    for modality, expected in (("sketch", output.sketch_text_attentions), ("photo", output.image_text_attentions)):
        attention, grid = read_attention(model, pixels[modality], modality, ids, mask)
        assert len(expected) == layers and grid == (4, 4) and attention.shape == (3, 17, 5)
        torch.testing.assert_close(attention, sum(expected[-1].unbind(1)) / 2)  # two heads
        assert (attention[2, :, :2] > 0).all() and (attention[2, :, 2:] == 0).all()  # class 2's sentence has two tokens


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: caan_model().for_inference(), "form for inference.*no text encoder and no alignment.*full form"),
        (lambda: caan_model(num_alignment_layers=0), "num_alignment_layers is 0"),
    ],
)
def test_a_model_without_attention_is_refused_with_the_reason(model, reason):
    inputs = batch(2, 1)
    with pytest.raises(ValueError, match=reason):
        read_attention(model(), inputs["pixel_values"], "photo", inputs["input_ids"][:, 0], inputs["attention_mask"][:, 0])
    assert why_no_attention(caan_model()) is None


def example(name="sea_turtle", sentence="a turtle " * 30, words=("shell", "flippers")) -> AttentionExample:
    maps = [torch.tensor([[0.1, 0.2], [0.3, 0.4]]), torch.full((4, 4), 1 / 16)]
    pictures = {"sketch": sketch(), "photo": photo()}
    return AttentionExample(name, sentence, list(words), pictures, {"sketch": maps, "photo": maps[::-1]})


def test_each_map_is_drawn_beside_its_picture_under_its_word():
    figure = draw_attention_maps([example()])
    drawn = [[np.asarray(image.get_array()) for image in axes.get_images()] for axes in figure.axes]
    assert [len(images) for images in drawn] == [1, 2, 2, 1, 2, 2, 1]  # per modality picture and two maps; the scale
    np.testing.assert_array_equal(drawn[0][0], np.asarray(sketch()))
    np.testing.assert_array_equal(drawn[1][0], np.asarray(sketch().convert("L")))
    np.testing.assert_allclose(drawn[1][1], [[0.1, 0.2], [0.3, 0.4]])
    np.testing.assert_allclose(drawn[4][1], np.full((4, 4), 1 / 16))
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "sea turtle" and texts[1].count("\n") == 1
    assert texts[2:] == [
        *("sketch", "shell", "0.40 – 1.60", "flippers", "1.00 – 1.00"),
        *("photo", "shell", "1.00 – 1.00", "flippers", "0.40 – 1.60"),
        texts[-1],
    ]


def test_no_text_touches_another_or_a_picture_and_none_leaves_the_page():
    examples = [example(), example("bee", "A bee is short."), example("owl", "An owl. " * 40)]
    figure = draw_attention_maps(examples)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts] + [axes.bbox for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        for other in boxes[:i]:
            apart = max(box.x0 - other.x1, other.x0 - box.x1, box.y0 - other.y1, other.y0 - box.y1)
            assert apart > -0.5, (i, box, other)


def test_no_row_is_an_error():
    with pytest.raises(ValueError, match="no class"):
        draw_attention_maps([])
