"""`pipeline("sketch-retrieval", model="org/caan-sketchy", trust_remote_code=True)`: photos that a sketch finds in a gallery.

gallery = pipe.encode_gallery("photos/")                  # once; gallery.save("photos.safetensors") keeps it
pipe("sketch.png", gallery=gallery, top_k=5)              # [{"image": "photos/a.jpg", "score": 0.83, "rank": 1}, ...]
pipe(["a.png", "b.png"], gallery="photos.safetensors")    # a list of sketches gives a list of such lists
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

try:  # as a module of the Hub repository
    from .configuration_caan import INSTALLED, PIPELINES
    from .embedding_caan import embed_images, list_images
except ImportError:  # as an installed module
    from embedding_caan import embed_images, list_images

    from configuration_caan import INSTALLED, PIPELINES

GALLERY_SUFFIX = ".safetensors"


@dataclass
class Gallery:
    """Features of pictures, and what names each of them in results.

    Attributes:
        features: (count, hidden_size), made float32 unit vectors on the CPU.
        images: a path, PIL image or whatever names each row; by default its index.
        skipped: pictures that `encode_gallery` could not read and left out.

    Raises ValueError for an empty gallery, features that are no matrix or not finite, or another number of names.
    """

    features: torch.Tensor
    images: Sequence | None = None
    skipped: Sequence = ()

    def __post_init__(self):
        features = torch.as_tensor(self.features).detach().float().cpu()
        if features.ndim != 2 or 0 in features.shape:
            raise ValueError(f"Gallery features must be (count, hidden_size) and not empty, got {tuple(features.shape)}.")
        if bad := (~features.isfinite().all(dim=1)).nonzero().flatten().tolist():
            raise ValueError(f"Gallery features hold NaN or infinity in {len(bad)} rows, first in row {bad[0]}.")
        self.images = range(len(features)) if self.images is None else self.images
        if len(self.images) != len(features):
            raise ValueError(f"There are {len(self.images)} gallery images for {len(features)} rows of features.")
        self.features = F.normalize(features, dim=-1)

    def save(self, path) -> None:
        """Writes a .safetensors file: `features`, and in its metadata `images`, a JSON list of the paths, as they were given.

        Pictures that are no files have no name to keep: loaded again, they are indices.
        """
        if not os.fspath(path).endswith(GALLERY_SUFFIX):
            raise ValueError(f"A gallery's file ends in {GALLERY_SUFFIX}, got {path}.")
        files = [os.fspath(image) for image in self.images if isinstance(image, (str, os.PathLike))]
        metadata = {"images": json.dumps(files)} if len(files) == len(self.images) else None
        save_file({"features": self.features.contiguous()}, path, metadata=metadata)

    @classmethod
    def load(cls, path) -> "Gallery":
        """The gallery of a file that `save` wrote, or of any .safetensors file with a tensor `features`."""
        if not os.path.isfile(path):
            raise ValueError(f"No such gallery file: {path}")
        with safe_open(path, "pt") as file:
            if "features" not in file.keys():  # noqa: SIM118, a safe_open is no mapping
                raise ValueError(f"{path} holds no tensor `features`; it holds {', '.join(file.keys()) or 'none'}.")
            features, metadata = file.get_tensor("features"), file.metadata() or {}
        return cls(features, json.loads(metadata["images"]) if "images" in metadata else None)


class SketchRetrievalPipeline(Pipeline):
    """Ranks the pictures of a gallery by their cosine similarity to a sketch.

    `pipe(sketches, gallery=..., top_k=10)`; `gallery` and `top_k` may also be given to `pipeline(...)`, for every call.
    """

    _load_processor = False
    _load_image_processor = True
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __call__(self, sketches, gallery=None, **options):
        """What each sketch finds.

        Args:
            sketches: a path, URL or PIL image; a list of them, encoded in batches with progress; or a generator or `Dataset`
                of them, answered one by one.
            gallery: a `Gallery` or its .safetensors file; features (count, hidden_size); or pictures to encode now: a folder
                or a list of paths, URLs and PIL images.
            top_k: results a sketch, at most the whole gallery.
            batch_size, num_workers: as in any pipeline; a list of sketches takes 64 at once by default.

        Returns:
            For one sketch a list of `{"image", "score", "rank"}`, best first: the path, PIL image or index in the gallery, the
            cosine similarity as a float, and 1, 2, ...; equals rank in gallery order. For a list, a list of these.

        Raises:
            ValueError: no gallery, an empty one, or one of another width; a blank sketch; an unreadable picture (named).
        """
        if gallery is not None:
            options["gallery"] = gallery
        if not isinstance(sketches, (list, tuple)):
            return super().__call__(sketches, **options)
        loading = {name: options.pop(name, None) for name in ("batch_size", "num_workers")}
        ranking = {**self._postprocess_params, **self._sanitize_parameters(**options)[2]}
        features = self._embed(sketches, "sketch", **loading)
        return [self.postprocess({"features": row[None]}, **ranking) for row in features]

    def encode_gallery(self, images, on_error: str = "raise", progress: bool = True, **loading) -> Gallery:
        """Features of a folder (subfolders too) or a list of pictures, in batches with progress.

        Args:
            images: a folder, or a sequence of paths, URLs and PIL images.
            on_error: "raise", or "skip": unreadable pictures are left out, counted in a warning, and listed in `skipped`.
            loading: `batch_size` (64) and `num_workers` (0) of the loader.

        Raises ValueError for an empty gallery, a folder without pictures, or an unreadable picture (named).
        """
        images = list_images(images) if isinstance(images, (str, os.PathLike)) else list(images)
        if not images:
            raise ValueError("The gallery is empty: give at least one picture.")
        features = self._embed(images, "photo", on_error=on_error, progress=progress, **loading)
        readable = features.isfinite().all(dim=1) | (on_error == "raise")
        if not readable.any():
            raise ValueError(f"None of the {len(images)} pictures of the gallery can be read.")
        kept, skipped = ([image for image, ok in zip(images, readable) if ok == wanted] for wanted in (True, False))
        return Gallery(features[readable], kept, skipped)

    def _embed(self, images, modality: str, **options) -> torch.Tensor:
        options["batch_size"] = options.get("batch_size") or self._batch_size or 64
        options["num_workers"] = options.get("num_workers") or self._num_workers or 0
        with self.device_placement():
            return embed_images(self.model, self.image_processor, images, modality, **options)

    def _sanitize_parameters(self, gallery=None, top_k=None):
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}.")
        options = {"gallery": None if gallery is None else self._as_gallery(gallery), "top_k": top_k}
        return {}, {}, {name: value for name, value in options.items() if value is not None}

    def _as_gallery(self, gallery) -> Gallery:
        if isinstance(gallery, Gallery):
            return gallery
        if isinstance(gallery, (str, os.PathLike)) and os.fspath(gallery).endswith(GALLERY_SUFFIX):
            return Gallery.load(gallery)
        if isinstance(gallery, (torch.Tensor, np.ndarray)):
            return Gallery(gallery)
        return self.encode_gallery(gallery)

    def preprocess(self, sketch):
        return self.image_processor(sketch, modality="sketch", return_tensors="pt")

    def _forward(self, inputs):
        return {"features": self.model.get_sketch_features(inputs["pixel_values"])}

    def postprocess(self, outputs, gallery: Gallery | None = None, top_k: int = 10) -> list[dict]:
        if gallery is None:
            raise ValueError("Say where to search: gallery= a folder, a list of pictures, features, or a .safetensors file.")
        query = F.normalize(outputs["features"].float(), dim=-1).squeeze(0)  # (hidden_size,)
        if gallery.features.shape[1] != len(query):
            raise ValueError(
                f"The gallery's features are {gallery.features.shape[1]} wide, the sketch's {len(query)}: "
                "they come from another model. Encode the gallery with this one (encode_gallery)."
            )
        scores, rows = (gallery.features @ query).sort(descending=True, stable=True)
        best = zip(rows[:top_k].tolist(), scores[:top_k].tolist())
        return [{"image": gallery.images[row], "score": score, "rank": rank} for rank, (row, score) in enumerate(best, 1)]


if INSTALLED:
    for task in PIPELINES:
        PIPELINE_REGISTRY.register_pipeline(task, SketchRetrievalPipeline, pt_model=AutoModel)

__all__ = ["Gallery", "SketchRetrievalPipeline"]
