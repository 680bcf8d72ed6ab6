"""How many drawings keep their pixels, and how often photos and drawings are doubted.

    python -m benchmarks.doubt            # writes benchmarks/results/doubt.md; needs the shared part of Sketchy

Drawings: 500 of Sketchy and 500 of OpenMoji as they are, and the former each on one of `caan.data.surfaces`, of three sizes in
turn, by another seed than that of the doubt's own fit. Photos: 500 of Sketchy.
"""

import hashlib
import random
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

import dataset_scripts
from benchmarks.accuracy.study import SHARED
from caan.data.surfaces import SURFACES, on_surface
from ink_caan import is_clean
from processing_caan import CAANImageProcessor, flatten_image

RESULTS = Path(__file__).parent / "results" / "doubt.md"
COUNT, SEED = 500, 77
SIZES = ((600, 800), (256, 256), (400, 300))


def digest(images: list[Image.Image]) -> str:
    """SHA-256 of all pixels."""
    state = hashlib.sha256()
    for image in images:
        state.update(np.asarray(image).tobytes())
    return state.hexdigest()[:16]


def kept(name: str, drawings: list[Image.Image]) -> str:
    """A row: the share of clean drawings, and whether their pixels are those of before."""
    processor = CAANImageProcessor()
    clean = [image for image in drawings if is_clean(flatten_image(image), processor.ink_width)]
    now, before = (
        digest([processor.prepare(image, "sketch", ink_mode=mode) for image in clean]) for mode in ("auto", "border")
    )
    return f"| {name} | {len(drawings)} | {len(clean) / len(drawings):.3f} | {now} | {before} |"


def doubted(name: str, pictures: list[Image.Image]) -> str:
    """A row: shares of pictures that are refused, and that are refused or warned of."""
    processor, refused, warned = CAANImageProcessor(), 0, 0
    for picture in pictures:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                processor.prepare(picture, "sketch")
                warned += bool(told)
            except ValueError:
                refused += 1
    return f"| {name} | {len(pictures)} | {refused / len(pictures):.3f} | {(refused + warned) / len(pictures):.3f} |"


def main() -> None:
    """Measures, prints and writes both tables."""
    root = SHARED / "data" / "Sketchy" / "256x256"
    draw = random.Random(SEED)
    sketches = [Image.open(path) for path in draw.sample(sorted((root / "sketch").rglob("*.png")), COUNT)]
    photos = [Image.open(path) for path in draw.sample(sorted(p for p in (root / "photo").rglob("*") if p.is_file()), COUNT)]
    rows = dataset_scripts.load("openmoji")["train"]
    is_sketch = rows.features["modality"].str2int("sketch")
    icons = [row["image"] for row in rows if row["modality"] == is_sketch][:COUNT]
    names = list(SURFACES)
    papers = [
        on_surface(sketch.convert("RGB"), names[i % len(names)], np.random.default_rng([SEED, i]), SIZES[i % 3])
        for i, sketch in enumerate(sketches)
    ]
    lines = [f"`python -m benchmarks.doubt`, seed {SEED}", "", "| drawings | | clean | pixels now | before |"]
    lines += ["| --- | ---: | ---: | --- | --- |", kept("Sketchy", sketches), kept("OpenMoji", icons), ""]
    lines += ["| pictures | | refused | refused or warned of |", "| --- | ---: | ---: | ---: |"]
    lines += [
        doubted("Sketchy's photos", photos),
        doubted("drawings on surfaces", papers),
        doubted("drawings as they are", sketches),
    ]
    text = "\n".join(lines)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
