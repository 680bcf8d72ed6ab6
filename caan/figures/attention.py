"""Attention maps: where in a sketch and in a photo the words of the class's description are attended.

What is shown, exactly: the cross-modal alignment's last block, the mean over its heads, visual tokens attending to the
description. Each visual token shares an attention of 1 out over the description's tokens; the column of a word (the sum of
its pieces' columns) says how much of it each visual token gives to that word. The global token's row is left out, the rest is
divided by its sum, and stands on the patches' grid: shares of the picture that sum to 1. These maps read the description,
which retrieval never does: they show what the alignment learned, not how a photo was found.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from PIL import Image

from caan.figures.page import FAINT, NORMAL, SMALL, WIDTH, Page, frame, plain_name, show_picture
from caan.figures.words import Sentence, Word
from modeling_caan import join

COLOUR_MAP = "viridis"
MARGIN, GAP, LINE = 0.08, 0.06, 0.13  # inches


class AttentionExample(NamedTuple):
    """A row of the figure. `maps` holds, for "sketch" and "photo" each, one (height, width) map a word."""

    name: str
    sentence: str
    words: list[str]
    pictures: dict[str, Image.Image]
    maps: dict[str, list[torch.Tensor]]


def why_no_attention(model) -> str | None:
    """Why a model has no attention over words, or None where it has."""
    if not getattr(model.config, "use_text", False):
        return (
            "the model is in its form for inference (or was trained without text): it has no text encoder and no alignment. "
            "Give the full form, the folder that train.py writes"
        )
    return None if model.config.num_alignment_layers else "the model has no alignment block (num_alignment_layers is 0)"


@torch.inference_mode()
def read_attention(
    model, pixel_values: torch.Tensor, modality: str, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Attention of the visual tokens over a description each, mean over the heads of the last block, and the patches' grid.

    Args:
        pixel_values: (batch, 3, height, width) sketches or photos, as `modality` says.
        input_ids, attention_mask: (batch, length), the description that each of them reads.

    Returns (batch, 1 + tokens, length) in float32 on the CPU, the global token's row first; and (rows, columns).

    Raises:
        ValueError: the model has no text encoder or no alignment.
    """
    if reason := why_no_attention(model):
        raise ValueError(f"There is no attention to show: {reason}.")
    tokens = model.encode(pixel_values.to(model.device), modality)
    texts = (x[:, None].to(model.device) for x in (input_ids, attention_mask))  # one sentence a class
    features, mask = model.encode_descriptions(*texts)
    alignment = model.sketch_alignment if modality == "sketch" else model.image_alignment
    _, attentions = alignment(join(tokens), model.text_projection(features.to(model.dtype)), mask, output_attentions=True)
    return attentions[-1].float().mean(dim=1).cpu(), tokens.grid


def word_map(attention: torch.Tensor, word: Word, grid: tuple[int, int]) -> torch.Tensor:
    """Each patch's share of the attention that all patches give to a word.

    Args:
        attention: (1 + rows * columns, length) of one picture. grid: (rows, columns).

    Returns (rows, columns), non-negative with sum 1.
    """
    column = attention[1:, list(word.columns)].sum(dim=1)
    return (column / column.sum()).view(grid)


def most_attended(words: Sequence[Word], attentions: Sequence[torch.Tensor], count: int) -> list[Word]:
    """The `count` words that the patches of several pictures attend to most, together, in the order of the sentence.

    Args:
        attentions: (1 + tokens, length) of each picture, which may differ in tokens; each picture counts the same.
    """
    mass = [sum(float(a[1:, list(word.columns)].sum() / len(a[1:])) for a in attentions) for word in words]
    best = sorted(sorted(range(len(words)), key=lambda i: -mass[i])[:count])
    return [words[i] for i in best]


def make_examples(
    model, pixels: dict[str, torch.Tensor], pictures: list[dict], names: list[str], sentences: list[Sentence], count: int
) -> list[AttentionExample]:
    """Rows of the figure: for each class its most attended words and their maps.

    Args:
        pixels: "sketch" and "photo" -> (classes, 3, height, width). pictures: for each class the same as PIL pictures.
        sentences: each class's description, of one length. count: words a class.
    """
    texts = torch.stack([s.input_ids for s in sentences]), torch.stack([s.attention_mask for s in sentences])
    read = {modality: read_attention(model, values, modality, *texts) for modality, values in pixels.items()}
    examples = []
    for row, sentence in enumerate(sentences):
        words = most_attended(sentence.words, [attention[row] for attention, _ in read.values()], count)
        maps = {m: [word_map(attention[row], word, grid) for word in words] for m, (attention, grid) in read.items()}
        examples.append(AttentionExample(names[row], sentence.text, [word.text for word in words], pictures[row], maps))
    return examples


def draw_attention_maps(examples: Sequence[AttentionExample], width: float = WIDTH) -> Figure:
    """A row a class: the sketch and its maps, then the photo and its maps; a map's colours span its own range.

    The range stands below each map in multiples of an even share, so that a flat map is not taken for a sharp one.

    Raises:
        ValueError: there is no row.
    """
    if not examples:
        raise ValueError("There is no class to show attention maps of.")
    columns = 1 + max(len(example.words) for example in examples)
    middle = 3 * GAP
    tile = (width - 2 * MARGIN - middle - 2 * (columns - 1) * GAP) / (2 * columns)
    letters = int((width - 2 * MARGIN) * 20)  # of small type in a line
    texts = [textwrap.wrap(example.sentence, letters) for example in examples]
    heights = [LINE * (2.4 + len(text)) + tile + LINE * 1.5 for text in texts]
    page = Page(width, sum(heights) + 0.42)
    top = MARGIN
    for example, text, height in zip(examples, texts, heights):
        page.text(MARGIN, top, plain_name(example.name), weight="bold")
        page.text(MARGIN, top + LINE * 1.15, "\n".join(text), SMALL, FAINT, linespacing=1.25)
        below = top + LINE * (2.4 + len(text))
        for start, modality in ((MARGIN, "sketch"), (MARGIN + columns * tile + (columns - 1) * GAP + middle, "photo")):
            _draw_maps(page, start, below, tile, example, modality)
        top += height
    _draw_scale(page, top)
    return page.figure


def _draw_maps(page: Page, left: float, top: float, tile: float, example: AttentionExample, modality: str) -> None:
    """A picture and beside it, over its gray form, a map for each word."""
    picture = example.pictures[modality]
    page.text(left + tile / 2, top - 0.03, modality, SMALL, FAINT, ha="center", va="bottom")
    show_picture(page.axes(left, top, tile, tile), picture)
    for word, heat in zip(example.words, example.maps[modality]):
        left += tile + GAP
        axes = page.axes(left, top, tile, tile)
        show_picture(axes, picture.convert("L"), cmap="gray", vmin=0, vmax=255)
        axes.imshow(heat.numpy(), cmap=COLOUR_MAP, alpha=0.6, extent=(0, 1, 1, 0), aspect="auto", interpolation="bilinear")
        axes.add_patch(frame())
        low, high = (float(x) * heat.numel() for x in (heat.min(), heat.max()))
        page.text(left + tile / 2, top - 0.03, word, NORMAL, ha="center", va="bottom")
        page.text(left + tile / 2, top + tile + 0.03, f"{low:.2f} – {high:.2f}", SMALL, FAINT, ha="center")


def _draw_scale(page: Page, top: float) -> None:
    """The colours' meaning, below all rows."""
    axes = page.axes(MARGIN, top + 0.1, 0.9, 0.09)
    axes.imshow(torch.linspace(0, 1, 64)[None].numpy(), cmap=COLOUR_MAP, extent=(0, 10, 1, 0), aspect="auto")
    explanation = "from the least to the most attended patch of each map; its range stands below, 1 = an even share"
    page.text(MARGIN + 1.0, top + 0.145, explanation, SMALL, FAINT, va="center")
