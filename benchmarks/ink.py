"""How long the processor takes for a picture of a sketch, beside the processor of before and the bare decoding.

    python -m benchmarks.ink            # writes benchmarks/results/ink.md

CPU seconds of this process, the least of several runs: a ratio holds on any machine, a time on none. Before is
`ink_mode="border"`; the shade is on in both, as the recipes have it.
"""

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from caan.data.surfaces import on_surface
from processing_caan import CAANImageProcessor

RESULTS = Path(__file__).parent / "results" / "ink.md"
SHADE = 0.55


def drawing(side: int = 256) -> Image.Image:
    """A clean drawing of a mug."""
    image, unit = Image.new("RGB", (side, side), "white"), side / 256
    draw, width = ImageDraw.Draw(image), round(4 * unit)
    draw.line([(x * unit, y * unit) for x, y in ((60, 60), (70, 210), (150, 210), (160, 60))], "black", width, joint="curve")
    draw.ellipse([value * unit for value in (60, 45, 160, 75)], outline="black", width=width)
    draw.arc([value * unit for value in (130, 90, 215, 170)], -110, 110, "black", width)
    return image


def with_noise(image: Image.Image) -> Image.Image:
    """The picture as a phone's sensor has it: a smooth one is decoded in half the time."""
    noise = np.random.default_rng(0).normal(0, 4, (image.height, image.width, 1))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str) -> bytes:
    """The picture as a file of the form."""
    file = io.BytesIO()
    image.save(file, form, quality=85)
    return file.getvalue()


def milliseconds(call: Callable[[], object], runs: int = 7) -> float:
    """The least CPU time of a call."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def main() -> None:
    """Measures, prints and writes the table."""
    processor = CAANImageProcessor(sketch_shade=SHADE)
    page = on_surface(drawing(1024), "desk", np.random.default_rng(0), (1000, 1000))
    cases = {
        "256 px, clean, PNG": encoded(drawing(), "PNG"),
        "256 px, on paper, JPEG": encoded(on_surface(drawing(), "kraft", np.random.default_rng(0), (256, 256)), "JPEG"),
        "1 MP, on a desk, JPEG": encoded(page, "JPEG"),
        "12 MP, on a desk, JPEG": encoded(with_noise(page.resize((4000, 3000), Image.Resampling.BICUBIC)), "JPEG"),
    }
    rows = ["| picture | bare decoding, ms | before, ms | now, ms | now / before | now / decoding |"]
    rows.append("| --- " + "| ---: " * 5 + "|")
    for name, data in cases.items():
        bare = milliseconds(lambda data=data: Image.open(io.BytesIO(data)).load())
        before, now = (
            milliseconds(lambda data=data, mode=mode: processor(data, modality="sketch", ink_mode=mode, return_tensors="np"))
            for mode in ("border", "auto")
        )
        rows.append(f"| {name} | {bare:.1f} | {before:.1f} | {now:.1f} | {now / before:.2f} | {now / bare:.1f} |")
    text = "\n".join(rows)
    RESULTS.write_text(f"`python -m benchmarks.ink`: CPU time a picture, 224 px, shade {SHADE}.\n\n{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
