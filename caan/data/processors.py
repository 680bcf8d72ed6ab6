"""The image processor that fits a vision model, and the one that a finished model is used with."""

import copy
from pathlib import Path

from transformers import AutoImageProcessor

from caan.data.packaged import local_weights
from processing_caan import CAANImageProcessor


def build_image_processor(vision_model: str | None, image_size: int, sketch_shade: float = 0.0) -> CAANImageProcessor:
    """Our processor with the mean and std that the vision model was trained with, or 0.5 where it does not say."""
    source = stock_settings(vision_model) if vision_model else {}
    statistics = {f"image_{name}": source.get(f"image_{name}") or source.get(name) for name in ("mean", "std")}
    statistics = {name: list(values) for name, values in statistics.items() if values}
    return CAANImageProcessor(size={"height": image_size, "width": image_size}, sketch_shade=sketch_shade, **statistics)


def stock_settings(vision_model: str) -> dict:
    """What a vision model's preprocessor_config.json says; empty where there is none.

    Raises OSError where a folder has one that cannot be read: another size and other colours would be taken unseen.
    """
    vision_model = local_weights(vision_model)
    try:
        stock = AutoImageProcessor.from_pretrained(vision_model)
    except OSError:
        if (Path(vision_model) / "preprocessor_config.json").exists():
            raise
        return {}
    return getattr(stock, "data_config", None) or stock.to_dict()  # timm has names of its own


def preprocessed_size(vision_model: str) -> int | None:
    """Side in pixels of what a vision model's preprocessor makes, the crop where it crops; None where it does not say."""
    stock = stock_settings(vision_model)
    size = (stock.get("do_center_crop") and stock.get("crop_size")) or stock.get("size") or stock.get("input_size")
    if isinstance(size, dict):  # {"height", "width"}, {"shortest_edge"}, ...
        size = list(size.values())
    return size if isinstance(size, int) else int(size[-1]) if size else None


def inference_processor(processor, inference_image_size: int):
    """A copy of the processor, alone or with a tokenizer, that makes pictures of that size; 0 = as they are.

    Training crops show things larger than whole pictures do, so that a somewhat larger input at inference fits better what was
    learnt (Touvron et al., "Fixing the train-test resolution discrepancy", 2019).
    """
    processor = copy.deepcopy(processor)
    if inference_image_size:
        side = inference_image_size
        getattr(processor, "image_processor", processor).size = {"height": side, "width": side}
    return processor
