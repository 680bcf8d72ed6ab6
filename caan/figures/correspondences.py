"""Token correspondences: which places of a sketch and of a photo the model holds for the same.

The tokens are those that the relation network compares: local tokens reduced to a small grid, unit vectors, without any
text. Two tokens correspond where each is the other's nearest by cosine similarity. Cells of the sketch without ink are left
out of the drawing, after the nearest are found: blank paper always finds some background.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from PIL import Image

from caan.figures.page import FAINT, INK, SMALL, WIDTH, Page, distinct_colours, halo, plain_name, show_picture

MARGIN, HEAD, APART = 0.1, 0.2, 0.25  # inches: around the page, above a pair, between two pairs
BETWEEN = 0.18  # of a picture's side, from sketch to photo


class Links(NamedTuple):
    """Corresponding cells, the most similar first: indices into the sketch's and the photo's tokens, and the cosines, (m,)."""

    sketch: torch.Tensor
    photo: torch.Tensor
    similarity: torch.Tensor


class LinkedPair(NamedTuple):
    """A panel of the figure; both pictures have `side` x `side` cells."""

    name: str
    sketch: Image.Image
    photo: Image.Image
    links: Links
    side: int


def mutual_nearest(sketch_tokens: torch.Tensor, photo_tokens: torch.Tensor, keep: torch.Tensor | None = None) -> Links:
    """Pairs of tokens that are each other's nearest.

    Args:
        sketch_tokens, photo_tokens: unit vectors (r, d) and (s, d), as `get_relation_tokens` gives them for one picture.
        keep: (r,) booleans, which of the sketch's tokens may be in the answer; all compete. None = all.
    """
    similarity = sketch_tokens @ photo_tokens.T  # (r, s)
    nearest_photo, nearest_sketch = similarity.argmax(dim=1), similarity.argmax(dim=0)
    rows = torch.arange(len(sketch_tokens), device=similarity.device)
    mutual = nearest_sketch[nearest_photo] == rows
    rows = rows[mutual if keep is None else mutual & keep.to(mutual.device)]
    order = similarity[rows, nearest_photo[rows]].argsort(descending=True, stable=True)
    rows = rows[order]
    return Links(rows, nearest_photo[rows], similarity[rows, nearest_photo[rows]])


def cells_with_ink(sketch: Image.Image, side: int, threshold: float = 0.1) -> torch.Tensor:
    """Which of the `side` x `side` cells of a dark-on-white sketch hold ink, (side * side,), row by row.

    Args:
        threshold: a pixel is ink where it is darker than white by more than this share.
    """
    ink = np.asarray(sketch.convert("L")) < 255 * (1 - threshold)
    rows, columns = (np.linspace(0, size, side + 1).round().astype(int) for size in ink.shape)
    cells = [[ink[a:b, c:d].any() for c, d in zip(columns, columns[1:])] for a, b in zip(rows, rows[1:])]
    return torch.tensor(cells).flatten()


def cell_centres(cells: torch.Tensor, side: int) -> np.ndarray:
    """Places (m, 2), x and y in units of the picture, y downwards, of cells numbered row by row."""
    numbers = cells.cpu().numpy()
    return np.stack([numbers % side + 0.5, numbers // side + 0.5], axis=1) / side


def draw_correspondences(pairs: Sequence[LinkedPair], strongest: int = 10, width: float = WIDTH) -> Figure:
    """Two panels a row: sketch and photo side by side, a numbered line for each of the `strongest` links, 1 the strongest.

    `width` is that of a full row, in inches.

    Raises:
        ValueError: there is no pair.
    """
    if not pairs:
        raise ValueError("There is no pair of a sketch and a photo to draw correspondences of.")
    columns = min(2, len(pairs))
    panel = (width - 2 * MARGIN - APART) / 2
    tile = panel / (2 + BETWEEN)
    rows = -(-len(pairs) // columns)
    page = Page(2 * MARGIN + columns * panel + (columns - 1) * APART, MARGIN + rows * (HEAD + tile + MARGIN))
    for number, pair in enumerate(pairs):
        left = MARGIN + number % columns * (panel + APART)
        top = MARGIN + number // columns * (HEAD + tile + MARGIN)
        page.text(left, top, plain_name(pair.name), weight="bold")
        shown = min(strongest, len(pair.links.sketch))
        cosines = [f"{value:.2f}" for value in pair.links.similarity[[0, shown - 1]].tolist()] if shown else ["none"]
        page.text(left + panel, top + 0.02, f"cosine {' – '.join(dict.fromkeys(cosines))}", SMALL, ha="right")
        _draw_pair(page.axes(left, top + HEAD, panel, tile), pair, shown)
    return page.figure


def _draw_pair(axes, pair: LinkedPair, shown: int) -> None:
    """Both pictures, their cells, and the links, numbered from the strongest on, which is on top."""
    for left, picture in ((0.0, pair.sketch), (1 + BETWEEN, pair.photo)):
        show_picture(axes, picture, left)
        for line in np.arange(1, pair.side) / pair.side:
            axes.plot((left, left + 1), (line, line), (left + line, left + line), (0, 1), color=FAINT, linewidth=0.3, alpha=0.5)
    starts = cell_centres(pair.links.sketch[:shown], pair.side)
    ends = cell_centres(pair.links.photo[:shown], pair.side) + (1 + BETWEEN, 0)
    for rank, (start, end, colour) in enumerate(zip(starts, ends, distinct_colours(shown))):
        # Bent, each by its own height: links along one row of cells would hide one another.
        middle = (start + end) / 2 + (0, (rank % 6 - 2.5) / 2.5 / pair.side)
        path = Path([start, middle, end], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        order, style = 20 - rank / 50, {"clip_on": False, "fill": False, "path_effects": halo(2.0)}
        axes.add_patch(PathPatch(path, edgecolor=colour, linewidth=1.1, zorder=order, **style))
        _draw_number(axes, np.stack([start, end]), rank + 1, colour, order + 10)


def _draw_number(axes, places: np.ndarray, number: int, colour: str, order: float) -> None:
    """The number of a link in a disc at both of its ends, in black or white, whichever is easier to read."""
    dark = np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) < 0.5
    axes.plot(*places.T, "o", color=colour, markersize=7, markeredgecolor="white", markeredgewidth=0.5, zorder=order)
    for x, y in places:
        style = {"fontsize": 5, "weight": "bold", "ha": "center", "va": "center_baseline", "zorder": order}
        axes.text(x, y, str(number), color="white" if dark else INK, **style)
