"""Pictures of results: the retrieval grid, a sketch a row with the photos found for it.

Matches are told by three signs, so that no one needs to see red and green apart: the colour of the frame, whether it is
solid or dashed, and a tick or a cross in its corner. Drawn with PIL, in the font that matplotlib brings: every pixel is
placed, and no plotting back end is needed. How a picture file is read is the processor's business, see processing_caan.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

from processing_caan import flatten_image, open_image

TRUE, FALSE, UNKNOWN = "#1a9641", "#d7301f", "#b0b0b0"  # frames of a match, of another class, and where no class is known
INK, FAINT = "#1f2328", "#6e7781"


class GridItem(NamedTuple):
    """A picture of the grid: `image` is a PIL image, a path or URL; `label` its class, where known; `score` of a result."""

    image: Image.Image | str | Path
    label: str | None = None
    score: float | None = None


def retrieval_grid(
    queries: Sequence[GridItem | tuple], results: Sequence[Sequence[GridItem | tuple]], *, top_k: int = 10, tile: int = 112
) -> Image.Image:
    """Each row: a query sketch with its class, then its results from the best on, framed by whether the class is the query's.

    Args:
        queries: `GridItem`s or plain (image, label) tuples. A query without a label (a drawing of one's own) gets gray frames.
        results: for each query its photos, best first, as `GridItem`s or (image, label[, score]) tuples. Scores are shown
            where given; a row may be shorter than `top_k`.
        top_k: most results shown a row.
        tile: side of a picture in pixels. All else grows with it; 112 and ten results make about 1,400 pixels.

    Returns:
        an RGB picture: `grid.save("grid.png")`.

    Raises:
        ValueError: if there is no query, not one list of results a query, nothing to show, or a picture cannot be read (named).
    """
    asked = [GridItem(*query) for query in queries]
    rows = [[GridItem(*item) for item in row[:top_k]] for row in results]
    if not asked or len(asked) != len(rows) or not any(rows):
        raise ValueError(f"a grid needs a list of results for each query: there are {len(asked)} queries and {len(rows)} lists")
    scores = any(item.score is not None for row in rows for item in row)
    legend = any(query.label is not None for query in asked)
    layout = _Layout(tile, columns=max(map(len, rows)), caption_lines=1 + scores)
    canvas = Image.new("RGB", layout.size(len(rows), legend), "white")
    draw = ImageDraw.Draw(canvas)
    for column in range(layout.columns + 1):
        x, y = layout.corner(0, column)
        draw.text((x + tile / 2, y - layout.gap / 2), str(column or "query"), FAINT, layout.font(), anchor="md")
    for row, (query, items) in enumerate(zip(asked, rows)):
        _draw_query(canvas, layout, layout.corner(row, 0), query)
        for column, item in enumerate(items, start=1):
            _draw_result(canvas, layout, layout.corner(row, column), item, query.label)
    if legend:
        _draw_legend(canvas, layout, layout.corner(len(rows), 0))
    return canvas


class _Layout(NamedTuple):
    """Where things are, in pixels."""

    tile: int
    columns: int
    caption_lines: int

    @property
    def gap(self) -> int:
        return max(4, self.tile // 10)

    @property
    def line(self) -> int:
        return max(10, self.tile // 6)

    def font(self, bold: bool = False) -> ImageFont.FreeTypeFont:
        name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
        return ImageFont.truetype(str(path), self.line * 3 // 4)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Upper left corner of a picture; the query stands a little apart."""
        x = self.gap + column * (self.tile + self.gap) + (2 * self.gap if column else 0)
        return x, self.gap + self.line + row * (self.tile + self.caption_lines * self.line + 2 * self.gap)

    def size(self, rows: int, legend: bool) -> tuple[int, int]:
        bottom = self.corner(rows, 0)[1] - self.gap
        return self.corner(0, self.columns + 1)[0], bottom + (self.line + self.gap if legend else 0)


def _draw_query(canvas: Image.Image, layout: _Layout, corner: tuple[int, int], query: GridItem) -> None:
    side = (layout.tile, layout.tile)
    canvas.paste(ImageOps.pad(flatten_image(open_image(query.image)), side, color="white"), corner)  # padded: ink is never cut
    ImageDraw.Draw(canvas).rectangle(_box(corner, layout.tile), outline=UNKNOWN)
    _draw_caption(canvas, layout, corner, 0, query.label, INK, bold=True)


def _draw_result(canvas: Image.Image, layout: _Layout, corner: tuple[int, int], item: GridItem, wanted: str | None) -> None:
    canvas.paste(ImageOps.fit(flatten_image(open_image(item.image)), (layout.tile, layout.tile)), corner)
    match = None if None in (wanted, item.label) else item.label == wanted
    _draw_frame(canvas, corner, layout.tile, match)
    if match is not None:
        badge = _badge(layout.line, match)
        canvas.paste(badge, (corner[0] + layout.tile - layout.line, corner[1]), badge)
    _draw_caption(canvas, layout, corner, 0, item.label, FAINT if match else INK)
    if item.score is not None:
        _draw_caption(canvas, layout, corner, 1, f"{item.score:.2f}", FAINT)


def _draw_legend(canvas: Image.Image, layout: _Layout, corner: tuple[int, int]) -> None:
    x, y = corner[0], corner[1] - layout.gap
    for match, text in ((True, "the query's class"), (False, "another class")):
        badge = _badge(layout.line, match)
        canvas.paste(badge, (x, y), badge)
        x += layout.line + layout.gap // 2
        ImageDraw.Draw(canvas).text((x, y + layout.line / 2), text, FAINT, layout.font(), anchor="lm")
        x += int(layout.font().getlength(text)) + 2 * layout.gap


def _draw_frame(canvas: Image.Image, corner: tuple[int, int], tile: int, match: bool | None) -> None:
    """A solid frame around a match, a dashed one around another class, on the picture's edge."""
    draw, width = ImageDraw.Draw(canvas), max(2, tile // 28)
    colour = UNKNOWN if match is None else TRUE if match else FALSE
    draw.rectangle(_box(corner, tile), outline=colour, width=width)
    if match is False:
        left, top, right, bottom = _box(corner, tile)
        dash = tile / 11  # an odd number of dashes: each side begins and ends with one, and corners stay closed
        for start in (int(i * dash) for i in range(1, 11, 2)):
            end = start + int(dash) - 1
            for box in (
                (left + start, top, left + end, top + width - 1),
                (left + start, bottom - width + 1, left + end, bottom),
                (left, top + start, left + width - 1, top + end),
                (right - width + 1, top + start, right, top + end),
            ):
                draw.rectangle(box, fill="white")


def _badge(side: int, match: bool) -> Image.Image:
    """A round tick or cross, transparent outside; drawn four times as large, for smooth edges."""
    big = 4 * side
    badge = Image.new("RGBA", (big, big))
    draw = ImageDraw.Draw(badge)
    draw.ellipse((0, 0, big - 1, big - 1), fill="white")
    draw.ellipse((big * 0.06, big * 0.06, big * 0.94, big * 0.94), fill=TRUE if match else FALSE)
    tick, cross = [[(0.27, 0.52), (0.44, 0.69), (0.74, 0.34)]], [[(0.32, 0.32), (0.68, 0.68)], [(0.68, 0.32), (0.32, 0.68)]]
    for stroke in tick if match else cross:
        draw.line([(x * big, y * big) for x, y in stroke], fill="white", width=big // 9, joint="curve")
    return badge.resize((side, side), Image.Resampling.LANCZOS)


def _draw_caption(
    canvas: Image.Image, layout: _Layout, corner: tuple[int, int], line: int, text: str | None, colour: str, bold: bool = False
) -> None:
    """A centred line of text below a picture, cut by an ellipsis where it is wider than picture and gap."""
    font, text = layout.font(bold), (text or "").replace("_", " ")
    whole, room = text, layout.tile + layout.gap - 2
    while font.getlength(text) > room:
        whole = whole[:-1]
        text = whole.rstrip() + "…"
    centre = (corner[0] + layout.tile / 2, corner[1] + layout.tile + (line + 0.6) * layout.line)
    ImageDraw.Draw(canvas).text(centre, text, colour, font, anchor="mm")


def _box(corner: tuple[int, int], tile: int) -> tuple[int, int, int, int]:
    """First and last pixel of a picture, as PIL's rectangles take them."""
    return corner[0], corner[1], corner[0] + tile - 1, corner[1] + tile - 1
