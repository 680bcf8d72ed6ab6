"""The optimizer that trains a CAAN: at which rates its blocks learn, on which schedule."""

import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup

from caan.options import TrainOptions
from modeling_caan import CAANModel

BLOCK_LIST_NAMES = ("layer", "layers", "blocks", "stages", "resblocks")


def vision_blocks(encoder) -> list[nn.Module]:
    """The blocks of a vision encoder from the input on; empty where it does not show which they are.

    They are the first list of several modules under one of the usual names; of an encoder with one block, the list of one.
    """
    lists = [module for name, module in encoder.named_modules() if name.rsplit(".", 1)[-1] in BLOCK_LIST_NAMES]
    several = [blocks for blocks in lists if len_of(blocks) > 1]
    single = [blocks for blocks in lists if len_of(blocks) == 1 and any(True for _ in blocks.parameters())]
    return list(next(iter(several + single), ()))


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

    Raises:
        ValueError: `layer_decay` is asked of an encoder that does not show its blocks.
    """
    vision_rate = options.vision_learning_rate or options.learning_rate
    rates: dict[nn.Parameter, float] = {}
    for tower in model.vision_towers():
        if options.layer_decay != 1 and not vision_blocks(tower.encoder):
            raise ValueError(
                f"layer_decay is {options.layer_decay:g}, but {type(tower.encoder).__name__} has 0 blocks that it could tell "
                "apart: leave it out, or set it to 1."
            )
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
