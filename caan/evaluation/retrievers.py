"""What `caan eval` can compare: a CAAN, any plain vision model as the no-training baseline, and the pixels themselves."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from caan.data.packaged import local_weights
from caan.data.processors import build_image_processor, preprocessed_size
from caan.errors import naming
from caan.evaluation.combination import learned_classes
from caan.evaluation.record import EvaluatedModel
from caan.evaluation.weights import weight_files, weights_fingerprint
from configuration_caan import MODEL_TYPES, CAANConfig, CAANEnsembleConfig
from modeling_caan import CAANEnsembleModel, CAANModel, encoder_config
from pipeline_caan import checked_device, commit_of, probe_pixels
from processing_caan import CAANImageProcessor

PIXELS = "pixels"


@dataclass
class Retriever:
    """A model with `get_sketch_features` and `get_image_features`, and the image processor that feeds it."""

    name: str
    model: nn.Module
    processor: CAANImageProcessor
    identity: EvaluatedModel | None = None

    def to(self, device: torch.device | str) -> torch.device:
        """Moves the model to `device`, or to the CPU where `device` gives it wrong vectors; returns where it is."""
        place = checked_device(self.model, device, probe_pixels(self.processor))
        self.model.to(place)
        return place


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
    """The retriever called `name`: "pixels", the Hub id or folder of a CAAN, single or combined, or of any vision model.

    Args:
        image_size: side in pixels for a plain vision model; by default what its preprocessor makes, else what it was trained
            with.

    A plain vision model is used as it is: it gives its class token, or the mean of its local tokens where it has none, for
    sketches and photos. Of a CLIP or SigLIP the vision part is taken.

    Raises:
        ValueError: nothing can be loaded under this name, the files are damaged or lack weights, it is no vision model, or it
            does not take pictures of that size.
    """
    if name == PIXELS:
        processor = CAANImageProcessor(size={"height": 32, "width": 32})
        return Retriever(name, PixelCorrelation(), processor, EvaluatedModel(seen_classes=[]))
    config = retriever_config(name)
    with naming("model", name):
        if config.model_type in MODEL_TYPES:
            model, processor = load_whole(name), AutoImageProcessor.from_pretrained(name)
        else:
            size = image_size or preprocessed_size(name) or trained_size(encoder_config(config))
            model, processor = frozen_backbone(name), build_image_processor(name, size)
        retriever = Retriever(name, model, processor, identify(name, config))
    require_input(retriever)
    return retriever


def single_config(name: str) -> CAANConfig:
    """The config of a CAAN that can be trained. Raises ValueError where it is a model of another type, or a combined one."""
    config = AutoConfig.from_pretrained(name)
    if config.model_type == CAANEnsembleConfig.model_type:
        raise ValueError("it is a combined model: train its members apart, and combine them anew with caan combine.")
    if config.model_type != CAANConfig.model_type:
        raise ValueError(f"it is no CAAN but a model of type {config.model_type}.")
    return config


def load_caan(name: str) -> CAANModel:
    """A single CAAN, as `load_whole` and `single_config` say."""
    single_config(name)
    return load_whole(name)


def load_whole(name: str) -> CAANModel | CAANEnsembleModel:
    """A CAAN, single or combined, in float32, to measure or to train on from, in eval mode.

    Raises:
        ValueError: weights lack, in whose place it would have random ones.
    """
    model, report = AutoModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
    if lacking := sorted(report["missing_keys"]):
        raise ValueError(f"{len(lacking)} of its weights are missing: {', '.join(lacking[:3])}. Write or download it anew.")
    return model.eval()


def retriever_config(name: str):
    """The config under a name that is not "pixels", without its weights: to find out early what cannot be loaded.

    Raises:
        ValueError: there is none.
    """
    with naming("model", name):
        return AutoConfig.from_pretrained(local_weights(name))


def identify(name: str, config) -> EvaluatedModel:
    """Which model that is: the fingerprint of a folder's weights or the commit on the Hub, and the classes it learned."""
    folder = Path(name)
    return EvaluatedModel(
        weights=weights_fingerprint(folder) if weight_files(folder) else None,
        revision=None if folder.is_dir() else commit_of(name, config),
        seen_classes=learned_classes(name, config.model_type),
    )


@torch.inference_mode()
def require_input(retriever: Retriever) -> None:
    """Raises ValueError where a model takes no pictures of its processor's size: below a patch, or not its one size."""
    height, width = retriever.processor.size["height"], retriever.processor.size["width"]
    try:
        retriever.model.get_image_features(torch.zeros(1, 3, height, width))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"model {retriever.name!r} takes no pictures of {height} x {width} pixels: {reason.rstrip('.')}. Give another "
            "--image_size, such as what it was trained with."
        ) from error


def frozen_backbone(name: str) -> CAANModel:
    """A pretrained vision model in CAAN's clothes: one tower for both modalities, and no projection of our own, neither of its
    vector nor of its local tokens. What is drawn at random is the same each time, so that its fingerprint is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CAANModel.from_encoders_pretrained(local_weights(name), share_vision_encoder=True)
    model.image_encoder.projection = model.relation_network.reduction = nn.Identity()
    return model.eval()


def trained_size(config) -> int:
    """Side of the input that a vision model was trained with, in pixels; 224 where its config does not say."""
    size = getattr(config, "image_size", None) or (getattr(config, "pretrained_cfg", None) or {}).get("input_size", [224])[-1]
    return size if isinstance(size, int) else size[-1]
