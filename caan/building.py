"""The model and processor that a recipe asks for, and the optimizer that trains it."""

import json
from collections.abc import Sequence

import torch
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer, get_cosine_schedule_with_warmup

from caan.options import ModelOptions, TrainOptions
from caan.text import train_tokenizer
from configuration_caan import CAANConfig
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor, CAANProcessor

BLOCK_LIST_NAMES = ("layer", "layers", "blocks", "stages", "resblocks")


def build_model(options: ModelOptions, sentences: Sequence[str]) -> tuple[CAANModel, CAANProcessor | CAANImageProcessor]:
    """A CAAN from a checkpoint, from pretrained encoders, or from random weights, with its processor.

    Args:
        sentences: the training classes' descriptions; a tokenizer is trained on them where no text model brings one.

    Raises:
        ValueError or OSError: unknown backbone, wrong field of CAANConfig; the message names it.
    """
    if options.model:
        model = CAANModel.from_pretrained(options.model, dtype=torch.float32)
        load = CAANProcessor if model.config.use_text else CAANImageProcessor
        return model, load.from_pretrained(options.model)
    fields = json.loads(options.model_config)
    tokenizer = None
    if fields.get("use_text", options.text_model is not None or "text_config" in fields):
        if options.text_model:
            tokenizer = AutoTokenizer.from_pretrained(options.text_model)
        else:
            tokenizer = train_tokenizer(sentences, options.tokenizer_vocab_size)
            fields["text_config"] = {**fields.get("text_config", {}), "vocab_size": len(tokenizer)}
    else:
        fields["use_text"] = False
    if options.vision_model:
        model = CAANModel.from_encoders_pretrained(options.vision_model, options.text_model, **fields)
    else:
        model = CAANModel(CAANConfig(**fields))
    image_processor = build_image_processor(options.vision_model, options.image_size)
    freeze_vision_blocks(model, options.freeze_vision_blocks)
    return model, CAANProcessor(image_processor, tokenizer) if tokenizer is not None else image_processor


def build_image_processor(vision_model: str | None, image_size: int) -> CAANImageProcessor:
    """Our processor with the mean and std that the vision model was trained with, or 0.5 where it does not say."""
    statistics = {}
    if vision_model:
        try:
            stock = AutoImageProcessor.from_pretrained(vision_model)
            source = stock.to_dict() if getattr(stock, "image_mean", None) else stock.data_config  # timm's names
            statistics = {"image_mean": list(source.get("image_mean") or source["mean"])}
            statistics["image_std"] = list(source.get("image_std") or source["std"])
        except OSError:
            pass  # no preprocessor_config.json
    return CAANImageProcessor(size={"height": image_size, "width": image_size}, **statistics)


def freeze_vision_blocks(model: CAANModel, count: int) -> None:
    """The embeddings and the first `count` blocks of each vision encoder stop learning; 0 = none of them.

    Raises ValueError when the encoder has fewer blocks, or does not show which they are.
    """
    for tower in model.vision_towers() if count else ():
        blocks = next(
            (m for name, m in tower.encoder.named_modules() if name.rsplit(".", 1)[-1] in BLOCK_LIST_NAMES and len_of(m) > 1),
            None,
        )
        if len_of(blocks) < count:
            raise ValueError(
                f"freeze_vision_blocks is {count}, but {type(tower.encoder).__name__} has {len_of(blocks)} blocks."
            )
        first_free = {id(p) for block in list(blocks)[count:] for p in block.parameters()}
        for parameter in tower.encoder.parameters():  # in the order of use: embeddings, blocks, last norm
            if id(parameter) in first_free:
                break
            parameter.requires_grad_(False)


def len_of(module) -> int:
    """Length of a module list, 0 for anything else."""
    return len(module) if isinstance(module, (nn.ModuleList, nn.Sequential)) else 0


def build_optimizer(model: CAANModel, options: TrainOptions) -> torch.optim.AdamW:
    """AdamW, fused where the device has it. Vision encoders may have a rate of their own; norms and biases do not decay."""
    vision = {id(p) for tower in model.vision_towers() for p in tower.encoder.parameters()}
    vision_rate = options.vision_learning_rate or options.learning_rate
    groups: dict[tuple[bool, bool], list] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in vision, parameter.ndim > 1), []).append(parameter)
    settings = [
        {
            "params": parameters,
            "lr": vision_rate if is_vision else options.learning_rate,
            "weight_decay": options.weight_decay if decays else 0.0,
        }
        for (is_vision, decays), parameters in groups.items()
    ]
    return torch.optim.AdamW(settings, fused=model.device.type in ("cpu", "cuda"))


def build_schedule(optimizer, options: TrainOptions, total_steps: int):
    """Linear warm-up, then a cosine to zero, in optimizer steps."""
    return get_cosine_schedule_with_warmup(optimizer, round(options.warmup_ratio * total_steps), total_steps)
