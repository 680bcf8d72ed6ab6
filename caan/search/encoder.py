"""The model of a gallery: where it comes from, and what it makes of a sketch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pipeline_caan import device_of


@dataclass(frozen=True)
class Source:
    """What a model is loaded from again: the id or folder, as `caan eval` takes it, and the side of a plain vision model's
    input in pixels, None = what its preprocessor makes."""

    model: str
    image_size: int | None = None

    def absolute(self) -> "Source":
        """The same, from whatever folder it is loaded."""
        path = Path(self.model)
        return Source(str(path.resolve()), self.image_size) if path.is_dir() else self

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Source":
        return cls(**json.loads(text))


@dataclass
class Encoder:
    """A model with `get_sketch_features` and `get_image_features`, its image processor, and its source."""

    model: Any
    processor: Any
    source: Source

    @classmethod
    def load(cls, source: Source, device: str | None = None) -> "Encoder":
        """The model of a source on a device; None = the fastest there is.

        Raises:
            ValueError: it cannot be loaded; with the reason.
        """
        from caan.evaluation.retrievers import load_retriever
        from caan.evaluation.run import find_device

        place = find_device(device)
        retriever = load_retriever(source.model, source.image_size)
        return cls(retriever.model.to(place), retriever.processor, source.absolute())

    @torch.inference_mode()
    def sketch(self, sketch: Any) -> np.ndarray:
        """The unit vector (width,) float32 of a sketch, in any form that the processor takes."""
        pixels = self.processor([sketch], modality="sketch", return_tensors="pt")["pixel_values"]
        features = self.model.eval().get_sketch_features(pixels.to(device_of(self.model)))
        return F.normalize(features.float(), dim=-1)[0].cpu().numpy()
