"""What eval.py can compare: a CAAN, any plain vision model as the no-training baseline, and the pixels themselves."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from caan.data.processors import build_image_processor
from caan.errors import naming
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor

PIXELS = "pixels"


@dataclass
class Retriever:
    """A model with `get_sketch_features` and `get_image_features`, and the image processor that feeds it."""

    name: str
    model: nn.Module
    processor: CAANImageProcessor


class PixelCorrelation(nn.Module):
    """The baseline without any learning: correlation of the gray values of small square pictures; ours."""

    def __init__(self):
        super().__init__()
        self.register_parameter("device_marker", nn.Parameter(torch.zeros(()), requires_grad=False))

    def get_image_features(self, pixel_values):
        """(batch, 3, side, side) -> unit vectors (batch, side * side), mean-free: their product is the correlation."""
        gray = pixel_values.mean(dim=1).flatten(1)
        return F.normalize(gray - gray.mean(dim=1, keepdim=True), dim=-1)

    get_sketch_features = get_image_features


def load_retriever(name: str, image_size: int | None = None) -> Retriever:
    """The retriever called `name`: "pixels", the Hub id or folder of a CAAN, or of any vision model, used as it is.

    Args:
        image_size: side in pixels for a plain vision model; by default what it was trained with.

    A plain vision model gives its class token, or the mean of its local tokens where it has none, for sketches and photos.

    Raises:
        ValueError: nothing can be loaded under this name, or it is no vision model.
    """
    if name == PIXELS:
        return Retriever(name, PixelCorrelation(), CAANImageProcessor(size={"height": 32, "width": 32}))
    with naming("model", name):
        config = AutoConfig.from_pretrained(name)
        if config.model_type == "caan":
            model = AutoModel.from_pretrained(name, dtype=torch.float32)
            return Retriever(name, model.eval(), AutoImageProcessor.from_pretrained(name))
        return Retriever(name, frozen_backbone(name), build_image_processor(name, image_size or trained_size(config)))


def frozen_backbone(name: str) -> CAANModel:
    """A pretrained vision model in CAAN's clothes: one tower for both modalities, and no projection of our own."""
    model = CAANModel.from_encoders_pretrained(name, share_vision_encoder=True)
    model.image_encoder.projection = nn.Identity()
    return model.eval()


def trained_size(config) -> int:
    """Side of the input that a vision model was trained with, in pixels; 224 where its config does not say."""
    size = getattr(config, "image_size", None) or (getattr(config, "pretrained_cfg", None) or {}).get("input_size", [224])[-1]
    return size if isinstance(size, int) else size[-1]
