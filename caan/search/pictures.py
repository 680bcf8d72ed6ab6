"""Pictures of what a search found: a sheet of thumbnails, and which part of a photo answers which stroke."""

import io
import os
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

from caan.search.explanation import draw_explanation, explain
from caan.search.gallery import Gallery
from caan.search.results import Found, Result
from pipeline_caan import show_path

TILE, GAP, COLUMNS, LINE = 180, 12, 5, 18  # pixels, pixels, results a row, pixels of a line of text
EXPLAINED = 5  # results that are explained
INK, FAINT = "#1f2328", "#6e7781"


def results_grid(gallery: Gallery, sketch: Any, found: Found) -> Image.Image:
    """The sketch as the model sees it, and beside it the results: rank and score, and the file's name."""
    rows = max(1, -(-len(found) // COLUMNS))
    width = (COLUMNS + 1) * (TILE + GAP) + 2 * GAP
    sheet = Image.new("RGB", (width, rows * (TILE + 2 * LINE + GAP) + GAP), "white")
    paste(sheet, GAP, GAP, gallery.encoder.processor.prepare(sketch, "sketch"), ["as the model sees it"])
    if not found.similar:
        write(sheet, GAP, GAP + TILE + LINE, "nothing similar: nothing stands out")
    for place, result in enumerate(found):
        row, column = divmod(place, COLUMNS)
        left, top = 2 * GAP + (column + 1) * (TILE + GAP), GAP + row * (TILE + 2 * LINE + GAP)
        more = f"  ×{len(result.copies)}" if len(result.copies) > 1 else ""
        name = show_path(os.path.basename(result.path))
        paste(sheet, left, top, thumbnail_of(gallery, result), [f"{result.rank}    {result.score:.3f}{more}", name])
    return sheet


def explain_grid(gallery: Gallery, sketch: Any, found: Found) -> Image.Image:
    """The sheet of results, and below it the explanations of the first ones."""
    sheet = results_grid(gallery, sketch, found)
    encoder, parts = gallery.encoder, [sheet]
    for result in found[:EXPLAINED]:
        photo = result.path if os.path.isfile(result.path) else thumbnail_of(gallery, result)  # its disk may be away
        explanation = explain(encoder.model, encoder.processor, sketch, photo)
        picture = draw_explanation(explanation, f"{result.rank}  {show_path(os.path.basename(result.path))}")
        parts.append(picture.resize((sheet.width, picture.height * sheet.width // picture.width), Image.Resampling.LANCZOS))
    page = Image.new("RGB", (sheet.width, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        page.paste(part, (0, top))
        top += part.height
    return page


def thumbnail_of(gallery: Gallery, result: Result) -> Image.Image:
    """The thumbnail that the gallery keeps; gray where there is none."""
    data = gallery.engine.thumbnail(result.content)
    return Image.open(io.BytesIO(data)).convert("RGB") if data else Image.new("RGB", (TILE, TILE), "#dddddd")


def paste(sheet: Image.Image, left: int, top: int, picture: Image.Image, lines: list[str]) -> None:
    """A picture padded to a square tile, in a hairline, with lines of text below."""
    sheet.paste(ImageOps.pad(picture, (TILE, TILE), color="white"), (left, top))
    ImageDraw.Draw(sheet).rectangle((left, top, left + TILE - 1, top + TILE - 1), outline=FAINT)
    for number, text in enumerate(lines):
        write(sheet, left, top + TILE + number * LINE, text, FAINT if number else INK)


def write(sheet: Image.Image, left: int, top: int, text: str, colour: str = INK) -> None:
    """A line of text, cut by an ellipsis where it is wider than a tile."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), LINE * 2 // 3)
    whole = text
    while font.getlength(text) > TILE:
        whole = whole[:-1]
        text = whole + "…"
    ImageDraw.Draw(sheet).text((left, top + 2), text, colour, font)
