"""Train a CAAN.

    python train.py recipes/openmoji.yaml                                     # one process
    accelerate launch train.py recipes/openmoji.yaml --output_dir outputs/a   # as `accelerate config` says
    torchrun --nproc_per_node 2 train.py recipes/openmoji.yaml --cpu          # two processes without a GPU
    python train.py recipes/openmoji.yaml --resume_from_checkpoint latest     # go on after a stop
    python train.py recipes/openmoji.yaml --push_to_hub --hub_model_id org/caan-openmoji --push_steps 500

The result is a folder in the form of a Hub repository, which `AutoModel.from_pretrained` loads.
"""

import math
from dataclasses import asdict
from pathlib import Path

from accelerate.utils import set_seed
from tqdm.auto import tqdm

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.data.processors import inference_processor
from caan.data.text import DescriptionSource, collect_descriptions, tokenize_descriptions
from caan.errors import explain_errors
from caan.evaluation.facts import training_facts, write_facts
from caan.hub.card import write_card
from caan.hub.push import push_finished
from caan.hub.upload import TrainPushOptions
from caan.options import DataOptions, ModelOptions, TrainOptions, parse_options
from caan.training.building import build_model, uses_text
from caan.training.checkpoints import (
    TrainerState,
    latest_checkpoint,
    load_checkpoint,
    publish_files,
    require_fresh,
    save_checkpoint,
)
from caan.training.loop import (
    build_accelerator,
    build_loader,
    epoch_batches,
    open_push,
    push_progress,
    recompute_activations,
    save_model,
    seed_step,
    set_training,
    train_step,
    validate,
    whiten,
)
from caan.training.optimizer import build_optimizer, build_schedule
from dataset_scripts import read_descriptions

# --- options
explain_errors()
model_options, data_options, options, hub_options = parse_options(
    ModelOptions, DataOptions, TrainOptions, TrainPushOptions, description=__doc__
)
if data_options.train_on_validation and options.keep != "last":
    raise ValueError("train_on_validation leaves nothing to choose the best epoch by: set keep to last.")
accelerator = build_accelerator(options)
set_seed(options.seed)
output = Path(options.output_dir)
checkpoints = output / "checkpoints"
if not options.resume_from_checkpoint:
    require_fresh(checkpoints)
push = open_push(hub_options, checkpoints, accelerator)  # refused now rather than after the training

# --- data: the first process builds, the others read its cache
with accelerator.main_process_first():
    splits = load_splits(data_options)
train_split = splits["train"]
names = train_split.features["label"].names
descriptions = {}
if uses_text(model_options):
    own = read_descriptions(data_options.descriptions) if data_options.descriptions else None
    descriptions = collect_descriptions(train_split["label"], train_split["descriptions"], names, own)

# --- model
model, processor = build_model(model_options, [s for sentences in descriptions.values() for s in sentences])
image_processor = getattr(processor, "image_processor", processor)
model_options.image_size = image_processor.size["height"]  # a model that is trained on has its own, and its own shade
model_options.sketch_shade = image_processor.sketch_shade
model.to(accelerator.device)
if model_options.activation_checkpointing:
    recompute_activations(model)
text = None
if model.config.use_text:
    tokens = tokenize_descriptions(processor.tokenizer, descriptions, model.config.max_description_tokens)
    text = DescriptionSource(model, tokens, data_options.sentences_per_step)

# --- optimisation
loader = build_loader(train_split, image_processor, data_options, options, accelerator.num_processes)
processor = inference_processor(processor, model_options.inference_image_size)
image_processor = getattr(processor, "image_processor", processor)
optimizer = build_optimizer(model, options)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
steps_per_epoch = math.ceil(len(loader) / options.gradient_accumulation_steps)
schedule = build_schedule(optimizer, options, steps_per_epoch * options.num_epochs)
accelerator.register_for_checkpointing(schedule)  # not prepared: Accelerate would step it once a process
if options.report_to != "none":
    accelerator.init_trackers("caan", config={**asdict(model_options), **asdict(data_options), **asdict(options)})

# --- resume
state = TrainerState()
if options.resume_from_checkpoint:
    latest = options.resume_from_checkpoint == "latest"
    folder = latest_checkpoint(checkpoints) if latest else Path(options.resume_from_checkpoint)
    if folder is not None:
        state = load_checkpoint(accelerator, folder)
    accelerator.print(f"resuming at step {state.step} from {folder}" if folder else "no checkpoint yet: starting anew")

# --- loop
facts = None
if accelerator.is_main_process:
    facts = training_facts(train_split, model_options, data_options, options, hub_options, accelerator, text is not None)
benchmark = None if data_options.train_on_validation else make_benchmark(splits, "validation")
bar = tqdm(
    total=steps_per_epoch * options.num_epochs, initial=state.step, desc="training", disable=not accelerator.is_main_process
)
for epoch in range(state.epoch, options.num_epochs):
    set_training(model)
    for batch in epoch_batches(loader, epoch, state.batches):
        seed_step(options.seed, epoch * len(loader) + state.batches, accelerator.process_index)
        result = train_step(model, batch, text, optimizer, accelerator, options.max_grad_norm)
        state.batches += 1
        if not accelerator.sync_gradients:
            continue
        schedule.step()
        state.step += 1
        losses = {name: value.item() for name, value in result.items() if name.startswith("loss")}
        bar.update()
        bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()})
        accelerator.log({f"train/{k}": v for k, v in losses.items()} | {"train/lr": schedule.get_last_lr()[0]}, step=state.step)
        if options.checkpointing_steps and state.step % options.checkpointing_steps == 0 and state.batches < len(loader):
            save_checkpoint(accelerator, checkpoints, state)
        if hub_options.push_steps and state.step % hub_options.push_steps == 0 and state.step < bar.total:
            folder = checkpoints / f"push_{state.step:08d}"
            push_progress(push, model, processor, folder, facts, state, accelerator, hub_options.full)
    state.epoch, state.batches = epoch + 1, 0
    if benchmark is not None:
        metric = validate(model, image_processor, benchmark, options, data_options, accelerator)
        accelerator.log({"validation/map_all": metric}, step=state.step)
        if accelerator.is_main_process:
            bar.write(f"epoch {epoch + 1}/{options.num_epochs}: validation mAP@all {metric:.4f} on seen classes")
        if metric > state.best_metric:
            state.best_metric, state.best_folder = metric, f"best_epoch_{epoch + 1:04d}"
            save_model(model, processor, checkpoints / state.best_folder, accelerator)
    save_checkpoint(accelerator, checkpoints, state)
bar.close()

# --- the end product, as it would lie on the Hub
if options.keep == "last":
    state.best_folder = "last"
    save_model(model, processor, checkpoints / state.best_folder, accelerator)
if accelerator.unwrap_model(model).config.whitening > 0:
    whitened = whiten(checkpoints / state.best_folder, processor, train_split, options, data_options, accelerator)
    if benchmark is not None:  # the card tells what the finished model does
        state.best_metric = validate(whitened, image_processor, benchmark, options, data_options, accelerator)
if accelerator.is_main_process:
    publish_files(checkpoints / state.best_folder, output)
    write_facts(output, facts, state, finished=True)
    write_card(output)
    print(f"The model is in {output}. Load it with AutoModel.from_pretrained({str(output)!r}, trust_remote_code=True).")
    if push is not None:
        push_finished(push, output)
accelerator.end_training()
