"""An evaluation: from options to results.json, table.md and a picture of each model's retrieval.

run = EvaluationRun(EvalOptions(model=["outputs/openmoji", "pixels"]), command=["eval.py", "--model", ...])
for name in run.names:
    run.evaluate(name)
run.record.results
"""

import io
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from transformers.utils import CONFIG_NAME

from caan.data.benchmark import Benchmark, make_benchmark
from caan.data.pictures import load_splits
from caan.data.provenance import numbered, public_names
from caan.evaluation.evaluate import embed_benchmark, measure, measure_instances, retrieval_picture
from caan.evaluation.instance import InstanceReport
from caan.evaluation.record import RESULTS_FILE, Evaluation, write_whole
from caan.evaluation.report import RetrievalReport
from caan.evaluation.reranking import Reranking
from caan.evaluation.retrievers import PIXELS, load_retriever, retriever_config
from caan.evaluation.summary import results_markdown
from caan.options import EvalOptions
from configuration_caan import MODEL_TYPES

TABLE_FILE = "table.md"
UNRECORDED = {"model", "output_dir", "update_card", "rerank"}  # options that stand elsewhere in the record, or in no number


class EvaluationRun:
    """Models that are measured one after the other on one benchmark, and the record of it.

    Attributes:
        names: name in the record -> folder, Hub id or "pixels", in the order of the options.
        output, device, benchmark: where files go, what computes, what is searched.
        instances: name -> its report of the instance level, where that is asked for.
        record: the numbers so far; `results.json` and `table.md` are written from it after each model.
        files, pictures: name -> what the picture's file will be called, without its suffix; name -> a picture that is there.

    Raises ValueError or OSError on input that cannot be used, before the first picture is encoded.
    """

    def __init__(self, options: EvalOptions, command: Sequence[str]):
        self.options, self.output = options, Path(options.output_dir)
        require_writable(self.output)
        self.device = find_device(options.device)
        self.names = dict(zip(public_names(options.model), options.model))
        require_use(options.image_size, [retriever_config(name).model_type for name in options.model if name != PIXELS])
        splits = load_splits(options)
        self.benchmark = make_benchmark(splits, options.split, options.generalized)
        if options.instance:
            require_own_photos(self.benchmark, options)
        self.files = dict(zip(self.names, numbered(f"retrieval_{name.replace('/', '_')}" for name in self.names)))
        self.pictures: dict[str, Path] = {}
        self.instances: dict[str, InstanceReport] = {}
        settings = {name: value for name, value in asdict(options).items() if name not in UNRECORDED}
        self.record = Evaluation.begin(
            self.benchmark,
            settings | {"device": str(self.device)},
            command,
            device=self.device,
            rerank=Reranking(options.rerank) if options.rerank else None,
            dataset=options.dataset,
            dataset_config=splits[options.split].info.config_name,
            split=options.split,
            generalized=options.generalized,
            average=options.average,
            ties=options.ties,
        )

    def evaluate(self, name: str) -> RetrievalReport:
        """Measures one of the models, and writes its numbers and its picture."""
        options, benchmark = self.options, self.benchmark
        retriever = load_retriever(self.names[name], options.image_size)
        if (place := retriever.to(self.device)) != self.device:
            self.record.notes.append(f"{name} was computed on the {place.type.upper()}: {self.device} gave it other vectors")
        features = embed_benchmark(retriever, benchmark, batch_size=options.batch_size, num_workers=options.num_workers)
        if self.record.rerank:
            features = self.record.rerank(*features)
        chosen = {"top_k": options.top_k, "average": options.average, "ties": options.ties}
        report = measure(features, benchmark, **chosen, per_query=options.picture_rows > 0)
        self.record.add(name, report, retriever.identity)
        if options.instance:
            self.instances[name] = measure_instances(features, benchmark, ties=options.ties)
            self.record.add_instances(name, self.instances[name])
        picture = self.output / f"{self.files[name]}.png"
        picture.unlink(missing_ok=True)  # of other numbers
        self.record.write(self.output / RESULTS_FILE)  # before the picture: whatever goes wrong with it, the numbers are kept
        write_whole(self.output / TABLE_FILE, results_markdown(self.record))
        if options.picture_rows:
            content = io.BytesIO()
            retrieval_picture(features, benchmark, report, options.picture_rows).save(content, "PNG")
            write_whole(picture, content.getvalue())
            self.pictures[name] = picture
        return report


def require_own_photos(benchmark: Benchmark, options: EvalOptions) -> None:
    """Raises ValueError where no query has the photo that it was drawn from in the gallery: nothing could be measured."""
    queries, photos = benchmark.queries, benchmark.gallery_instances
    drawn = {pair for pair in zip(queries.labels.tolist(), queries.instances) if pair[1]}
    if drawn.isdisjoint(zip(benchmark.gallery_labels.tolist(), photos)):
        what = f"{options.dataset}, split {options.split}"
        why = (
            f"the photos that its {len(queries):,} sketches were drawn from are not in its gallery"
            if drawn
            else "its sketches belong to no photos (in the column instance they would have a name in common; Sketchy has such "
            "pairs, and a folder whose sketches are called as their photos are; what was published before that column has to "
            "be published again)"
        )
        raise ValueError(f"instance needs sketches with their own photos, and {what}, has none: {why}. Leave it out.")


def require_use(image_size: int | None, kinds: Sequence[str]) -> None:
    """Raises ValueError where `image_size` would have no effect: it is in the record, which would tell of another size."""
    if image_size is not None and not set(kinds) - set(MODEL_TYPES):
        raise ValueError(
            "image_size is of plain vision models, and --model names none: a CAAN sees what its own image processor makes, the "
            "pixels 32 x 32. Leave it out."
        )


def find_device(name: str | None) -> torch.device:
    """The device of that name, or the fastest there is.

    Raises:
        ValueError: there is none of that name on this machine.
    """
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.zeros(1, device=name).cpu()
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:  # a PyTorch built without that device asserts
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"device {name!r} cannot be used here: {reason}. Give --device cpu, or leave it out.") from error


def require_writable(folder: Path) -> None:
    """Makes the folder that the results go to and writes to it, before hours are spent on what could not be kept.

    Raises:
        ValueError: it holds a model, whose own results.json would be replaced, or a results.json of something else. OSError:
            naming the folder.
    """
    if (folder / CONFIG_NAME).exists():
        raise ValueError(
            f"{folder} holds a model, and its own results would be replaced. Give another --output_dir; --update_card puts the "
            "numbers of a model that is evaluated into its folder."
        )
    if (folder / RESULTS_FILE).exists():
        try:
            Evaluation.read(folder / RESULTS_FILE)
        except ValueError as error:
            raise ValueError(
                f"{folder / RESULTS_FILE} is no record of an evaluation, and would be replaced. Move it away, or give another "
                "--output_dir."
            ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"{folder} cannot be written: {error.strerror}. Give another --output_dir.") from error
