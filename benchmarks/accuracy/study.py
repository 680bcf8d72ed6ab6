"""How every row of the accuracy studies is trained, judged and written down; each study is a list of rows.

Rows of one study train on the same pictures, in the same batches, for the same number of steps, by the recipe's optimizer and
rates, and are judged on the unseen classes of a fold inside Sketchy's 104 seen classes (`dataset_scripts.core.folds`), never on
the 21 real unseen ones. All results are kept in `results/runs.json` under row, fold, seed and number of epochs; what is there
is not run again, so a study can be stopped, continued, and spread over processes, and rows that two studies share are run once.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from filelock import FileLock
from safetensors.torch import save_file
from tqdm.auto import tqdm

from caan.data.benchmark import Benchmark, make_benchmark
from caan.data.pictures import load_splits
from caan.data.processors import inference_processor
from caan.data.provenance import VERSIONED, version_of
from caan.data.text import collect_descriptions, tokenize_descriptions
from caan.evaluation.metrics import RetrievalAccumulator
from caan.options import NOT_NEGATIVE, SEED, DataOptions, ModelOptions, Options, Range, TrainOptions, option
from caan.parsing import OptionParser, parse_options
from caan.training.batches import build_loader
from caan.training.building import build_model
from caan.training.loop import TrainingLoop
from caan.training.precision import build_accelerator
from caan.training.teacher import TeacherSource, build_teacher
from pipeline_caan import embed_images

HERE = Path(__file__).parent
STORE = "runs.json"
SHARED = Path(os.environ.get("CAAN_SHARED", HERE.parents[2] / "shared"))


@dataclass
class StudyOptions(Options):
    """What a study runs on."""

    fold: list[int] = option([0], "Folds of dataset_scripts.core.folds, 0 to 4.", Range(0, 4))
    seed: list[int] = option([0], "Seeds of weights, batches and augmentation.", SEED)
    rows: list[str] | None = field(default=None, metadata={"help": "Only rows whose name begins so; all where not given."})
    num_epochs: int = option(0, "Passes over the training sketches; 0 = as the recipe says.", NOT_NEGATIVE)
    recipe: str = option("recipes/sketchy_small.yaml", "Recipe that every row departs from.")
    data_dir: str = option(str(SHARED / "data" / "Sketchy"), "Folder of Sketchy, or a part of it.")
    models: str = option(str(SHARED / "models"), "Folder with vit-small-patch14, minilm-l6 and efficientnet-lite0.")
    output_dir: str = option(str(HERE / "results"), "Where the results, the table and the figure go.")
    again: bool = option(False, "Run rows anew that have a result.")
    keep_scores: str | None = option(None, "Also keep the scores of each row in this folder: rows are combined from them.")
    keep_models: str | None = option(None, "Also save each trained CAAN, in the form for inference, in this folder.")
    table_only: bool = option(False, "Train nothing: only write table and figure of the results that there are.")


def parse_study(description: str, **defaults) -> StudyOptions:
    """The options of a study from its command line; `description` heads its help, `defaults` are the study's own."""
    usage = "python -m benchmarks.accuracy.<study> [--option value ...]"
    parser = OptionParser((StudyOptions,), usage=usage, description=description)
    parser.set_defaults(**defaults)
    return parser.fill(sys.argv[1:])[0]


class Run(NamedTuple):
    """What a row is run with: the recipe's options for one fold and seed, and the data.

    permuted_teacher: each photo's target is the teacher's feature of another photo, the control of retained knowledge.
    """

    model_options: ModelOptions
    data: DataOptions
    train: TrainOptions
    splits: Mapping
    benchmark: Benchmark
    permuted_teacher: bool = False

    @property
    def names(self) -> list[str]:
        """All class names, indexed by label."""
        return self.splits["train"].features["label"].names

    def with_config(self, **fields) -> "Run":
        """The same with other fields of CAANConfig."""
        config = {**json.loads(self.model_options.model_config), **fields}
        return self.with_model(model_config=json.dumps(config))

    def with_model(self, **options) -> "Run":
        """The same with other ModelOptions."""
        return self._replace(model_options=replace(self.model_options, **options))


class Row(NamedTuple):
    """A line of a study.

    Args:
        name: says what is run; rows of one name are the same in all studies. build: run -> model, image processor, and
            the tokens of the descriptions or None.
        scores: model, image processor, run -> {result name: scores (queries, gallery)}; by default the cosine similarities
            under the row's own name. trains: whether the model is trained at all.
        options: of TrainOptions, unlike the recipe's. change: run -> the run with other options of model and data.
        judge: scores, benchmark -> what is kept of them; by default `judge`.
    """

    name: str
    build: Callable
    scores: Callable | None = None
    trains: bool = True
    options: Mapping = {}
    change: Callable | None = None
    judge: Callable | None = None


def build_caan(run: Run, descriptions: Mapping[str, Sequence[str]] | None = None) -> tuple:
    """CAAN as the run's options say; `descriptions` (class name -> sentences) stand in for the shipped ones."""
    train = run.splits["train"]
    use_text = json.loads(run.model_options.model_config).get("use_text", True)
    table = collect_descriptions(train["label"], train["descriptions"], run.names, descriptions) if use_text else {}
    options = run.model_options if use_text else replace(run.model_options, text_model=None)
    model, processor = build_model(options, [])
    if not use_text:
        return model, processor, None
    tokens = tokenize_descriptions(processor.tokenizer, table, model.config.max_description_tokens)
    return model, processor.image_processor, tokens


def fit(model, image_processor, tokens, run: Run, name: str) -> tuple:
    """Trains as train.py does, without checkpoints.

    Returns the finished model, and what it took: images seen, seconds, the mean loss of the last tenth.
    """
    options, losses, start = run.train, [], time.perf_counter()
    AcceleratorState._reset_state(reset_partial_state=True)  # rows of one process may differ in precision
    accelerator = build_accelerator(options)
    config = getattr(model, "caan", model).config
    loader = build_loader(run.splits["train"], image_processor, run.data, options, 1, config.lambda_instance)
    teacher = None
    if run.model_options.teacher_model:
        told = run.model_options.teacher_model, run.model_options.teacher_image_size
        teacher = build_teacher(*told, loader.dataset, accelerator.device)
        if run.permuted_teacher:
            teacher = TeacherSource(teacher.photos[torch.randperm(len(teacher.photos))], teacher.rows)
        getattr(model, "caan", model).set_teacher_width(teacher.width)
    loop = TrainingLoop(accelerator, model, loader, options, tokens, run.data.sentences_per_step, teacher)
    with tqdm(total=loop.total_steps, desc=name, mininterval=5) as bar:
        for _ in loop.epochs():
            for step in loop.steps():
                losses.append(step["loss"])
                bar.update()
    images = 2 * options.classes_per_batch * options.items_per_class * len(losses)
    last = losses[-max(1, len(losses) // 10) :]
    return loop.finished_model(), {
        "images_seen": images,
        "seconds": time.perf_counter() - start,
        "last_loss": sum(last) / len(last),
        "precision": accelerator.mixed_precision,
        "threads": torch.get_num_threads(),
    }


def features(model, image_processor, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of the fold-unseen queries and of their gallery."""
    (gallery,) = run.benchmark.galleries
    settings = {"batch_size": 100, "progress": False}
    queries = embed_images(model, image_processor, run.benchmark.queries, "sketch", **settings)
    return queries, embed_images(model, image_processor, gallery, "photo", **settings)


def cosine_scores(model, image_processor, run: Run) -> torch.Tensor:
    """Scores (queries, gallery) of a bi-encoder."""
    queries, gallery = features(model, image_processor, run)
    return queries @ gallery.T


def judge(scores: torch.Tensor, benchmark: Benchmark) -> dict:
    """mAP@all, Prec@25, top-1 and their circumstances of scores (queries, gallery)."""
    accumulator = RetrievalAccumulator(top_k=(25,))
    labels = benchmark.queries.labels
    accumulator.update(scores.float(), labels[:, None] == benchmark.gallery_labels[None], labels.tolist())
    report = accumulator.compute()
    return {
        **{name: round(report[name], 5) for name in ("map_all", "prec_25", "top1")},
        "gallery_size": report.gallery_size,
        "num_queries": report.num_queries,
    }


def prepare(options: StudyOptions, fold: int, seed: int) -> Run:
    """The recipe's options and the data of one fold."""
    for path in (options.data_dir, options.models):
        if not Path(path).is_dir():
            sys.exit(f"error: there is no folder {Path(path).name}: give --data_dir and --models")
    models = {kind: str(Path(options.models) / name) for kind, name in (("vision", "vit-small-patch14"), ("text", "minilm-l6"))}
    given = [options.recipe, "--dataset_config", f"fold_{fold}", "--data_dir", options.data_dir, "--seed", str(seed)]
    given += [argument for kind, path in models.items() for argument in (f"--{kind}_model", path)]
    if options.num_epochs:
        given += ["--num_epochs", str(options.num_epochs)]
    model_options, data, train = parse_options(ModelOptions, DataOptions, TrainOptions, argv=given)
    splits = load_splits(data)
    return Run(model_options, data, train, splits, make_benchmark(splits, "test"))


def run_row(row: Row, run: Run, folder: Path | None = None, scores_in: Path | None = None) -> dict[str, dict]:
    """Trains and judges one row, saves what was trained in `folder` and its own scores in `scores_in`.

    Returns result name -> what is kept of it.
    """
    if row.change:
        run = row.change(run)
    run = run._replace(train=replace(run.train, **row.options))
    set_seed(run.train.seed)
    model, image_processor, tokens = row.build(run)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad) if row.trains else 0
    model, cost = fit(model, image_processor, tokens, run, row.name) if row.trains else (model, {})
    model.eval()
    if row.trains:
        image_processor = inference_processor(image_processor, run.model_options.inference_image_size)
    start = time.perf_counter()
    scores = row.scores(model, image_processor, run) if row.scores else {row.name: cosine_scores(model, image_processor, run)}
    cost |= {"trained_parameters": parameters, "seconds_to_rank": time.perf_counter() - start}
    if folder is not None and row.trains:
        keep_model(model, image_processor, folder)
    if scores_in is not None:
        scores_in.parent.mkdir(parents=True, exist_ok=True)
        save_file({"scores": scores[row.name].contiguous()}, scores_in.with_suffix(".safetensors"))
    return {name: {**(row.judge or judge)(value, run.benchmark), **cost} for name, value in scores.items()}


def keep_model(model, image_processor, folder: Path) -> None:
    """Writes the CAAN that is, or is in, a trained model, as it was judged last, for `AutoModel.from_pretrained`."""
    getattr(model, "caan", model).for_inference().save_pretrained(folder)
    image_processor.save_pretrained(folder)


def kept_as(folder: str | None, name: str, key: Mapping) -> Path | None:
    """Where a row's model or scores are kept, such as `DIR/caan-fold0-seed0-2ep`; None where they are not."""
    if folder is None:
        return None
    words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return Path(folder) / f"{words}-fold{key['fold']}-seed{key['seed']}-{key['epochs']}ep"


def run_study(study: str, rows: Sequence[Row], options: StudyOptions, show: Callable[[list[dict], Path], None]) -> None:
    """Runs what has no result yet, keeps each result at once, and has `show` draw table and figure, `<study>.*`."""
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    asked = [row for row in rows if not options.rows or row.name.startswith(tuple(options.rows))]
    for fold in () if options.table_only else options.fold:
        for seed in options.seed:
            run = prepare(options, fold, seed)
            for row in asked:
                key = {"fold": fold, "seed": seed, "epochs": run.train.num_epochs if row.trains else 0}
                done = any(r["trained_as"] == row.name and key.items() <= r.items() for r in read_results(folder / STORE))
                if done and not options.again:
                    print(f"{row.name}, fold {fold}, seed {seed}: there is a result (--again runs it anew)", flush=True)
                    continue
                results = run_row(
                    row, run, kept_as(options.keep_models, row.name, key), kept_as(options.keep_scores, row.name, key)
                )
                add_results(folder / STORE, row.name, {**key, "study": study}, results)
    names = {row.name for row in rows}
    show([r for r in read_results(folder / STORE) if r["trained_as"] in names], folder / study)


def read_results(path: Path) -> list[dict]:
    """The records kept so far."""
    return json.loads(path.read_text())["results"] if path.exists() else []


def add_results(path: Path, trained_as: str, key: dict, results: dict[str, dict]) -> None:
    """Adds a row's results, in place of older ones of the same row, fold, seed and epochs. Safe beside other processes."""
    new = [{"row": name, "trained_as": trained_as, **key, **values} for name, values in results.items()]
    for record in new:
        print(json.dumps({k: record[k] for k in ("row", "fold", "seed", "map_all", "prec_25", "top1")}), flush=True)
    with FileLock(Path(tempfile.gettempdir()) / "caan-accuracy-runs.lock"):
        kept = [r for r in read_results(path) if any(r[k] != new[0][k] for k in ("trained_as", "fold", "seed", "epochs"))]
        content = {
            "metrics": "mAP@all: precision at each hit / R; prec_25: hits in the top 25 / 25; top1. Micro mean over queries.",
            "command": "python -m benchmarks.accuracy.STUDY --fold FOLD --seed SEED, as each record says",
            "versions": {name: version_of(name) for name in VERSIONED},
            "results": kept + new,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
