"""The two limits of a search's answer (`caan/search/results.py`): what is a near-copy, and what is "nothing similar".

    OMP_NUM_THREADS=1 python -m benchmarks.search_limits                           # a frozen ViT; five minutes on one core
    python -m benchmarks.search_limits --models outputs/sketchy openai/clip-vit-base-patch32

Photos and sketches are Sketchy's in the folder `shared` beside the repository (or $CAAN_SHARED); a CAAN may have been trained
on some of their classes.

near_copies: of a quarter of the photos, the share whose copy at JPEG quality 75, or at half the size, joins them; and of all
photos, the share that joins a different one. "moved" is the same model with one vector added to all: as near to each other as
the vectors of CLIP and of others are that keep to a part of the space; it stands in for their weights, which are not here.

nothing_similar: shares of sketches to which it is said, in galleries of photos of half the classes, drawn ten times. area: how
often the standing of a sketch whose class is in the gallery is above that of one whose class is not; .5 is chance.
"""

import argparse
import io
import json
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from caan.evaluation.retrievers import load_retriever
from caan.search.gallery import SAMPLE
from caan.search.results import NEAR, STANDING, near_limit, standing_of
from pipeline_caan import embed_images

SHARED = Path(os.environ.get("CAAN_SHARED", Path(__file__).parents[2] / "shared"))
RESULT = Path(__file__).parent / "results" / "search_limits.json"
SKETCHES = 260
GALLERIES, DRAWS = (100, 500), 10  # photos, and how often they are drawn
CUTS = (STANDING, -0.5, 0.0)


def jpeg(path: Path) -> Image.Image:
    """The photo at JPEG quality 75."""
    stream = io.BytesIO()
    Image.open(path).convert("RGB").save(stream, "JPEG", quality=75)
    return Image.open(stream)


def half(path: Path) -> Image.Image:
    """The photo at half its size."""
    image = Image.open(path).convert("RGB")
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def some(paths: list[Path], count: int) -> list[Path]:
    """About `count` of them, evenly spaced: of all classes."""
    return paths[:: max(1, len(paths) // count)]


def encode(model: str, photos: list[Path], sketches: list[Path], kept: Path) -> dict[str, np.ndarray]:
    """Unit vectors, rounded as a gallery keeps them; of copies of every fourth photo. From the file `kept` if there."""
    if kept.exists():
        return dict(np.load(kept))
    retriever = load_retriever(model)
    inputs = {
        "photos": (list(map(str, photos)), "photo"),
        "jpeg": (list(map(jpeg, photos[::4])), "photo"),
        "half": (list(map(half, photos[::4])), "photo"),
        "sketches": (list(map(str, sketches)), "sketch"),
    }
    encoded = {name: embed_images(retriever.model, retriever.processor, *what).numpy() for name, what in inputs.items()}
    rounded = {name: vectors.astype(np.float16).astype(np.float32) for name, vectors in encoded.items()}
    np.savez(kept, **rounded)
    return rounded


def moved(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors with one vector of their length added to all."""
    added = vectors + 1 / np.sqrt(vectors.shape[1])
    return (added / np.linalg.norm(added, axis=1, keepdims=True)).astype(np.float32)


def near_copies(vectors: dict[str, np.ndarray]) -> dict:
    """Shares that join, by the fixed limit and by the one that is used."""
    photos = vectors["photos"]
    among = photos @ photos.T
    np.fill_diagonal(among, -1)
    sample = photos[np.linspace(0, len(photos) - 1, min(SAMPLE, len(photos))).astype(int)]
    result = {"mean_cosine": float((among.sum() + len(among)) / len(among) / (len(among) - 1)), "nearest": float(among.max())}
    for name, limit in (("fixed", NEAR), ("used", near_limit(sample))):
        shares = {kind: float(((photos[::4] * vectors[kind]).sum(axis=1) >= limit).mean()) for kind in ("jpeg", "half")}
        result[name] = {"limit": limit, **shares, "different": float((among.max(axis=1) >= limit).mean())}
    return result


def nothing_similar(vectors: dict[str, np.ndarray], photo_classes: np.ndarray, sketch_classes: np.ndarray, count: int) -> dict:
    """Shares of sketches to which it is said, by whether their class is in a gallery of `count` photos, and by cut."""
    rng, classes = np.random.default_rng(0), np.unique(photo_classes)
    standing, present = [], []
    for _ in range(DRAWS):
        chosen = rng.permutation(classes)[: len(classes) // 2]
        rows = np.flatnonzero(np.isin(photo_classes, chosen))
        rows = rng.choice(rows, min(count, len(rows)), replace=False)
        scores = vectors["sketches"] @ vectors["photos"][rows].T
        standing += [standing_of(row.max(), row, len(rows)) for row in scores]
        present += np.isin(sketch_classes, photo_classes[rows]).tolist()
    values, there = np.array(standing), np.array(present)
    shares = {f"{cut:g}": {"present": float((values[there] < cut).mean()), "absent": float((values[~there] < cut).mean())}
              for cut in CUTS}  # fmt: skip
    area = float((values[there][:, None] > values[~there]).mean())
    return {"area": area, "said": shares}


def measure(model: str, count: int, work: Path) -> dict[str, dict]:
    """All numbers of a model, and of the same one moved."""
    folder = SHARED / "data" / "Sketchy" / "256x256"
    photos = some(sorted((folder / "photo").rglob("*.jpg")), count)
    sketches = some(sorted((folder / "sketch").rglob("*.png")), SKETCHES)
    if not photos or not sketches:
        raise SystemExit(f"There is no Sketchy in {folder}: set CAAN_SHARED.")
    classes = [np.array([path.parent.name for path in paths]) for paths in (photos, sketches)]
    name = Path(model).name
    vectors = encode(model, photos, sketches, work / f"{name}_{len(photos)}.npz")
    similar = {str(size): nothing_similar(vectors, *classes, size) for size in GALLERIES}
    other = near_copies({kind: moved(rows) for kind, rows in vectors.items()})
    return {
        name: {"photos": len(photos), "near_copies": near_copies(vectors), "nothing_similar": similar},
        f"{name}, moved": {"photos": len(photos), "near_copies": other},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [str(SHARED / "models" / "vit-small-patch14")]
    parser.add_argument("--models", nargs="+", default=default, help="ids or folders, as caan eval takes them")
    parser.add_argument("--photos", type=int, default=1300, help="(default: %(default)s)")
    parser.add_argument("--work", type=Path, help="folder that keeps the vectors for the next call")
    given = parser.parse_args()
    models: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in given.models:
            models |= measure(model, given.photos, given.work or Path(folder))
    machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    models = json.loads(json.dumps(models), parse_float=lambda text: round(float(text), 4))
    text = json.dumps({"limits": {"near": NEAR, "standing": STANDING}, "machine": machine, "models": models}, indent=2)
    RESULT.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
