"""The model and processor that a recipe asks for, and the optimizer that trains it."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoTokenizer, PreTrainedTokenizerBase

from caan.data.encoders import check_encoder
from caan.data.packaged import local_weights
from caan.data.processors import build_image_processor
from caan.data.text import train_tokenizer
from caan.errors import naming, refuse_unknown
from caan.evaluation.retrievers import load_caan, single_config
from caan.options import ModelOptions
from caan.parsing import without_doubles
from caan.training.effect import require_default, require_effect, require_same
from caan.training.tuning import tune_encoders
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
    require_effect(options, uses_text(options))
    if options.model:
        model, processor = load_whole(options)
        image_processor: Any = getattr(processor, "image_processor", processor)
        require_input(model, image_processor.size["height"], options.inference_image_size)
        tune_encoders(model, options)
        return model, processor
    fields = {**config_fields(options.model_config), "use_text": uses_text(options)}
    tokenizer = build_tokenizer(options, sentences) if fields["use_text"] else None
    if tokenizer is not None and not options.text_model:
        given = fields.get("text_config") or {}
        require_same(given.get("vocab_size"), len(tokenizer), "the tokenizer", "model_config.text_config.vocab_size")
        fields["text_config"] = {**given, "vocab_size": len(tokenizer)}
    model = warm_start(options, fields)
    require_loss(model.config, bool(options.teacher_model))
    require_sentences(model)
    require_input(model, options.image_size, options.inference_image_size)
    image_processor = build_image_processor(options.vision_model, options.image_size, options.sketch_shade)
    tune_encoders(model, options)
    return model, CAANProcessor(image_processor, tokenizer) if tokenizer is not None else image_processor


def load_whole(options: ModelOptions) -> tuple[CAANModel, CAANProcessor | CAANImageProcessor]:
    """The CAAN that the option `model` names, and its processor. Raises ValueError where other options say other things."""
    with naming("model", str(options.model)):
        model = load_caan(str(options.model))
        load = CAANProcessor if model.config.use_text else CAANImageProcessor
        processor = load.from_pretrained(options.model)
    image_processor = getattr(processor, "image_processor", processor)
    owner = f"model {options.model!r}"
    require_same(config_fields(options.model_config), model.config, owner, "model_config")
    require_default(options, "image_size", owner, image_processor.size["height"])
    require_default(options, "sketch_shade", owner, image_processor.sketch_shade)
    return model, processor


def build_tokenizer(options: ModelOptions, sentences: Sequence[str]) -> PreTrainedTokenizerBase:
    """The text model's tokenizer, or one that is trained on the sentences."""
    if not options.text_model:
        return train_tokenizer(sentences, options.tokenizer_vocab_size)
    require_default(options, "tokenizer_vocab_size", f"text_model {options.text_model!r}")
    with naming("text_model", options.text_model):
        return AutoTokenizer.from_pretrained(local_weights(options.text_model))


@torch.no_grad()
def require_input(model: CAANModel, image_size: int, inference_image_size: int = 0) -> None:
    """Shows the model a picture of each size that a run has, in training and in validation; its state stays as it was.

    Raises:
        ValueError: naming the size that it does not take: below a patch, or not the one size of the encoder; or the encoder
            cannot take pictures at all, as with stages that do not fit each other.
    """
    patch = getattr(model.config.vision_config, "patch_size", 1)
    patch = patch if isinstance(patch, int) else max(patch)
    training, sides = model.training, {"image_size": image_size, "inference_image_size": inference_image_size or image_size}
    for name, side in sides.items():
        if side < patch:
            raise ValueError(f"{name} is {side}, less than one patch of the vision encoder, {patch} pixels: raise it.")
        try:
            with torch.random.fork_rng(devices=[]):
                model.eval().get_image_features(torch.zeros(1, 3, side, side))
        except Exception as error:  # each library has its own
            encoder, reason = type(model.image_encoder.encoder).__name__, " ".join(str(error).split())[:300].rstrip(".")
            raise ValueError(
                f"The vision encoder ({encoder}) takes no pictures of {name} {side}: {type(error).__name__}: {reason}. Give "
                "another size, or another model_config.vision_config."
            ) from error
        finally:
            model.train(training)


@torch.no_grad()
def require_sentences(model: CAANModel) -> None:
    """Shows the text encoder of a model that learns with text a sentence of the greatest length; its state stays as it was.

    Raises:
        ValueError: it cannot read so many tokens: some count their positions from 2 on.
    """
    if not model.config.use_text:
        return
    length, training = model.config.max_description_tokens, model.training
    padding = getattr(model.config.text_config, "pad_token_id", None)
    ids = torch.full((1, 1, length), 1 if padding == 0 else 0)  # any token that is none of padding
    try:
        with torch.random.fork_rng(devices=[]):
            model.eval().encode_descriptions(ids, torch.ones_like(ids))
    except Exception as error:  # each library has its own
        encoder, reason = type(model.text_encoder).__name__, " ".join(str(error).split())[:300].rstrip(".")
        raise ValueError(
            f"The text encoder ({encoder}) reads no sentences of {length} tokens: {type(error).__name__}: {reason}. Lower "
            "model_config.max_description_tokens, or change model_config.text_config."
        ) from error
    finally:
        model.train(training)


def require_loss(config: CAANConfig, has_teacher: bool) -> None:
    """Raises ValueError where every loss that a model has is weighted by 0: nothing would be learnt."""
    more = [name for name, used in (("lambda_text", config.use_text), ("lambda_teacher", has_teacher)) if used]
    names = ("lambda_tri", "lambda_rn", "lambda_con", "lambda_instance", *more)
    if not any(getattr(config, name) for name in names):
        raise ValueError(f"model_config: {', '.join(names)} are all 0, so that nothing would be learnt: raise one.")


def uses_text(options: ModelOptions) -> bool:
    """Whether the model of these options learns with text: as it says, or where it names a text encoder."""
    if options.model:
        with naming("model", options.model):
            return single_config(options.model).use_text
    fields = config_fields(options.model_config)
    return fields.get("use_text", options.text_model is not None or "text_config" in fields)


def warm_start(options: ModelOptions, fields: dict) -> CAANModel:
    """A CAAN of these config fields whose encoders start from `vision_model` and `text_model`, where they are given."""
    pretrained = {}
    for kind in ("vision", "text") if fields["use_text"] else ("vision",):
        if name := getattr(options, f"{kind}_model"):
            with naming(f"{kind}_model", name):
                pretrained[kind] = load_encoder(local_weights(name), kind)
            require_same(
                fields.get(f"{kind}_config"), pretrained[kind][0].config, f"{kind}_model", f"model_config.{kind}_config"
            )
            fields[f"{kind}_config"] = pretrained[kind][0].config
        elif fields.get(f"{kind}_config"):
            check_encoder(f"{kind}_config", fields[f"{kind}_config"])
    model = make_model(fields)
    if "text" in pretrained:
        copy_weights(pretrained["text"][0], model.text_encoder, pretrained["text"][1])
    for tower in model.vision_towers() if "vision" in pretrained else ():
        tower.warm_start(*pretrained["vision"])
    return model


def make_model(fields: dict) -> CAANModel:
    """A CAAN of these config fields, with random weights.

    Raises:
        ValueError: none can be made of them; one line, whatever a library raises on a value that it does not take.
    """
    try:
        return CAANModel(CAANConfig(**fields))
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"no model can be made of it, {type(error).__name__}: "
        raise ValueError(f"model_config: {kind}{' '.join(str(error).split())}") from error


def config_fields(text: str) -> dict:
    """The option `model_config` as a mapping. Raises ValueError naming an unknown field or an unknown type of encoder."""
    try:
        fields = json.loads(text, object_pairs_hook=without_doubles)
        json.dumps(fields, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"model_config is no JSON: {error}. Got: {text}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"model_config must be a mapping of CAANConfig's fields, got {text}.")
    refuse_unknown("model_config has no field", fields, [field.name for field in dataclasses.fields(CAANConfig)])
    for encoder in CAANConfig.sub_configs:
        if not isinstance(fields.get(encoder), dict | None):
            raise ValueError(f"model_config: {encoder!r} must be a mapping of its fields, got {fields[encoder]!r}.")
        if isinstance(fields.get(encoder), dict) and "model_type" in fields[encoder]:
            refuse_unknown(
                f"{encoder}: transformers knows no model_type", [fields[encoder]["model_type"]], CONFIG_MAPPING.keys()
            )
    return fields
