"""The weights that a run validates and publishes, where they are not those that its optimizer moves.

They are averages over the steps (`ema_decay`), adapters are merged (`tune: lora`), and the vision encoders are drawn back to
their start (`start_share`). All of that is done to a copy, each time that a model leaves the training loop: the number that
selects weights is that of the published ones, and a run that goes on from a checkpoint does nothing twice.
"""

import copy

import torch
from accelerate.utils import DistributedType
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from caan.options import TrainOptions
from caan.training.tuning import has_adapters, merge_adapters


class WeightAverage:
    """The exponential moving average of the weights that learn, and of running statistics; ours from torch's own formula.

    After step t the average keeps a share d = min(decay, (1 + t) / (10 + t)) and takes 1 - d of the weights, so that the random
    weights at the start of a run are soon forgotten, as in TensorFlow's `ExponentialMovingAverage`.

    Args:
        model: not wrapped; its weights are read again at each step. decay: in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay, self.steps = model, decay, 0
        self.values = {name: tensor.clone() for name, tensor in moving(model).items()}

    def update(self) -> None:
        """Takes in the weights after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(decay)(list(self.values.values()), list(moving(self.model).values()), self.steps)

    def state_dict(self) -> dict:
        """What a checkpoint keeps."""
        return {"steps": self.steps, "values": self.values}

    def load_state_dict(self, state: dict) -> None:
        """Takes up what a checkpoint kept. Raises ValueError where it is of other weights."""
        if state["values"].keys() != self.values.keys():
            raise ValueError("the average of the weights is of other weights than those that learn")
        self.steps = state["steps"]
        put(state["values"], self.values)


class FinishedWeights:
    """Makes the model that is validated and published from the one that is trained.

    Args:
        model: as the run begins with it, not wrapped; a `CAANModel`, or a module with `vision_towers()`.

    Raises:
        ValueError: the processes do not have the whole weights each, which it needs.
    """

    def __init__(self, model: nn.Module, options: TrainOptions, accelerator):
        self.model, self.share = model, options.start_share
        self.average = WeightAverage(model, options.ema_decay) if options.ema_decay else None
        self.start = [encoder_weights(tower) for tower in model.vision_towers()] if options.start_share else []
        self.differ = bool(self.average or self.start or has_adapters(model))
        if self.differ and accelerator.distributed_type == DistributedType.FSDP:
            raise ValueError("FSDP shards the weights, which tune: lora, ema_decay and start_share need whole: launch without.")

    @torch.no_grad()
    def copy(self) -> nn.Module:
        """A new model with the finished weights; the one that is trained stays as it is."""
        model = copy.deepcopy(self.model)
        if self.average is not None:
            put(self.average.values, moving(model))
        merge_adapters(model)
        for tower, start in zip(model.vision_towers(), self.start):
            draw_back(tower.encoder, start, self.share)
        return model


def moving(model: nn.Module) -> dict[str, torch.Tensor]:
    """What changes in training, by name, in the model's own memory: weights that learn, and floating-point buffers."""
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    return weights | {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}


def put(values: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    """Copies values into tensors of the same names."""
    for name, tensor in target.items():
        tensor.copy_(values[name])


def encoder_weights(tower: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers of a tower's encoder, with adapters merged, in memory of their own on the CPU."""
    weights = merge_adapters(copy.deepcopy(tower.encoder)).state_dict()
    return {name: weight.cpu() for name, weight in weights.items()}


def draw_back(encoder: nn.Module, start: dict[str, torch.Tensor], share: float) -> None:
    """Weights and running statistics become (1 - share) x themselves + share x start, as in Wortsman et al., "Robust
    fine-tuning of zero-shot models" (2022)."""
    for name, weight in encoder.state_dict().items():
        if weight.is_floating_point():
            weight.lerp_(start[name].to(weight.device), share)
