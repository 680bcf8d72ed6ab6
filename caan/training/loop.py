"""Parts of the training loop that train.py puts together."""

import shutil
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from transformers.utils.logging import disable_progress_bar

from caan.data.benchmark import Benchmark
from caan.data.pairs import SketchPhotoPairs
from caan.data.pictures import Pictures
from caan.data.sampling import ClassBalancedSampler
from caan.evaluation.evaluate import evaluate
from caan.evaluation.facts import write_facts
from caan.evaluation.retrievers import Retriever
from caan.hub.card import write_card
from caan.hub.upload import BackgroundPush, TrainPushOptions
from caan.options import DataOptions, TrainOptions
from caan.training.checkpoints import TrainerState, publish_folder, temporary_folder
from caan.training.precision import cpu_multiplies_bf16
from caan.training.whitening import fit_whitening
from modeling_caan import CAANModel


def build_accelerator(options: TrainOptions) -> Accelerator:
    """Accelerate with the options' precision, accumulation and tracker.

    Encoders carry parameters that no loss reaches (DINOv2's mask token, CLIP's last norm), so DDP has to look for them.
    """
    disable_progress_bar()  # of every small file that transformers writes; the training bar stays
    accelerator = Accelerator(
        cpu=options.cpu,
        mixed_precision=options.mixed_precision,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        log_with=None if options.report_to == "none" else options.report_to,
        project_dir=options.output_dir,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.mixed_precision == "bf16" and accelerator.device.type == "cpu" and not cpu_multiplies_bf16():
        message = "This CPU multiplies bf16 many times more slowly than float32: train with --mixed_precision no."
        warnings.warn(message, stacklevel=2)
    return accelerator


def build_loader(train_split, image_processor, data: DataOptions, options: TrainOptions, num_processes: int) -> DataLoader:
    """The P x K training loader, not yet prepared by Accelerate, which shards it in whole batches."""
    sketches, photos = Pictures(train_split, "sketch"), Pictures(train_split, "photo")
    sampler = ClassBalancedSampler(
        sketches.labels.tolist(),
        photos.labels.tolist(),
        options.classes_per_batch,
        options.items_per_class,
        options.batches_per_epoch,
        options.seed,
        sketches.names,
    )
    # Every process gets the same number of batches; one that runs out early would hang the others.
    sampler.batches_per_epoch = max(1, round(sampler.batches_per_epoch / num_processes)) * num_processes
    return DataLoader(
        SketchPhotoPairs(sketches, photos, image_processor, data.augment),
        batch_size=options.classes_per_batch * options.items_per_class,
        sampler=sampler,
        num_workers=data.num_workers,
        persistent_workers=data.num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def epoch_batches(loader, epoch: int, done: int):
    """What is left of an epoch after its first `done` batches, in that epoch's order.

    The loader counts its own passes from 0 and tells the sampler, over whatever the sampler was told before: a resumed run
    would see the first epochs again. So it is the loader that has to know.
    """
    loader.set_epoch(epoch)
    rest = skip_first_batches(loader, done) if done else loader
    rest.set_epoch(epoch)
    return rest


def set_training(model) -> None:
    """Training mode, but for batch norms with frozen weights, whose running statistics are to stay as they are too."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
            module.eval()


def recompute_activations(model) -> None:
    """Activations are computed again in the backward pass; transformers before 5.23 knows this by its old name alone."""
    name = "activation_checkpointing_enable"
    getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()


def seed_step(seed: int, batch: int, rank: int) -> None:
    """Gives batch number `batch` of the run its own random state, so that a resumed run needs no history to be equal."""
    torch.manual_seed((seed * 1_000_003 + batch) * 1_009 + rank)


def train_step(model, batch, text, optimizer, accelerator, max_grad_norm: float):
    """Losses and gradients of a batch, and a step of the optimizer once the batches to accumulate are complete.

    Args:
        text: `DescriptionSource`, or None for a model without text. max_grad_norm: gradients are clipped to it; 0 = not.

    Returns what the model gave for the batch.
    """
    with accelerator.accumulate(model):
        result = model(**batch, **(text.step_inputs() if text else {}))
        accelerator.backward(result.loss)
        if accelerator.sync_gradients and max_grad_norm:
            accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return result


def validate(model, image_processor, benchmark: Benchmark, options: TrainOptions, data: DataOptions, accelerator) -> float:
    """mAP@all on the held-out items of seen classes, the only number that may select a model.

    Every process first takes the main one's buffers: batch norms count by themselves in each, and the main one's are saved.
    """
    model = accelerator.unwrap_model(model)
    for buffer in model.buffers():
        buffer.copy_(broadcast(buffer))
    retriever = Retriever("validation", model, image_processor)
    report = evaluate(
        retriever, benchmark, batch_size=options.eval_batch_size, num_workers=data.num_workers, accelerator=accelerator
    )
    return report["map_all"]


def save_model(model, processor, folder: Path, accelerator, full: bool = True) -> None:
    """Writes weights, config, processors and code to `folder`, complete or not at all. Call it in every process.

    Args:
        full: with text encoder and alignment; otherwise the form for inference.
    """
    state_dict = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        temporary = temporary_folder(folder)
        model = accelerator.unwrap_model(model)
        if not full:
            model, processor = model.for_inference(), getattr(processor, "image_processor", processor)
            state_dict = {name: state_dict[name] for name in model.state_dict()}
        model.save_pretrained(temporary, state_dict=state_dict)
        processor.save_pretrained(temporary)
        publish_folder(temporary, folder)
    accelerator.wait_for_everyone()


def whiten(folder: Path, processor, train_split, options: TrainOptions, data: DataOptions, accelerator) -> CAANModel:
    """Fits the whitening of the finished model in `folder`, saves it there, and returns the model. Call it in every process."""
    model = CAANModel.from_pretrained(folder).to(accelerator.device)
    image_processor = getattr(processor, "image_processor", processor)
    settings = {"batch_size": options.eval_batch_size, "num_workers": data.num_workers, "accelerator": accelerator}
    fit_whitening(model, image_processor, train_split, **settings)
    save_model(model, processor, folder, accelerator)
    return model


def open_push(options: TrainPushOptions, checkpoints: Path, accelerator) -> BackgroundPush | None:
    """The way to the Hub, in the main process of a run that pushes; None elsewhere. Clears away what a killed run left.

    Raises:
        PushError: the Hub would not let it in; better told now than when the training is done.
    """
    if not options.push_to_hub or not accelerator.is_main_process:
        return None
    for old in checkpoints.glob("push_*"):
        shutil.rmtree(old)
    return BackgroundPush(options.hub_model_id, options)


def push_progress(push: BackgroundPush | None, model, processor, folder: Path, facts, state: TrainerState, accelerator, full):
    """Pushes the weights as they are now, in the background. Call it in every process, since sharded weights are gathered.

    Args:
        folder: to be made for the upload, and removed after it. facts: of the run. full: as in `save_model`.
    """
    save_model(model, processor, folder, accelerator, full)
    if push is not None:
        write_facts(folder, facts, state, finished=False)
        write_card(folder)
        push.start(folder, f"Training, step {state.step}")
