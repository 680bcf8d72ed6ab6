"""The model and processor that a recipe asks for, and the optimizer that trains it."""

import copy
import dataclasses
import difflib
import json
from collections.abc import Collection, Iterable, Sequence
from contextlib import contextmanager

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import CONFIG_MAPPING, AutoImageProcessor, AutoTokenizer, get_cosine_schedule_with_warmup

from caan.options import ModelOptions, TrainOptions
from caan.text import train_tokenizer
from configuration_caan import CAANConfig
from encoders_caan import copy_weights, load_encoder
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor, CAANProcessor

BLOCK_LIST_NAMES = ("layer", "layers", "blocks", "stages", "resblocks")


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
            return model, load.from_pretrained(options.model)
    fields = {**config_fields(options.model_config), "use_text": uses_text(options)}
    tokenizer = None
    if fields["use_text"] and options.text_model:
        with naming("text_model", options.text_model):
            tokenizer = AutoTokenizer.from_pretrained(options.text_model)
    elif fields["use_text"]:
        tokenizer = train_tokenizer(sentences, options.tokenizer_vocab_size)
        fields["text_config"] = {**(fields.get("text_config") or {}), "vocab_size": len(tokenizer)}
    model = warm_start(options, fields)
    image_processor = build_image_processor(options.vision_model, options.image_size, options.sketch_shade)
    freeze_vision_blocks(model, options.freeze_vision_blocks)
    return model, CAANProcessor(image_processor, tokenizer) if tokenizer is not None else image_processor


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
                pretrained[kind] = load_encoder(name)
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


def refuse_unknown(problem: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raises ValueError for a name that is not known, with the nearest one that is."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            raise ValueError(f"{problem} {name!r}{f', did you mean {near[0]!r}?' if near else '.'}")


@contextmanager
def naming(option: str, value: str):
    """Errors of loading from the Hub or a folder begin with the option that named it: the Hub's own may not."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(f"{option} {value!r} cannot be loaded: {error}") from error


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


def inference_processor(processor, options: ModelOptions):
    """A copy of the processor, alone or with a tokenizer, that makes pictures of `inference_image_size`.

    Training crops show things larger than whole pictures do, so that a somewhat larger input at inference fits better what was
    learnt (Touvron et al., "Fixing the train-test resolution discrepancy", 2019).
    """
    processor = copy.deepcopy(processor)
    if options.inference_image_size:
        side = options.inference_image_size
        getattr(processor, "image_processor", processor).size = {"height": side, "width": side}
    return processor


def freeze_vision_blocks(model: CAANModel, count: int) -> None:
    """The embeddings and the first `count` blocks of each vision encoder stop learning; 0 = none of them.

    Raises ValueError when the encoder has fewer blocks, or does not show which they are.
    """
    for tower in model.vision_towers() if count else ():
        blocks = vision_blocks(tower.encoder)
        if len(blocks) < count:
            raise ValueError(f"freeze_vision_blocks is {count}, but {type(tower.encoder).__name__} has {len(blocks)} blocks.")
        for parameter, depth in parameter_depths(tower.encoder).items():
            if depth <= count:
                parameter.requires_grad_(False)


def vision_blocks(encoder) -> list[nn.Module]:
    """The blocks of a vision encoder from the input on; empty where it does not show which they are."""
    named = encoder.named_modules()
    return list(next((m for name, m in named if name.rsplit(".", 1)[-1] in BLOCK_LIST_NAMES and len_of(m) > 1), ()))


def parameter_depths(encoder) -> dict[nn.Parameter, int]:
    """How deep each parameter lies: 0 = embeddings, i = block i counted from 1, one more than there are blocks = what follows.

    Read from the order of use, which is that of `parameters()`: what stands between two blocks belongs to the first.
    """
    first = {next(block.parameters()): number for number, block in enumerate(vision_blocks(encoder), start=1)}
    within = {p for block in vision_blocks(encoder) for p in block.parameters()}
    depths, depth = {}, 0
    for parameter in encoder.parameters():
        depth = first.get(parameter, depth)
        depths[parameter] = depth
    last = max(first.values(), default=0)
    rest = [p for p, d in depths.items() if d == last and p not in within] if last else []
    return depths | dict.fromkeys(rest, last + 1)


def len_of(module) -> int:
    """Length of a module list, 0 for anything else."""
    return len(module) if isinstance(module, (nn.ModuleList, nn.Sequential)) else 0


def build_optimizer(model: CAANModel, options: TrainOptions) -> torch.optim.AdamW:
    """AdamW, fused where the device has it; norms and biases do not decay.

    Vision encoders may have a rate of their own, and with `layer_decay` each block one that is lower than the next one's: what
    lies near the input is the most general part of a pretrained encoder.
    """
    vision_rate = options.vision_learning_rate or options.learning_rate
    rates = {}
    for tower in model.vision_towers():
        depths = parameter_depths(tower.encoder)
        top = max(depths.values())
        rates |= {p: vision_rate * options.layer_decay ** (top - depth) for p, depth in depths.items()}
    groups: dict[tuple[float, bool], list] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            rate = rates.get(parameter, options.learning_rate)
            groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
    settings = [
        {"params": parameters, "lr": rate, "weight_decay": options.weight_decay if decays else 0.0}
        for (rate, decays), parameters in groups.items()
    ]
    return torch.optim.AdamW(settings, fused=model.device.type in ("cpu", "cuda"))


def build_schedule(optimizer, options: TrainOptions, total_steps: int):
    """Linear warm-up, then a cosine to zero, in optimizer steps."""
    return get_cosine_schedule_with_warmup(optimizer, round(options.warmup_ratio * total_steps), total_steps)
