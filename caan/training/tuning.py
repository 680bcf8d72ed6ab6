"""What of the vision encoders learns: the options `tune` and `freeze_batch_norm`.

What CAAN adds to them (projections, prompts, alignment, relation network, heads) always learns. Layers are found by their type,
since their names differ between libraries and versions; only query, key and value are told by theirs.
"""

import re

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from caan.options import ModelOptions
from caan.training.optimizer import parameter_depths, vision_blocks
from modeling_caan import CAANModel

QUERY_KEY_VALUE = re.compile(r"(q|k|v|kv|qkv|query|key|value)(_proj)?")


def tune_encoders(model: CAANModel, options: ModelOptions) -> None:
    """Freezes what the options say of each vision encoder, or gives it adapters.

    Raises:
        ValueError: an encoder has no such layers or fewer blocks, or nothing is left to learn. ImportError: peft is missing.
    """
    for tower in model.vision_towers():
        if options.tune == "lora":
            add_adapters(tower.encoder, options.lora_rank)
        elif options.tune != "all":
            chosen = set(learning_weights(tower.encoder, options.tune))
            for parameter in tower.encoder.parameters():
                parameter.requires_grad_(parameter in chosen)
    if options.freeze_batch_norm:
        freeze_batch_norms(model)
    encoder = model.image_encoder.encoder
    if options.tune != "none" and not any(parameter.requires_grad for parameter in encoder.parameters()):
        name = type(encoder).__name__
        raise ValueError(f"tune {options.tune} and freeze_batch_norm leave nothing of {name} to learn: take none.")


def learning_weights(encoder: nn.Module, tune: str) -> list[nn.Parameter]:
    """The weights of an encoder that learn, for every `tune` but "all" and "lora".

    `layer_norm_attention` is what the public code of CLIP-AT trains under the name of LayerNorm: it freezes the layers with a
    `weight` that are no norms, which leaves the fused query, key and value of OpenAI's CLIP, and class token and positions.

    Raises:
        ValueError: the encoder has none of these layers, or fewer blocks.
    """
    if tune == "none":
        return []
    if tune.startswith("last_"):
        return last_blocks(encoder, int(tune.removeprefix("last_")))
    norms = [p for module in encoder.modules() if is_norm(module) for p in module.parameters(recurse=False)]
    if not norms:
        raise ValueError(f"tune is {tune}, but {type(encoder).__name__} has no norms: take all, last_N, lora or none.")
    if tune == "layer_norm":
        return norms
    layers = [(name.rpartition(".")[2], layer) for name, layer in encoder.named_modules() if is_layer(layer)]
    others = {p for name, layer in layers if not QUERY_KEY_VALUE.fullmatch(name) for p in layer.parameters()}
    if not any(QUERY_KEY_VALUE.fullmatch(name) for name, _ in layers):
        raise ValueError(f"tune is {tune}, but {type(encoder).__name__} has no query, key and value: take layer_norm.")
    return [parameter for parameter in encoder.parameters() if parameter not in others]


def last_blocks(encoder: nn.Module, count: int) -> list[nn.Parameter]:
    """The weights of the last `count` blocks of an encoder, and of what follows them."""
    blocks = len(vision_blocks(encoder))
    if count > blocks:
        cure = f"take last_{blocks} or fewer, or all" if blocks else "take all, layer_norm, lora or none"
        raise ValueError(f"tune is last_{count}, but {type(encoder).__name__} shows {blocks} blocks: {cure}.")
    return [parameter for parameter, depth in parameter_depths(encoder).items() if depth > blocks - count]


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm of torch, or an RMS norm, which each library writes anew."""
    known = isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm | _BatchNorm)
    return known or type(module).__name__.lower().endswith("rmsnorm")


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a linear layer or a convolution."""
    return isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)


def freeze_batch_norms(model: CAANModel) -> None:
    """The batch norms of the vision encoders stop learning; without weights that learn their statistics stay too
    (`caan.training.loop.set_training`).

    Raises ValueError where none learns anyway.
    """
    norms = [module for tower in model.vision_towers() for module in tower.modules() if isinstance(module, _BatchNorm)]
    if not any(parameter.requires_grad for norm in norms for parameter in norm.parameters()):
        encoder = type(model.image_encoder.encoder).__name__
        raise ValueError(f"freeze_batch_norm would take no part: no batch norm of {encoder} learns. Leave it out.")
    for norm in norms:
        norm.requires_grad_(False)


# -------------------------------------------------------------------------------------------------------------------- LoRA


def add_adapters(encoder: nn.Module, rank: int) -> None:
    """LoRA (Hu et al. 2021): of each linear layer and 1x1 convolution a change of low rank learns, that begins at zero.

    Its scale, alpha / rank, is 1, so that the learning rate alone decides how fast it learns.

    Raises:
        ImportError: peft is missing. ValueError: there are no such layers.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError('tune: lora needs the package peft: pip install -e ".[lora]" in the repository.') from error
    names = [name for name, module in encoder.named_modules() if can_adapt(module)]
    hidden = [name for name, module in encoder.named_modules() if isinstance(module, nn.MultiheadAttention)]
    names = [name for name in names if name.rpartition(".")[0] not in hidden]  # which reads the weights past its layer
    if not names:
        raise ValueError(f"tune is lora, but {type(encoder).__name__} has no linear layers: take all, layer_norm or none.")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=names), encoder)
    del encoder.peft_config  # or transformers would take the encoder for a model with adapters


def can_adapt(module: nn.Module) -> bool:
    """Whether a module multiplies its inputs by one matrix."""
    return isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
    )


def has_adapters(model: nn.Module) -> bool:
    """Whether a model has adapters that are not merged."""
    return any(hasattr(module, "get_base_layer") for module in model.modules())


@torch.no_grad()
def merge_adapters(model: nn.Module) -> nn.Module:
    """Adds what adapters have learned to the weights they adapt, and removes them: names and shapes are those without LoRA."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if hasattr(child, "get_base_layer"):
                child.merge()
                setattr(parent, name, child.get_base_layer())
    return model
