"""A sheet of what the processor makes of pictures of sketches: as given, ground, ink, and what the encoder gets."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ink_caan import find_drawing, is_clean
from pipeline_caan import list_images
from processing_caan import CAANImageProcessor, CAANProcessor, flatten_image, image_name, read_picture, visible_ground

TILE, GAP, LINE = 240, 12, 18  # pixels
COLUMNS = ("as given", "ground", "ink", "what the encoder gets")


def load_processor(model: str | None) -> CAANImageProcessor:
    """The image processor of a Hub id or folder, or a new model's."""
    if model is None:
        return CAANImageProcessor()
    processor = CAANProcessor.from_pretrained(model)
    return getattr(processor, "image_processor", processor)


def require_output(output: Path, pictures: Sequence[str]) -> None:
    """Raises ValueError where the sheet would replace one of the pictures, or its name is not that of a picture."""
    if output.resolve() in [Path(picture).resolve() for picture in pictures]:
        raise ValueError(f"--output {output} is one of the pictures, and would be replaced: give another name.")
    Image.init()
    if Image.registered_extensions().get(output.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"--output {output} has no suffix of a picture that can be written, such as .png.")


def sketch_sheet(pictures: Sequence[Any], processor: CAANImageProcessor) -> Image.Image:
    """The sheet, RGB: a row a picture, under its name; an error or a warning of the processor stands in its row.

    Args:
        pictures: paths, folders (all their pictures), or pictures in any form that the processor takes.
    """
    files = [file for picture in pictures for file in pictures_of(picture)]
    height = LINE + GAP + len(files) * (TILE + 2 * LINE + GAP)
    sheet = Image.new("RGB", (GAP + len(COLUMNS) * (TILE + GAP), height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for column, title in enumerate(COLUMNS):
        draw.text((GAP + column * (TILE + GAP), GAP // 2), title, "black", font)
    for row, file in enumerate(files):
        top = LINE + GAP + row * (TILE + 2 * LINE + GAP)
        tiles, remark = steps_of(file, processor)
        for column, tile in enumerate(tiles):
            sheet.paste(fitted(tile), (GAP + column * (TILE + GAP), top))
        draw.text((GAP, top + TILE + 2), os.path.basename(image_name(file)), "black", font)
        draw.text((GAP, top + TILE + 2 + LINE), shortened(remark, font, sheet.width - 2 * GAP), "#bd1f01", font)
    return sheet


def pictures_of(source: Any) -> list:
    """The pictures in a folder, or the picture itself."""
    return list_images(source) if isinstance(source, (str, os.PathLike)) and os.path.isdir(source) else [source]


def steps_of(source: Any, processor: CAANImageProcessor) -> tuple[list[Image.Image | None], str]:
    """The four pictures of a row, as far as they could be made, and what the processor said of it."""
    tiles: list[Image.Image | None] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            picture = read_picture(source)
            picture = flatten_image(picture, visible_ground(picture))
            tiles.append(picture)
            plain = processor.ink_mode == "border"
            if plain or is_clean(picture, processor.ink_width):
                remark = 'ink_mode="border": not looked for' if plain else "clean: taken as it is"
                tiles += [None, picture]
            else:
                drawing = find_drawing(picture)
                remark = "light ink on a dark ground" if drawing.light else ""
                tiles += [drawing.ground, drawing.lines]
            tiles.append(encoder_input(source, processor))
        except ValueError as error:
            remark = str(error)
    return tiles, "; ".join([remark, *(str(warning.message) for warning in told)]).strip("; ")


def encoder_input(source: Any, processor: CAANImageProcessor) -> Image.Image:
    """The processor's output of a sketch as a picture."""
    pixels = processor([source], modality="sketch", return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    pixels = pixels * np.asarray(processor.image_std) + np.asarray(processor.image_mean)
    return Image.fromarray((255 * pixels.clip(0, 1)).round().astype(np.uint8))


def fitted(tile: Image.Image | None) -> Image.Image:
    """A picture in the middle of its tile, in a hairline frame."""
    frame = Image.new("RGB", (TILE, TILE), "#eeeeee" if tile is None else "white")
    if tile is not None:
        small = ImageOps.contain(tile.convert("RGB"), (TILE - 2, TILE - 2))
        frame.paste(small, ((TILE - small.width) // 2, (TILE - small.height) // 2))
    ImageDraw.Draw(frame).rectangle((0, 0, TILE - 1, TILE - 1), outline="#6e7781")
    return frame


def shortened(text: str, font: Any, width: int) -> str:
    """As much of a text as fits in a line of `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
