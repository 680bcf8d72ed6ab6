"""A training run: from options to a folder in the form of a Hub repository.

    run = TrainingRun(ModelOptions(...), DataOptions(...), TrainOptions(output_dir="outputs/a"), TrainPushOptions())
    run.train()

What a run does stands in `train`; everything it needs is an attribute, so that a notebook or a test can look at it.
"""

import shutil
import uuid
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from tqdm.auto import tqdm

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.data.processors import inference_processor
from caan.data.text import collect_descriptions, tokenize_descriptions
from caan.evaluation.facts import training_facts
from caan.hub.card import write_card
from caan.hub.push import push_finished
from caan.options import DataOptions, ModelOptions, TrainOptions, TrainPushOptions
from caan.training.batches import build_loader, own_photo_share
from caan.training.building import build_model, uses_text
from caan.training.checkpoints import asked_checkpoint, latest_checkpoint, load_asked, save_checkpoint
from caan.training.effect import require_effect, require_start
from caan.training.loop import NotFinite, TrainingLoop, recompute_activations
from caan.training.ownership import claim, in_main_process
from caan.training.precision import build_accelerator
from caan.training.pushing import open_push, push_progress
from caan.training.recording import begin_record, publish_model
from caan.training.resume import record_changes, require_settings, run_settings
from caan.training.saving import save_model, validate, whiten
from caan.training.teacher import build_teacher
from caan.training.timeline import take_up
from dataset_scripts import read_descriptions


class TrainingRun:
    """A run and all that belongs to it.

    Attributes:
        accelerator, output, checkpoints: Accelerate, the run's folder, and where its checkpoints lie.
        splits, descriptions, tokens, benchmark: the data, the seen classes' sentences and their tokens (None without text), and
            the seen hold-out that selects (None where it is trained on).
        processor: of the finished model. loop: model, batches, optimizer. state: where the run stands. facts: its record.

    Raises ValueError, OSError or PushError on input that cannot be used, before anything is written over.
    """

    def __init__(self, model: ModelOptions, data: DataOptions, train: TrainOptions, hub: TrainPushOptions | None = None):
        given: dict[str, Any] = {
            name: getattr(model, name) or None for name in ("model", "vision_model", "text_model", "teacher_model")
        }  # '' = none
        self.model_options, self.hub_options = replace(model, **given), hub or TrainPushOptions()
        self.data_options = replace(data, descriptions=data.descriptions or None)
        require_effect(self.model_options, uses_text(self.model_options), self.data_options.descriptions)
        require_start(self.model_options, train.start_share)
        if data.train_on_validation and train.keep != "last":
            raise ValueError("train_on_validation leaves nothing to choose the best epoch by: set keep to last.")
        self.accelerator = build_accelerator(train)
        ran = {name: getattr(self.accelerator, name) for name in ("mixed_precision", "gradient_accumulation_steps")}
        self.options = replace(train, **ran)
        set_seed(train.seed)
        self.output = Path(train.output_dir)
        self.checkpoints = self.output / "checkpoints"
        asked = train.resume_from_checkpoint
        self.lock = in_main_process(self.accelerator, lambda: claim(self.output, asked_checkpoint(asked, self.checkpoints)))
        try:
            opened = partial(open_push, self.hub_options, self.checkpoints, self.accelerator)
            self.push = in_main_process(self.accelerator, opened)
            self.load_data()
            self.build()
            self.resume()
        except BaseException:
            self.release()
            raise

    def load_data(self) -> None:
        """Splits, descriptions and the seen hold-out. The first process builds, the others read its cache."""
        with self.accelerator.main_process_first():
            self.splits = load_splits(self.data_options)
        self.train_split = self.splits["train"]
        names = self.train_split.features["label"].names
        self.descriptions = {}
        if uses_text(self.model_options):
            own = read_descriptions(self.data_options.descriptions) if self.data_options.descriptions else None
            columns = self.train_split["label"], self.train_split["descriptions"]
            self.descriptions = collect_descriptions(*columns, names, own)
        self.benchmark = None if self.data_options.train_on_validation else make_benchmark(self.splits, "validation")

    def build(self) -> None:
        """Model, processor and loop."""
        sentences = [sentence for sentences in self.descriptions.values() for sentence in sentences]
        model, processor = build_model(self.model_options, sentences)
        image_processor: Any = getattr(processor, "image_processor", processor)
        own = {"image_size": image_processor.size["height"], "sketch_shade": image_processor.sketch_shade}
        if self.model_options.model and model.config.use_text:
            own["tokenizer_vocab_size"] = len(processor.tokenizer)
        self.model_options = replace(self.model_options, **own)  # a model that is trained on has its own
        model.to(self.accelerator.device)
        if self.model_options.activation_checkpointing:
            recompute_activations(model)
        self.tokens = None
        if model.config.use_text:
            length = model.config.max_description_tokens
            self.tokens = tokenize_descriptions(processor.tokenizer, self.descriptions, length)
        self.options = replace(self.options, own_photos=own_photo_share(self.options, model.config.lambda_instance))
        data, options, accelerator = self.data_options, self.options, self.accelerator
        told = accelerator.num_processes, model.config.lambda_instance
        loader = build_loader(self.train_split, image_processor, data, options, *told)
        teacher = None
        if name := self.model_options.teacher_model:
            with accelerator.main_process_first():  # the others read its features from the cache
                teacher = build_teacher(name, self.model_options.teacher_image_size, loader.dataset, accelerator.device)
        if (width := teacher.width if teacher else 0) != model.config.teacher_width:
            model.set_teacher_width(width)
        self.loop = TrainingLoop(accelerator, model, loader, options, self.tokens, data.sentences_per_step, teacher)
        self.whitens = model.config.whitening > 0
        self.processor = inference_processor(processor, self.model_options.inference_image_size)
        self.image_processor = getattr(self.processor, "image_processor", self.processor)

    @property
    def state(self):
        """Where the run stands."""
        return self.loop.state

    @property
    def model(self):
        """The model as Accelerate has prepared it."""
        return self.loop.model

    def resume(self) -> None:
        """Takes up the checkpoint that is asked for, if its settings are these, and begins the run's record."""
        families = self.model_options, self.data_options, self.options
        settings = run_settings(families, self.train_split, self.accelerator.num_processes, self.descriptions)
        asked, check = self.options.resume_from_checkpoint, partial(require_settings, settings=settings)
        state, folder = load_asked(self.accelerator, asked, self.checkpoints, check)
        if folder is not None:
            aside = in_main_process(self.accelerator, partial(take_up, folder, self.checkpoints))
            if aside is not None:
                print(f"what was trained after {folder} is kept in {aside}: go on from there with --resume_from_checkpoint")
            self.loop.restore(state, record_changes(state, settings))
        state.settings, state.run = settings, state.run or uuid.uuid4().hex
        self.loop.state = state
        if asked:
            self.accelerator.print(
                f"resuming at step {state.step} from {folder}" if folder else "no checkpoint yet: starting anew"
            )
        self.facts: dict = {}
        if self.accelerator.is_main_process:
            told = *families, self.hub_options, self.accelerator, self.tokens is not None
            self.facts = training_facts(self.train_split, *told) | {"run": state.run, "history": state.history}
            begin_record(self.output, self.facts, state)  # from now on the folder is this run's

    # -------------------------------------------------------------------------------------------------- training

    def train(self) -> Path:
        """Trains what is left to train, and returns the finished folder. Its lock is let go in any case."""
        accelerator, loop = self.accelerator, self.loop
        if self.options.report_to != "none":
            families = self.model_options, self.data_options, self.options
            accelerator.init_trackers("caan", config={k: v for family in families for k, v in asdict(family).items()})
        shown = accelerator.is_main_process
        try:
            with tqdm(total=loop.total_steps, initial=self.state.step, desc="training", disable=not shown) as self.bar:
                for _ in loop.epochs():
                    for losses in loop.steps():
                        self.after_step(losses)
                    self.after_epoch()
            self.finish()
            accelerator.end_training()
        except NotFinite as error:
            raise NotFinite(
                f"{error} The last checkpoint is {latest_checkpoint(self.checkpoints) or 'not written yet'}."
            ) from error
        finally:
            self.release()
        return self.output

    def release(self) -> None:
        """Lets go of the folder's lock, which the main process holds."""
        if self.lock is not None:
            self.lock.release()

    def after_step(self, losses: dict[str, float]) -> None:
        """Shows and logs a step, and where its number asks for it writes a checkpoint or pushes."""
        loop, state, every = self.loop, self.state, self.options.checkpointing_steps
        self.bar.update()
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()})
        logged = {f"train/{name}": value for name, value in losses.items()} | {"train/lr": loop.learning_rate}
        self.accelerator.log(logged, step=state.step)
        if every and state.step % every == 0 and state.batches < len(loop.loader):
            self.save_checkpoint()
        every = self.hub_options.push_steps
        if every and state.step % every == 0 and state.step < loop.total_steps:
            loop.require_finite_weights()
            told = self.checkpoints / f"push_{state.step:08d}", self.facts, state, self.accelerator, self.hub_options.full
            push_progress(self.push, loop.finished_model(), self.processor, *told)

    def after_epoch(self) -> None:
        """Measures the model, keeps its weights if they are the best so far, and writes a checkpoint."""
        state = self.state
        if self.benchmark is not None:
            model = self.loop.finished_model()
            metric = self.validate(model)
            self.accelerator.log({"validation/map_all": metric}, step=state.step)
            if self.accelerator.is_main_process:
                told = f"epoch {state.epoch}/{self.options.num_epochs}: validation mAP@all {metric:.4f} on seen classes"
                self.bar.write(told)
            if metric > state.best_metric:
                state.best_metric, state.best_folder = metric, f"best_epoch_{state.epoch:04d}"
                save_model(model, self.processor, self.checkpoints / state.best_folder, self.accelerator)
        self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Writes a checkpoint of finite weights and removes the oldest one over the limit."""
        self.loop.require_finite_weights()
        save_checkpoint(self.accelerator, self.checkpoints, self.state, self.options.save_total_limit)

    def validate(self, model) -> float:
        """mAP@all of finite weights on the seen hold-out."""
        assert self.benchmark is not None
        self.loop.require_finite_weights(model)
        return validate(model, self.image_processor, self.benchmark, self.options, self.data_options, self.accelerator)

    def finish(self) -> None:
        """Whitens the chosen weights where the model has that, and makes the run's folder what it would be on the Hub."""
        state, accelerator = self.state, self.accelerator
        self.loop.require_finite_weights()
        if self.options.keep == "last":
            state.best_folder = "last"
            save_model(self.loop.finished_model(), self.processor, self.checkpoints / state.best_folder, accelerator)
        final = chosen = self.checkpoints / str(state.best_folder)
        if self.whitens:
            final = chosen.with_name(f"{chosen.name}_whitened")
            told, check = (self.options, self.data_options, accelerator), self.loop.require_finite_weights
            model = whiten(chosen, final, self.processor, self.train_split, *told, check)
            if self.benchmark is not None:  # the card tells what the finished model does
                state.finished_metric = self.validate(model)
        if not accelerator.is_main_process:
            return
        publish_model(final, self.output, self.facts, state)
        if final != chosen:
            shutil.rmtree(final)
        write_card(self.output)
        load = f"AutoModel.from_pretrained({str(self.output)!r}, trust_remote_code=True)"
        print(f"The model is in {self.output}. Load it with {load}.")
        if self.push is not None:
            push_finished(self.push, self.output)
