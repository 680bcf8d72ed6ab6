"""What `benchmarks/search.py` searches: vectors of two kinds, queries, and which rows are the best."""

import os
from pathlib import Path

import numpy as np

SHARED = Path(os.environ.get("CAAN_SHARED", Path(__file__).parents[2] / "shared"))
SKETCHY = SHARED / "data" / "Sketchy" / "256x256"
PART = 50_000  # vectors that are made, written or multiplied at once
IMAGE_SIZE = 112  # pixels: a quarter of the time that 224 takes, and vectors are alike enough to photos' for a search
NOISE = 0.005  # a dimension: a tenth of a vector's length at a width of 384
FOLDERS = 10  # of equal size: a search is restricted to one


def in_folder(rows: np.ndarray) -> np.ndarray:
    """Whether rows are in the folder that a search is restricted to."""
    return rows % FOLDERS == 0


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def encodings(work: Path, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of the shared photos and of some sketches; kept in `work`, since they take minutes."""
    kept = work / "encodings.npz"
    if not kept.exists():
        from caan.evaluation.retrievers import load_retriever  # here, since every fresh process imports this file
        from pipeline_caan import embed_images

        retriever = load_retriever(str(SHARED / "models" / "vit-small-patch14"), IMAGE_SIZE)
        sketches = sorted((SKETCHY / "sketch").rglob("*.png"))
        model, processor = retriever.model, retriever.processor
        chosen = [str(path) for path in sketches[:: max(1, len(sketches) // queries)][:queries]]
        photos = embed_images(model, processor, str(SKETCHY / "photo"), "photo")
        np.savez(kept, photos=photos.numpy(), sketches=embed_images(model, processor, chosen, "sketch").numpy())
    arrays = np.load(kept)
    return unit(arrays["photos"]), unit(arrays["sketches"])[:queries]


def make_data(kind: str, count: int, width: int, queries: int, work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (count, width) float16, mapped from a file, and queries (queries, width) float32, all of unit length."""
    rng = np.random.default_rng(0)
    photos, asked = encodings(work, queries) if kind == "photos" else (None, rng.standard_normal((queries, width)))
    vectors = np.lib.format.open_memmap(work / f"{kind}_{count}.npy", "w+", np.float16, (count, asked.shape[1]))
    for start in range(0, count, PART):
        part = vectors[start : start + PART]
        drawn = rng.standard_normal(part.shape, dtype=np.float32)
        if photos is not None:
            one, other = rng.integers(len(photos), size=(2, len(part)))
            share = rng.random((len(part), 1), dtype=np.float32)
            drawn = share * photos[one] + (1 - share) * photos[other] + NOISE * drawn
        part[:] = unit(drawn)
    return vectors, unit(asked).astype(np.float32)


def truth(vectors: np.ndarray, queries: np.ndarray, top_k: int, filtered: bool = False) -> np.ndarray:
    """The best rows of each query, in no order; filtered: of those in the folder."""
    rows = np.arange(len(vectors))
    scores = np.concatenate(
        [queries @ vectors[start : start + PART].astype(np.float32).T for start in range(0, len(vectors), PART)], axis=1
    )
    if filtered:
        scores[:, ~in_folder(rows)] = -np.inf
    return np.argpartition(-scores, top_k, axis=1)[:, :top_k]


def thumbnail_bytes() -> int:
    """The mean of the shared photos' thumbnails, by a hundred of them; 16,000 where there are none."""
    from PIL import Image

    from caan.search.encoding import make_thumbnail

    photos = sorted((SKETCHY / "photo").rglob("*.jpg"))
    sizes = [len(make_thumbnail(Image.open(path).convert("RGB"))) for path in photos[:: max(1, len(photos) // 100)]]
    return round(float(np.mean(sizes))) if sizes else 16_000
