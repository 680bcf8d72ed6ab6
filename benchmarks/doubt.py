"""How many drawings keep their pixels, and how often photos and drawings are doubted.

    python -m benchmarks.doubt            # writes benchmarks/results/doubt.md; needs the shared part of Sketchy
    python -m benchmarks.doubt --fit      # prints the weights of `ink_caan.doubt`

Drawings: 500 of Sketchy and 500 of OpenMoji as they are, and the former each on one of `caan.data.surfaces`, of three sizes in
turn, by another seed than that of the doubt's own fit (400 photos, 400 drawings). Photos: 500 of Sketchy.
"""

import argparse
import hashlib
import random
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

import dataset_scripts
from benchmarks.accuracy.study import SHARED
from caan.data.surfaces import SURFACES, on_surface
from ink_caan import find_drawing, is_clean
from processing_caan import CAANImageProcessor, flatten_image

RESULTS = Path(__file__).parent / "results" / "doubt.md"
COUNT, SEED = 500, 77
FIT_COUNT, FIT_SEED = 400, 12
RIDGE = 1.0  # on weights of standardised features
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


def features_of(pictures: list[Image.Image]) -> np.ndarray:
    """`doubt_features` of each picture in which anything was found, (n, 5)."""
    rows = []
    for picture in pictures:
        try:
            rows.append(find_drawing(flatten_image(picture)).features)
        except ValueError:
            continue
    return np.array(rows)


def fit(photos: np.ndarray, drawings: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (5,) and bias of a logistic regression with a ridge, by Newton's method: photos are 1, drawings 0."""
    features, target = np.concatenate([photos, drawings]), np.r_[np.ones(len(photos)), np.zeros(len(drawings))]
    middle, scale = features.mean(axis=0), features.std(axis=0)
    inputs = np.c_[(features - middle) / scale, np.ones(len(features))]
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-inputs @ weights))
        curvature = inputs.T @ (inputs * (likely * (1 - likely))[:, None]) + RIDGE * np.eye(len(weights))
        weights -= np.linalg.solve(curvature, inputs.T @ (likely - target) + RIDGE * weights)
    return weights[:-1] / scale, float(weights[-1] - (weights[:-1] * middle / scale).sum())


def pictures(count: int, seed: int) -> tuple[list[Image.Image], list[Image.Image], list[Image.Image]]:
    """Sketches and photos of Sketchy, and the sketches on surfaces."""
    root, draw = SHARED / "data" / "Sketchy" / "256x256", random.Random(seed)
    sketches = [Image.open(path) for path in draw.sample(sorted((root / "sketch").rglob("*.png")), count)]
    photos = [Image.open(path) for path in draw.sample(sorted(p for p in (root / "photo").rglob("*") if p.is_file()), count)]
    names = list(SURFACES)
    papers = [
        on_surface(sketch.convert("RGB"), names[i % len(names)], np.random.default_rng([seed, i]), SIZES[i % 3])
        for i, sketch in enumerate(sketches)
    ]
    return sketches, photos, papers


def main() -> None:
    """Prints the weights of a new fit, or measures, prints and writes both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="fit the weights anew and print them")
    if parser.parse_args().fit:
        _, photos, papers = pictures(FIT_COUNT, FIT_SEED)
        weights, bias = fit(features_of(photos), features_of(papers))
        print("weights", weights.round(2).tolist(), "bias", round(bias, 2))
        return
    sketches, photos, papers = pictures(COUNT, SEED)
    rows = dataset_scripts.load("openmoji")["train"]
    is_sketch = rows.features["modality"].str2int("sketch")
    icons = [row["image"] for row in rows if row["modality"] == is_sketch][:COUNT]
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
