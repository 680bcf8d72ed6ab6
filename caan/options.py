"""Families of options: dataclasses that commands are composed of, read from a YAML recipe and the command line.

    model_options, data_options, train_options = parse_options(ModelOptions, DataOptions, TrainOptions, argv=argv)

A family names each thing once, so that it is called the same in every command. A field's metadata hold its help and its range;
a value out of range is refused by name, whether it comes from a recipe, a command line or Python. Nothing here imports torch.
"""

import ipaddress
import math
import re
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple


class Range(NamedTuple):
    """Bounds of a number. `above` leaves out the lower bound, `below` the upper one; high None = no upper bound."""

    low: float
    high: float | None = None
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is finite and within the bounds."""
        high_enough = value > self.low if self.above else value >= self.low
        low_enough = self.high is None or (value < self.high if self.below else value <= self.high)
        return math.isfinite(value) and high_enough and low_enough

    def __str__(self) -> str:
        if self.high is None:
            return f"{'above' if self.above else 'at least'} {self.low:g}"
        return f"in {'(' if self.above else '['}{self.low:g}, {self.high:g}{')' if self.below else ']'}"


COUNT, NOT_NEGATIVE = Range(1), Range(0)
SEED = Range(0, 2**32 - 1)  # NumPy takes no more
SHARE, SHARE_BELOW_ONE, SHARE_ABOVE_ZERO = Range(0, 1), Range(0, 1, below=True), Range(0, 1, above=True)

TUNE = r"all|layer_norm|layer_norm_attention|last_[1-9][0-9]*|lora|none"
TUNE_CHOICES = "all, layer_norm, layer_norm_attention, last_N (N from 1 on), lora or none"


def option(default, text: str, allowed: Range | None = None, short: str | None = None):
    """A dataclass field with a help text and, for a number or a list of numbers, its range; `short` is another name, such as
    -n. A list is copied."""
    metadata: dict = {"help": text}
    metadata |= {} if allowed is None else {"range": allowed}
    metadata |= {} if short is None else {"aliases": [short]}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Options:
    """What the families have in common: numbers out of range are refused when an instance is made."""

    def __post_init__(self):
        for item in fields(self):
            allowed, value = item.metadata.get("range"), getattr(self, item.name)
            for number in value if isinstance(value, list) else [value]:
                if allowed is not None and number is not None and not allowed.holds(number):
                    raise ValueError(f"{item.name} must be {allowed}, got {number}.")


def require_folder_name(output_dir: str) -> None:
    """Raises ValueError for a blank name, and for a home that the shell did not write out."""
    if not output_dir.strip() or output_dir.startswith("~"):
        raise ValueError(f"output_dir must be the path of a folder, written out, got {output_dir!r}.")


@dataclass
class SourceOptions(Options):
    """Which data, and what becomes of the incomplete and the broken."""

    dataset: str = option("openmoji", "Builder in dataset_scripts, or Hub id or folder of its Parquet form.")
    dataset_config: str | None = option(None, "Zero-shot split, such as 104_21; none = the builder's default.")
    data_dir: str | None = option(None, "Folder with the archive's pictures, for builders that need one.")
    allow_partial: bool = option(False, "Go on where the archive in data_dir is not complete.")
    skip_corrupt: bool = option(
        False, "Leave out pictures that do not decode and sketches without ink; they are named and counted. Checks all once."
    )
    verify: bool = option(False, "Decode every picture before the data set is built (minutes); a bad one is named.")
    duplicates: bool = option(False, "Keep both copies of doubly listed photos (Sketchy's published protocol).")
    validation_photos: float = option(0.1, "Share of each seen class's photos that is held out.", SHARE_BELOW_ONE)


@dataclass
class DataOptions(SourceOptions):
    """What it is trained on."""

    descriptions: str | None = option(None, "JSON lines of `caan describe`, in place of the data's own descriptions.")
    num_workers: int = option(2, "Processes that read and augment pictures, for each training process.", NOT_NEGATIVE)
    train_on_validation: bool = option(
        False, "Train on the held-out items of seen classes too: for a recipe that is fixed. Needs keep: last."
    )
    augment: bool = option(True, "Random flips, crops, colours of photos, and strokes and shapes of sketches.")
    paper: float = option(
        0.0,
        "Probability that a training sketch is put on a random surface (paper, board, screen, desk; its light and dirt) before "
        "it is prepared; 0 = never. A part of augment.",
        SHARE,
    )
    sentences_per_step: int = option(
        2, "Description sentences a class that a step reads, drawn at random; 0 = all.", NOT_NEGATIVE
    )

    def __post_init__(self):
        super().__post_init__()
        if self.paper and not self.augment:
            raise ValueError("paper is a part of augment: leave out paper, or augment too.")


@dataclass
class ModelOptions(Options):
    """What is trained."""

    model: str | None = option(
        None,
        "Hub id or folder of a CAAN to train on from; its config, input size and shade are its own, and of the other model "
        "options only teacher_model, tune, lora_rank, freeze_batch_norm, inference_image_size and activation_checkpointing "
        "apply.",
    )
    vision_model: str | None = option(None, "Hub id or folder that both vision towers start from; none = random weights.")
    text_model: str | None = option(None, "Hub id or folder of the text encoder and its tokenizer; none = random weights.")
    teacher_model: str | None = option(
        None,
        "Hub id or folder of a vision model whose knowledge of photos is retained in training; it is frozen, sees each photo "
        "once, and takes no part afterwards. Weight: model_config.lambda_teacher.",
    )
    teacher_image_size: int = option(0, "Side of the teacher's input, in pixels; 0 = what it was trained with.", NOT_NEGATIVE)
    model_config: str = option(
        "{}", "Fields of CAANConfig, as a mapping in a recipe and as JSON here; --model_config.margin 0.2 changes one."
    )
    image_size: int = option(224, "Side of the square input, in pixels.", COUNT)
    inference_image_size: int = option(
        0, "Side that the finished model's processor makes; 0 = image_size. Crops enlarge, so go higher.", NOT_NEGATIVE
    )
    sketch_shade: float = option(
        0.0, "Darkness of the shade laid over what a sketch's outline encloses, at inference too: 0 (none) to 1 (black).", SHARE
    )
    tokenizer_vocab_size: int = option(
        2000, "Words of the tokenizer that is trained on the descriptions without text_model.", COUNT
    )
    tune: str = option(
        "all",
        "What of the vision encoders learns: all; layer_norm (norms of any type); layer_norm_attention (also query, key and "
        "value, class token and positions, as in CLIP-AT's code); last_N (the last N blocks and what follows, such as last_4); "
        "lora (adapters of linear layers and 1x1 convolutions, merged when saved; extra lora); none. What CAAN adds to them "
        "always learns.",
    )
    lora_rank: int = option(8, "Rank of the adapters of tune: lora.", COUNT)
    freeze_batch_norm: bool = option(
        False,
        "Batch norms of the vision encoders stay as they are, weights and statistics: for a pretrained CNN and small batches.",
    )
    activation_checkpointing: bool = option(False, "Recompute activations in the backward pass: less memory, a third slower.")

    def __post_init__(self):
        super().__post_init__()
        if not re.fullmatch(TUNE, self.tune):
            raise ValueError(f"tune must be {TUNE_CHOICES}, got {self.tune!r}.")


@dataclass
class TrainOptions(Options):
    """How it is trained."""

    output_dir: str = option("outputs/caan", "Where the finished model goes, in the form of a Hub repository.")
    seed: int = option(0, "Seed of weights, batches and augmentation.", SEED)
    num_epochs: int = option(20, "Passes over the training sketches.", COUNT)
    classes_per_batch: int = option(16, "P: classes in a batch of one process.", Range(2))
    items_per_class: int = option(4, "K: sketches, and photos, of each class in a batch.", COUNT)
    own_photos: float | None = option(
        None,
        "Share of the training sketches that come with the photo that they were drawn from, the others with any of their "
        "class. A batch then has sketches of K different photos of each class where there are so many, and sketch and photo "
        "are mirrored together. None = 1 with model_config.lambda_instance, else 0.",
        SHARE,
    )
    batches_per_epoch: int = option(
        0,
        "Batches an epoch, of all processes together; 0 = so many as hold the number of training sketches. Classes are drawn "
        "evenly, so that of a class with more sketches than others an epoch shows a part.",
        NOT_NEGATIVE,
    )
    learning_rate: float = option(3e-4, "Peak learning rate.", NOT_NEGATIVE)
    vision_learning_rate: float = option(
        0.0, "Peak rate of the vision encoders; 0 = the same. Lower it for a warm start.", NOT_NEGATIVE
    )
    layer_decay: float = option(
        1.0, "Each vision block learns at this share of the next one's rate; 1 = at the same.", SHARE_ABOVE_ZERO
    )
    ema_decay: float = option(
        0.0,
        "Share of the average of the weights that each step keeps, such as 0.999: the average is validated and published, not "
        "the last step's weights; 0 = no average.",
        SHARE_BELOW_ONE,
    )
    start_share: float = option(
        0.0,
        "Share of the start in the vision encoders that are validated and published: (1 - share) x trained + share x start "
        "(WiSE-FT), such as 0.5.",
        SHARE_BELOW_ONE,
    )
    weight_decay: float = option(0.05, "AdamW's weight decay; norms and biases have none.", NOT_NEGATIVE)
    warmup_ratio: float = option(0.05, "Share of the steps in which the learning rate rises; then it falls by a cosine.", SHARE)
    max_grad_norm: float = option(1.0, "Gradients are clipped to this norm; 0 = not.", NOT_NEGATIVE)
    gradient_accumulation_steps: int = option(1, "Batches for one step of the optimizer; triplets never cross batches.", COUNT)
    mixed_precision: Literal["no", "bf16", "fp16", "auto"] | None = option(
        None,
        "Type of the activations; none = as `accelerate launch` says, else float32. fp16 needs a GPU; auto: bf16 where this "
        "machine multiplies it natively, else no.",
    )
    cpu: bool = option(False, "Train on the CPU although there is a GPU.")
    checkpointing_steps: int = option(
        0, "Also write a checkpoint every so many steps; 0 = at the end of epochs only.", NOT_NEGATIVE
    )
    save_total_limit: int = option(
        2, "Checkpoints that are kept; of two the older one serves where the newer is damaged.", COUNT
    )
    resume_from_checkpoint: str | None = option(None, "A checkpoint folder, or latest: go on where the run was left.")
    eval_batch_size: int = option(128, "Pictures encoded at once in validation.", COUNT)
    keep: Literal["best", "last"] = option(
        "best", "Weights of the finished model: best (by mAP@all on the seen hold-out) or last."
    )
    report_to: str = option("none", "Tracker: none, tensorboard (extra tracking), trackio, wandb, or all that are installed.")

    def __post_init__(self):
        super().__post_init__()
        require_folder_name(self.output_dir)


@dataclass
class EvalOptions(SourceOptions):
    """What is evaluated, and on what."""

    model: list[str] = option(
        ["pixels"], "Folders or Hub ids of CAANs or of plain vision models, or pixels, the baseline without learning."
    )
    split: Literal["test", "validation"] = option("test", "test: unseen classes. validation: held-out items of seen classes.")
    generalized: bool = option(False, "Add the photos of all seen classes to the gallery.")
    instance: bool = option(
        False,
        "Also acc@1, acc@5 and acc@10 of the instance level: whether a sketch finds the very photo that it was drawn from, "
        "among the photos of its class and in the whole gallery. Needs data with such pairs, such as sketchy.",
    )
    top_k: list[int] = option([100, 200], "The K of each Prec@K, hits divided by K.", COUNT)
    average: Literal["micro", "macro"] = option("micro", "micro: mean over queries. macro: mean of the class means.")
    ties: Literal["gallery_order", "pessimistic"] = option(
        "gallery_order", "gallery_order, or pessimistic: among equal scores the wrong photos rank first."
    )
    rerank: int = option(
        0,
        "Re-rank by query expansion over so many neighbours, such as 10, from the whole gallery (transductive); helps where a "
        "query has many more relevant photos, hurts where it has few; 0 = plain cosine similarity.",
        NOT_NEGATIVE,
    )
    image_size: int | None = option(
        None, "Side of the input of plain vision models, in pixels; none = what the preprocessor of each makes.", COUNT
    )
    batch_size: int = option(64, "Pictures encoded at once.", COUNT)
    num_workers: int = option(2, "Processes that read pictures.", NOT_NEGATIVE)
    device: str | None = option(None, "cpu, cuda, ...; none = the fastest there is.")
    picture_rows: int = option(
        10, "Queries in the picture, evenly spaced from the best to the worst; 0 = no picture.", NOT_NEGATIVE
    )
    output_dir: str = option("outputs/eval", "Where results.json, table.md and the picture of each model go.")
    update_card: bool = option(False, "Also put them into the folder of each CAAN that is evaluated, and write its card anew.")

    def __post_init__(self):
        super().__post_init__()
        if self.rerank and self.update_card:
            raise ValueError("A card shows the model's own ranking: leave out either rerank or update_card.")


@dataclass(kw_only=True)
class CombineOptions(Options):
    """How several models are made one, and where it goes."""

    output_dir: str = field(metadata={"help": "New or empty folder for the combined model, in the form of a Hub repository."})
    weights: list[float] | None = option(
        None,
        "A number for each MODEL, in their order: its share of the cosine, relative to the others'; none = equal shares.",
        Range(0, above=True),
    )

    def __post_init__(self):
        super().__post_init__()
        require_folder_name(self.output_dir)


@dataclass
class PushOptions(Options):
    """What is pushed, and how."""

    full: bool = option(False, "Push the full form, with text encoder and alignment, instead of the form for inference.")
    private: bool = option(False, "Make the repository on the Hub private; refused where it is there and public.")
    revision: str | None = option(None, "Branch of the repository that is pushed to, made where it is missing; none = main.")
    commit_message: str | None = option(None, "Message of the commit on the Hub.")
    license: str | None = option(None, "Licence of the weights, for the card, as the Hub names it, such as apache-2.0.")


@dataclass
class TrainPushOptions(PushOptions):
    """Whether a training run is pushed, and where to."""

    push_to_hub: bool = option(False, "Push the finished model to the Hub.")
    hub_model_id: str | None = option(None, "Repository that push_to_hub goes to, such as org/caan-sketchy.")
    push_steps: int = option(
        0, "Also push the current weights every so many steps, in the background; 0 = at the end only.", NOT_NEGATIVE
    )

    def __post_init__(self):
        super().__post_init__()
        if self.push_to_hub and not self.hub_model_id:
            raise ValueError("push_to_hub needs hub_model_id, the repository, such as org/caan-sketchy.")
        for name in ("push_steps", "full", "private", "revision", "commit_message"):
            if getattr(self, name) and not self.push_to_hub:
                raise ValueError(f"{name} needs push_to_hub.")


@dataclass
class GalleryOptions(Options):
    """Which gallery, and the model that makes and searches it."""

    gallery: str = option(
        "default",
        "Its name, or its folder (a path with a slash), milvus://HOST:PORT/NAME, or hf://datasets/ORG/NAME (to search only).",
    )
    model: str | None = option(
        None, "Hub id or folder, as caan eval takes it; none = the gallery's own, for a new one the model used last."
    )
    image_size: int | None = option(
        None, "Side of the input of a plain vision model, in pixels; none = what its preprocessor makes.", COUNT
    )
    device: str | None = option(None, "cpu, cuda, ...; none = the fastest there is.")


@dataclass
class IndexOptions(GalleryOptions):
    """How a gallery is brought up to its folders."""

    exclude: list[str] | None = option(
        None,
        "Patterns of files and folders in FOLDER that are left out from now on, such as drafts '*.png'; * means / too.",
    )
    retry: bool = option(False, "Also read files again that could not be read the last time.")
    check: bool = option(
        False, "Read all files, to find photos that changed while their size and time stayed (some editors and copies do so)."
    )
    dry_run: bool = option(False, "Say what would be done, and do nothing.")
    yes: bool = option(
        False,
        "Go on where photos are missing that may be on a disk that is away: a folder that is given holds none any more, one in "
        "it is empty now, or folders in it have gone with many (100, or a tenth of the folder's; fewer than 5 never are); and "
        "with --public.",
    )
    batch_size: int = option(64, "Photos encoded at once; halved where the memory does not suffice.", COUNT)
    num_workers: int = option(2, "Processes that read photos; 0 = none.", NOT_NEGATIVE)
    push: str | None = option(
        None, "Then send the gallery to this data set on the Hub, such as org/holidays: thumbnails, vectors and paths; private."
    )
    public: bool = option(False, "Let everyone read what is pushed. Needs --yes, or an answer at the terminal.")

    def __post_init__(self):
        super().__post_init__()
        if self.public and not self.push:
            raise ValueError("public is of push: give --push org/name.")
        if self.push is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.push):
            raise ValueError(f"push must be ORG/NAME, the data set's name on the Hub, got {self.push!r}.")


PICTURE = "search.png"


@dataclass
class SearchOptions(GalleryOptions):
    """What is searched, and how the answer is shown."""

    top_k: int = option(20, "Pictures that are shown.", COUNT, short="-n")
    under: str | None = option(None, "Search only photos at or below this folder.")
    json: bool = option(False, "Print JSON alone: path, score, rank, copies.")
    paths: bool = option(False, "Print the paths alone, one a line, as their bytes are; a name may hold the end of a line.")
    print0: bool = option(False, "Print the paths alone, each with a NUL byte behind it, as xargs -0 reads them.")
    picture: str = option(PICTURE, "The picture of the results; none = none.")
    open: bool = option(False, "Show the picture.")
    explain: bool = option(False, "Also draw which part of a photo answers which stroke, for the first results.")

    def __post_init__(self):
        super().__post_init__()
        if self.json + self.paths + self.print0 > 1:
            raise ValueError("json, paths and print0 are forms of the answer: give one.")
        if self.picture == "none" and (self.open or self.explain):
            raise ValueError("open and explain are of the picture: leave out --picture none.")


@dataclass
class AppOptions(GalleryOptions):
    """Where the page is served, and to whom."""

    host: str = option("127.0.0.1", "Address that the page is served at; another than this machine's own needs --auth.")
    port: int = option(7860, "Its port.", Range(1, 65535))
    auth: str | None = option(None, "USER:PASSWORD that the page asks for.")
    space: str | None = option(
        None, "Write a Hub Space into this folder, that serves the gallery hf://datasets/ORG/NAME, and serve nothing here."
    )

    def __post_init__(self):
        super().__post_init__()
        user, colon, password = (self.auth or "a:b").partition(":")
        if not (user and colon and password):
            raise ValueError("auth must be USER:PASSWORD, with a colon between the two.")
        if not self.auth and not self.space and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} lets other machines in, and they would see your photos: add --auth USER:PASSWORD, or leave "
                "--host out."
            )
        if self.space and not self.gallery.startswith("hf://datasets/"):
            raise ValueError(
                "A Space serves a public gallery on the Hub alone: --gallery hf://datasets/ORG/NAME, which caan index --push "
                "makes."
            )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
