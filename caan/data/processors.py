"""The image processor that fits a vision model, and the one that a finished model is used with."""

import copy

from transformers import AutoImageProcessor

from processing_caan import CAANImageProcessor


def build_image_processor(vision_model: str | None, image_size: int, sketch_shade: float = 0.0) -> CAANImageProcessor:
    """Our processor with the mean and std that the vision model was trained with, or 0.5 where it does not say."""
    statistics = {}
    if vision_model:
        try:
            stock = AutoImageProcessor.from_pretrained(vision_model)
            source = getattr(stock, "data_config", None) or stock.to_dict()  # timm has names of its own
            statistics = {f"image_{name}": source.get(f"image_{name}") or source.get(name) for name in ("mean", "std")}
        except OSError:
            pass  # no preprocessor_config.json
    statistics = {name: list(values) for name, values in statistics.items() if values}
    return CAANImageProcessor(size={"height": image_size, "width": image_size}, sketch_shade=sketch_shade, **statistics)


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
