"""Options of train.py and eval.py: dataclasses, read from a YAML recipe and the command line, the latter winning."""

import argparse
import difflib
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from transformers import HfArgumentParser


def option(default, text: str):
    """A dataclass field with a help text."""
    return field(default=default, metadata={"help": text})


@dataclass
class ModelOptions:
    """What is trained."""

    model: str | None = option(
        None,
        "Hub id or folder of a CAAN to train on from; of the other model options only activation_checkpointing applies then.",
    )
    vision_model: str | None = option(None, "Hub id or folder that both vision towers start from; none = random weights.")
    text_model: str | None = option(None, "Hub id or folder of the text encoder and its tokenizer; none = random weights.")
    model_config: str = option("{}", "Fields of CAANConfig, as a mapping in a recipe and as JSON on the command line.")
    image_size: int = option(224, "Side of the square input, in pixels.")
    inference_image_size: int = option(
        0,
        "Side that the finished model's processor makes; 0 = image_size. Crops enlarge, so go higher.",
    )
    sketch_shade: float = option(
        0.0, "Darkness of the shade laid over what a sketch's outline encloses, at inference too: 0 (none) to 1 (black)."
    )
    tokenizer_vocab_size: int = option(2000, "Words of the tokenizer that is trained on the descriptions without text_model.")
    freeze_vision_blocks: int = option(0, "First blocks of each vision encoder, with its embeddings, that stay as they are.")
    activation_checkpointing: bool = option(False, "Recompute activations in the backward pass: less memory, a third slower.")


@dataclass
class SourceOptions:
    """Which data."""

    dataset: str = option("openmoji", "Builder in dataset_scripts, or Hub id or folder of its Parquet form.")
    dataset_config: str | None = option(None, "Zero-shot split, such as 104_21; none = the builder's default.")
    data_dir: str | None = option(None, "Folder with the archive's pictures, for builders that need one.")
    allow_partial: bool = option(False, "Go on where the archive in data_dir is not complete.")


@dataclass
class DataOptions(SourceOptions):
    """What it is trained on."""

    descriptions: str | None = option(None, "JSON lines of `caan describe`, in place of the data's own descriptions.")
    num_workers: int = option(2, "Processes that read and augment pictures, for each training process.")
    train_on_validation: bool = option(
        False, "Train on the held-out items of seen classes too: for a recipe that is fixed. Needs keep: last."
    )
    augment: bool = option(True, "Random flips, crops, colours of photos, and strokes and shapes of sketches.")
    sentences_per_step: int = option(2, "Description sentences a class that a step reads, drawn at random; 0 = all.")


@dataclass
class TrainOptions:
    """How it is trained."""

    output_dir: str = option("outputs/caan", "Where the finished model goes, in the form of a Hub repository.")
    seed: int = option(0, "Seed of weights, batches and augmentation.")
    num_epochs: int = option(20, "Passes over the training sketches.")
    classes_per_batch: int = option(16, "P: classes in a batch of one process.")
    items_per_class: int = option(4, "K: sketches, and photos, of each class in a batch.")
    batches_per_epoch: int = option(0, "Batches an epoch, of all processes together; 0 = as many as show every sketch once.")
    learning_rate: float = option(3e-4, "Peak learning rate.")
    vision_learning_rate: float = option(0.0, "Peak rate of the vision encoders; 0 = the same. Lower it for a warm start.")
    layer_decay: float = option(1.0, "Each vision block learns at this share of the next one's rate; 1 = at the same.")
    weight_decay: float = option(0.05, "AdamW's weight decay; norms and biases have none.")
    warmup_ratio: float = option(0.05, "Share of the steps in which the learning rate rises; then it falls by a cosine.")
    max_grad_norm: float = option(1.0, "Gradients are clipped to this norm; 0 = not.")
    gradient_accumulation_steps: int = option(1, "Batches for one step of the optimizer; triplets never cross batches.")
    mixed_precision: Literal["no", "bf16", "fp16", "auto"] = option(
        "no", "Type of the activations; fp16 needs a GPU; auto: bf16 where this machine multiplies it natively, else no."
    )
    cpu: bool = option(False, "Train on the CPU although there is a GPU.")
    checkpointing_steps: int = option(0, "Also write a checkpoint every so many steps; 0 = at the end of epochs only.")
    resume_from_checkpoint: str | None = option(None, "A checkpoint folder, or latest: go on where the run was left.")
    eval_batch_size: int = option(128, "Pictures encoded at once in validation.")
    keep: Literal["best", "last"] = option(
        "best", "Weights of the finished model: best (by mAP@all on the seen hold-out) or last."
    )
    report_to: str = option("none", "Tracker: none, tensorboard (extra tracking), trackio, wandb, or all that are installed.")

    def __post_init__(self):
        for name in ("num_epochs", "items_per_class", "gradient_accumulation_steps", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.mixed_precision == "auto":  # at once, so that the card tells what was used
            from caan.training.precision import fastest_precision  # loads PyTorch, which --help does without

            self.mixed_precision = fastest_precision(self.cpu)


@dataclass
class EvalOptions(SourceOptions):
    """What is evaluated, and on what."""

    model: list[str] = field(
        default_factory=lambda: ["pixels"],
        metadata={"help": "Folders or Hub ids of CAANs or of plain vision models, or pixels, the baseline without learning."},
    )
    split: Literal["test", "validation"] = option("test", "test: unseen classes. validation: held-out items of seen classes.")
    generalized: bool = option(False, "Add the photos of all seen classes to the gallery.")
    top_k: list[int] = field(default_factory=lambda: [100, 200], metadata={"help": "The K of each Prec@K, hits divided by K."})
    average: Literal["micro", "macro"] = option("micro", "micro: mean over queries. macro: mean of the class means.")
    ties: Literal["gallery_order", "pessimistic"] = option(
        "gallery_order", "gallery_order, or pessimistic: among equal scores the wrong photos rank first."
    )
    rerank: int = option(0, "Re-rank by query expansion over so many neighbours, such as 10; 0 = plain cosine similarity.")
    image_size: int = option(0, "Side in pixels for plain vision models; 0 = what each was trained with.")
    batch_size: int = option(64, "Pictures encoded at once.")
    num_workers: int = option(2, "Processes that read pictures.")
    device: str | None = option(None, "cpu, cuda, ...; none = the fastest there is.")
    picture_rows: int = option(10, "Queries in the picture, evenly spaced from the best to the worst; 0 = no picture.")
    output_dir: str = option("outputs/eval", "Where results.json, table.md and the picture of each model go.")
    update_card: bool = option(False, "Also put them into the folder of each CAAN that is evaluated, and write its card anew.")

    def __post_init__(self):
        if self.rerank and self.update_card:
            raise ValueError("A card shows the model's own ranking: leave out either rerank or update_card.")


class RecipeLoader(yaml.SafeLoader):
    """YAML with the numbers of its version 1.2: 1e-3 is one, and 104_21, the name of a split, is none."""


NUMBERS = {"int": r"[-+]?(0|[1-9][0-9]*)", "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"}
RecipeLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for kind, pattern in NUMBERS.items():
    RecipeLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^{pattern}$"), list("-+.0123456789"))


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, and leaves the lines of the description alone."""


def parse_options(*classes, argv: list[str] | None = None, description: str | None = None) -> tuple:
    """Instances of the dataclasses from `[recipe.yaml] [--option value ...]`.

    Raises SystemExit with a message for an unknown option, on the command line or in the recipe, naming the nearest one, and
    for a value of the wrong type.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(classes, description=description)
    parser.add_argument("recipe", nargs="?", help="YAML file with any of the options below; the command line wins.")
    recipe = parse_known(parser, argv).recipe
    if recipe is not None:
        parser.set_defaults(**read_recipe(recipe, classes))
    *parsed, _ = parser.parse_args_into_dataclasses(argv, look_for_args_file=False)
    return tuple(parsed)


def build_parser(classes: tuple, **settings) -> HfArgumentParser:
    """A parser of the dataclasses' fields. Abbreviations are off: a later option could change what one means."""
    usage = "%(prog)s [recipe.yaml] [--option value ...]"
    return HfArgumentParser(classes, usage=usage, formatter_class=HelpFormatter, allow_abbrev=False, **settings)


def parse_known(parser: HfArgumentParser, argv: list[str]) -> argparse.Namespace:
    """The parsed arguments; an unknown one ends the program with a message that names the nearest option."""
    values, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].split("=")[0].lstrip("-")
        near = difflib.get_close_matches(name.replace("-", "_"), vars(values), 1)
        parser.error(f"unknown option {name!r}{f', did you mean {near[0]!r}?' if near else ''}")
    return values


def read_recipe(path: str, classes: tuple) -> dict:
    """The recipe's options, checked as if they stood on the command line; nested mappings become JSON."""
    parser = build_parser(classes, prog=path)
    if not Path(path).is_file():
        parser.error("no such recipe")
    try:
        values = yaml.load(Path(path).read_text(), RecipeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        parser.error(f"no YAML: {error}")
    if not isinstance(values, dict | None):
        parser.error("a recipe is a mapping of options to values")
    given = {str(key).replace("-", "_"): value for key, value in (values or {}).items() if value is not None}
    parsed = parse_known(parser, [argument for key, value in given.items() for argument in as_arguments(key, value)])
    return {key: getattr(parsed, key) for key in given}


def as_arguments(key: str, value) -> list[str]:
    """An option of a recipe as command-line arguments."""
    if isinstance(value, list):
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={json.dumps(value) if isinstance(value, dict) else value}"]
