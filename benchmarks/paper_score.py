"""Whether a drawing is found on its surface, without a model, for `benchmarks.paper --score`; and the sheet to look at."""

import time
from collections import defaultdict

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from tqdm.auto import tqdm

from benchmarks.paper_pictures import PAGE, PaperOptions, chosen_rows, extra, variants
from caan.data.benchmark import Benchmark
from processing_caan import CAANImageProcessor

SIDE = 64  # pixels; prepared pictures are compared at this size


def likeness(prepared: Image.Image, expected: Image.Image) -> tuple[float, float]:
    """Correlation of ink at 64 x 64 pixels, and intersection over union; both blurred, so that strokes' widths count little."""
    one, two = (small_ink(image) for image in (prepared, expected))
    flat = one.std() == 0 or two.std() == 0
    masks = one > 0.15, two > 0.15
    union = int((masks[0] | masks[1]).sum())
    overlap = int((masks[0] & masks[1]).sum()) / union if union else 1.0
    return 0.0 if flat else float(np.corrcoef(one.ravel(), two.ravel())[0, 1]), overlap


def small_ink(image: Image.Image) -> np.ndarray:
    """(64, 64), 0 white to 1 black."""
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1))
    return 1 - np.asarray(small, np.float32) / 255


def turned(drawing: Image.Image, degrees: float) -> Image.Image:
    """A drawing turned clockwise on white."""
    white = (255, 255, 255)
    return drawing.convert("RGB").rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=white)


def score(options: PaperOptions, benchmark: Benchmark) -> list[dict]:
    """One line a surface: mean likeness of prepared pictures and prepared clean drawings, refused ones as 0.

    Where the page is turned, the better counts of the drawing as it lies and as it was drawn: both are right.
    """
    processor, given = CAANImageProcessor(), extra(options)
    found = defaultdict(list)
    for row in tqdm(chosen_rows(len(benchmark.queries), options.limit or 12), desc="drawings", leave=False):
        drawing = benchmark.queries[row]
        expected = processor.prepare(drawing, "sketch", **given)
        for kind, name, picture, turn in variants(drawing, row, options):
            start = time.perf_counter()
            try:
                prepared = processor.prepare(picture, "sketch", **given)
            except ValueError:
                found[kind, name].append((0.0, 0.0, 1, time.perf_counter() - start))
                continue
            seconds = time.perf_counter() - start
            wanted = [expected, processor.prepare(turned(drawing, turn), "sketch", **given)] if turn else [expected]
            found[kind, name].append((*max(likeness(prepared, image) for image in wanted), 0, seconds))
    return [score_line(kind, name, np.array(values)) for (kind, name), values in found.items()]


def score_line(kind: str, name: str, values: np.ndarray) -> dict:
    """A line of the table of (correlation, overlap, refused, seconds) rows."""
    correlation, overlap, refused, seconds = values.T
    return {
        "surfaces": kind,
        "surface": name,
        "correlation": correlation.mean(),
        "least": correlation.min(),
        "IoU": overlap.mean(),
        "below 0.8": int((correlation < 0.8).sum()),
        "refused": int(refused.sum()),
        "drawings": len(values),
        "ms": 1000 * seconds.mean(),
    }


def draw_sheet(options: PaperOptions, benchmark: Benchmark) -> Image.Image:
    """Pairs of pictures, as given and as prepared, a line a surface in three columns."""
    processor, lines = CAANImageProcessor(), defaultdict(list)
    height, gap = 160, 6
    width = height * PAGE[0] // PAGE[1]
    for row in chosen_rows(len(benchmark.queries), options.limit or 2):
        for kind, name, picture, _ in variants(benchmark.queries[row], row, options):
            cell = Image.new("RGB", (width + height + 2 * gap, height + gap), (120, 120, 140))
            cell.paste(ImageOps.pad(picture.convert("RGB"), (width, height), Image.Resampling.LANCZOS))
            try:
                prepared = processor.prepare(picture, "sketch", **extra(options)).resize((height, height), Image.Resampling.BOX)
                cell.paste(prepared, (width + 2, 0))
            except ValueError as error:
                ImageDraw.Draw(cell).text((width + 6, 20), str(error)[:24], fill="white")
            lines[f"{kind}: {name}"].append(cell)
    columns, rows = 3, -(-len(lines) // 3)
    pairs = max(map(len, lines.values()))
    cell_width, cell_height = width + height + 2 * gap, height + gap + 14
    sheet = Image.new("RGB", (columns * (pairs * cell_width + gap), rows * cell_height), (120, 120, 140))
    pen = ImageDraw.Draw(sheet)
    for number, (name, cells) in enumerate(lines.items()):
        x, y = number // rows * (pairs * cell_width + gap), number % rows * cell_height
        pen.text((x + 2, y + 1), name, fill="white")
        for place, cell in enumerate(cells):
            sheet.paste(cell, (x + place * cell_width, y + 14))
    return sheet
