"""The training loop, of `train.py`, `caan train` and the accuracy studies alike.

loop = TrainingLoop(accelerator, model, loader, options, tokens, sentences_per_step=2)
for epoch in loop.epochs():
    for losses in loop.steps():  # one step of the optimizer each
        print(loop.state.step, losses["loss"])
"""

import math
from collections.abc import Iterator

import torch
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from caan.data.text import DescriptionSource, DescriptionTokens
from caan.options import TrainOptions
from caan.training.batches import epoch_batches, seed_step
from caan.training.checkpoints import TrainerState
from caan.training.finished import FinishedWeights
from caan.training.optimizer import build_optimizer, build_schedule
from caan.training.teacher import TeacherSource

CURE = "Lower learning_rate, raise warmup_ratio, or keep max_grad_norm above 0."


class NotFinite(ValueError):
    """A loss, a gradient or a weight that is no number; the message says where the run was."""


class TrainingLoop:
    """A model, its batches and its optimizer, prepared by Accelerate, and where the run stands.

    Args:
        model: a `CAANModel`, or a module that gives its loss as `model(**batch).loss` and has `vision_towers()`.
        loader: of `build_loader`, not yet prepared.
        tokens: of the seen classes' sentences; None for a model that learns without text.
        sentences_per_step: sentences of each class that a step reads; 0 = all.
        teacher: what a frozen teacher knows of the loader's photos; None for a model that learns without one.
    """

    def __init__(
        self,
        accelerator,
        model: nn.Module,
        loader: DataLoader,
        options: TrainOptions,
        tokens: DescriptionTokens | None = None,
        sentences_per_step: int = 0,
        teacher: TeacherSource | None = None,
    ):
        self.teacher = teacher
        self.accelerator, self.options, self.state = accelerator, options, TrainerState()
        model.to(accelerator.device)  # before the text source, which works where the model is
        if accelerator.distributed_type != DistributedType.FSDP:  # which shards contiguous weights alone
            model.to(memory_format=torch.channels_last)  # convolutions take two thirds of the time
        self.text = None if tokens is None else DescriptionSource(model, tokens, sentences_per_step)
        self.finished = FinishedWeights(model, options, accelerator)
        self.model, self.optimizer, self.loader = accelerator.prepare(model, build_optimizer(model, options), loader)
        for name in ("get_sketch_features", "get_image_features"):
            register_fsdp_forward_method(self.model, name)  # validation calls these; without FSDP2 nothing happens
        self.steps_per_epoch = math.ceil(len(self.loader) / accelerator.gradient_accumulation_steps)
        self.total_steps = self.steps_per_epoch * options.num_epochs
        self.schedule = build_schedule(self.optimizer, options, self.total_steps)
        self.last_rate = self.learning_rate
        accelerator.register_for_checkpointing(self.schedule)  # not prepared: Accelerate would step it once a process
        if self.finished.average is not None:
            accelerator.register_for_checkpointing(self.finished.average)

    def restore(self, state: TrainerState, changed: dict[str, list]) -> None:
        """Goes on where a checkpoint stood, whose model, optimizer and schedule are restored already.

        Args:
            changed: setting -> [old, new]. With other processes the batches are counted anew, and with these or other epochs
                the learning rate is that of the new schedule at this place.
        """
        self.state = state
        if "processes" in changed:
            before, now = changed["processes"]
            state.batches = min(state.batches * before // now, len(self.loader))
            state.step = state.epoch * self.steps_per_epoch + state.batches // self.accelerator.gradient_accumulation_steps
        if changed:
            self.schedule.last_epoch = state.step - 1
            self.schedule.step()

    @property
    def learning_rate(self) -> float:
        """Rate of the first group of weights at the next step."""
        return self.schedule.get_last_lr()[0]

    def finished_model(self) -> nn.Module:
        """The model with the weights that are validated and published: a copy, where these are not the trained ones."""
        return self.finished.copy() if self.finished.differ else self.model

    def epochs(self) -> Iterator[int]:
        """Numbers of the epochs that are left, from 0, with the model in training mode at the start of each."""
        for epoch in range(self.state.epoch, self.options.num_epochs):
            set_training(self.model)
            yield epoch

    def steps(self) -> Iterator[dict[str, float]]:
        """The losses of each optimizer step that is left of the current epoch, by name.

        Raises:
            NotFinite: before the step, so that the weights stay as they were.
        """
        state = self.state
        for batch in epoch_batches(self.loader, state.epoch, state.batches):
            number = state.epoch * len(self.loader) + state.batches
            seed_step(self.options.seed, number, self.accelerator.process_index)
            losses = self.take(batch)
            state.batches += 1
            if self.accelerator.sync_gradients:
                self.last_rate = self.learning_rate
                self.schedule.step()
                state.step += 1
                yield losses
        state.epoch, state.batches = state.epoch + 1, 0

    def take(self, batch: dict) -> dict[str, float]:
        """Losses and gradients of a batch, and a step of the optimizer once the batches to accumulate are complete."""
        accelerator, rows = self.accelerator, batch.pop("photo_rows")
        inputs = batch | (self.text.step_inputs() if self.text else {})
        inputs |= self.teacher.step_inputs(rows, batch["labels"]) if self.teacher else {}
        with accelerator.accumulate(self.model):
            result = self.model(**inputs)
            losses = {
                name: value.item() for name, value in vars(result).items() if name.startswith("loss") and value is not None
            }
            self.require_finite(losses, "loss")
            accelerator.backward(result.loss)
            if accelerator.sync_gradients:
                largest = self.options.max_grad_norm or math.inf  # which leaves them as they are
                norm = accelerator.clip_grad_norm_(self.model.parameters(), largest)
                if accelerator.scaler is None:  # which skips steps of its own accord while it seeks its scale
                    self.require_finite({"gradient norm": float(norm)}, "gradient")
            self.optimizer.step()
            self.optimizer.zero_grad()
        if accelerator.sync_gradients and self.finished.average is not None:
            self.finished.average.update()
        return losses

    def require_finite(self, values: dict[str, float], what: str) -> None:
        """Raises `NotFinite` where one of the values is NaN or infinite."""
        if all(math.isfinite(value) for value in values.values()):
            return
        shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
        raise NotFinite(
            f"step {self.state.step + 1}, epoch {self.state.epoch + 1}: the {what} is not finite ({shown}; learning rate "
            f"{self.learning_rate:g}). {CURE}"
        )

    def require_finite_weights(self, model: nn.Module | None = None) -> None:
        """Raises `NotFinite` where a weight or a buffer is NaN or infinite, in every process. Call it in every process.

        Args:
            model: by default the one that is trained.
        """
        if not finite_weights(model or self.model, self.accelerator):
            raise NotFinite(
                f"step {self.state.step}: weights are not finite after a step at learning rate {self.last_rate:g}, and are not "
                f"kept. {CURE}"
            )


@torch.no_grad()
def finite_weights(model: nn.Module, accelerator) -> bool:
    """Whether all weights and buffers are finite in all processes, each of which may hold a part of them."""
    tensors = [*model.parameters(), *model.buffers()]
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors if tensor.is_floating_point()]
    finite = torch.stack([tensor.isfinite().all().to(accelerator.device) for tensor in local]).all()
    return bool(accelerator.reduce((~finite).float(), "sum") == 0)


def set_training(model: nn.Module) -> None:
    """Training mode, but for batch norms with frozen weights, whose running statistics are to stay as they are too."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
            module.eval()


def recompute_activations(model: nn.Module) -> None:
    """Activations are computed again in the backward pass; transformers before 5.23 knows this by its old name alone."""
    name = "activation_checkpointing_enable"
    getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()
