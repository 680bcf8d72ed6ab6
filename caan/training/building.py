"""The model and processor that a recipe asks for, and the optimizer that trains it."""

import dataclasses
import json
from collections.abc import Sequence

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoTokenizer

from caan.data.processors import build_image_processor
from caan.data.text import train_tokenizer
from caan.errors import naming, refuse_unknown
from caan.options import ModelOptions
from caan.training.optimizer import freeze_vision_blocks
from configuration_caan import CAANConfig
from modeling_caan import CAANModel, copy_weights, load_encoder
from processing_caan import CAANImageProcessor, CAANProcessor


def build_model(options: ModelOptions, sentences: Sequence[str]) -> tuple[CAANModel, CAANProcessor | CAANImageProcessor]:
    """A CAAN from a checkpoint, from pretrained encoders, or from random weights, with its processor.

    Args:
        sentences: the training classes' descriptions; a tokenizer is trained on them where no text model brings one. Read
            only where `uses_text(options)`.

    Raises:
        ValueError: unknown backbone, checkpoint that cannot be loaded, wrong field of CAANConfig; the message names it.
    """
    if options.model:
        with naming("model", options.model):
            model = CAANModel.from_pretrained(options.model, dtype=torch.float32)
            load = CAANProcessor if model.config.use_text else CAANImageProcessor
            processor = load.from_pretrained(options.model)
        freeze_vision_blocks(model, options.freeze_vision_blocks)
        return model, processor
    fields = {**config_fields(options.model_config), "use_text": uses_text(options)}
    tokenizer = None
    if fields["use_text"] and options.text_model:
        with naming("text_model", options.text_model):
            tokenizer = AutoTokenizer.from_pretrained(options.text_model)
    elif fields["use_text"]:
        tokenizer = train_tokenizer(sentences, options.tokenizer_vocab_size)
        fields["text_config"] = {**(fields.get("text_config") or {}), "vocab_size": len(tokenizer)}
    model = warm_start(options, fields)
    require_size(model, options.image_size)
    image_processor = build_image_processor(options.vision_model, options.image_size, options.sketch_shade)
    freeze_vision_blocks(model, options.freeze_vision_blocks)
    return model, CAANProcessor(image_processor, tokenizer) if tokenizer is not None else image_processor


def require_size(model: CAANModel, image_size: int) -> None:
    """Raises ValueError where an input is smaller than a patch of the vision encoder, from which nothing could be read."""
    patch = getattr(model.config.vision_config, "patch_size", 1)
    patch = patch if isinstance(patch, int) else max(patch)
    if image_size < patch:
        raise ValueError(f"image_size is {image_size}, less than one patch of the vision encoder, {patch} pixels: raise it.")


def uses_text(options: ModelOptions) -> bool:
    """Whether the model of these options learns with text: as it says, or where it names a text encoder."""
    if options.model:
        with naming("model", options.model):
            return CAANConfig.from_pretrained(options.model).use_text
    fields = config_fields(options.model_config)
    return fields.get("use_text", options.text_model is not None or "text_config" in fields)


def warm_start(options: ModelOptions, fields: dict) -> CAANModel:
    """A CAAN of these config fields whose encoders start from `vision_model` and `text_model`, where they are given."""
    pretrained = {}
    for kind in ("vision", "text") if fields["use_text"] else ("vision",):
        if name := getattr(options, f"{kind}_model"):
            with naming(f"{kind}_model", name):
                pretrained[kind] = load_encoder(name, kind)
            fields[f"{kind}_config"] = pretrained[kind][0].config
    try:
        model = CAANModel(CAANConfig(**fields))
    except StrictDataclassError as error:
        raise ValueError(f"model_config: {error}") from error
    if "text" in pretrained:
        copy_weights(pretrained["text"][0], model.text_encoder, pretrained["text"][1])
    for tower in model.vision_towers() if "vision" in pretrained else ():
        tower.warm_start(*pretrained["vision"])
    return model


def config_fields(text: str) -> dict:
    """The option `model_config` as a mapping. Raises ValueError naming an unknown field or an unknown type of encoder."""
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"model_config is no JSON: {error}. Got: {text}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"model_config must be a mapping of CAANConfig's fields, got {text}.")
    refuse_unknown("model_config has no field", fields, [field.name for field in dataclasses.fields(CAANConfig)])
    for encoder in CAANConfig.sub_configs:
        if isinstance(fields.get(encoder), dict) and "model_type" in fields[encoder]:
            refuse_unknown(
                f"{encoder}: transformers knows no model_type", [fields[encoder]["model_type"]], CONFIG_MAPPING.keys()
            )
    return fields
