"""The work of `caan export`: load, write, compare, report. The folder gets all of it at the end, or stays as it was."""

import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel
from transformers.utils import CONFIG_NAME

from caan.data.benchmark import Benchmark, make_benchmark
from caan.data.pictures import load_splits
from caan.data.provenance import VERSIONED, public_command, public_name, version_of
from caan.errors import explain, naming
from caan.evaluation.evaluate import embed_benchmark
from caan.evaluation.metrics import retrieval_metrics
from caan.evaluation.report import results_table
from caan.evaluation.retrievers import Retriever
from caan.export.command import ExportOptions
from caan.export.graphs import SUFFIXES, export_graphs, need
from caan.export.pictures import calibration_pictures, smaller
from caan.export.quantization import quantize_graphs
from caan.export.runtime import REPORT, ExportedModel
from modeling_caan import CAANEnsembleModel, CAANModel
from processing_caan import CAANImageProcessor

TOLERANCE = 1e-3  # of a float graph, per component of a unit vector
COLUMNS = {"kind": "graphs", "megabytes": "MB", "max_abs_difference": "max difference", "min_cosine": "min cosine"}


def export(options: ExportOptions) -> dict:
    """Writes graphs, image processor and export.json into `options.output_dir`; returns what export.json holds.

    Raises:
        ValueError: a model, data set or folder that cannot be used, or graphs that do not agree with the model; the folder is
            as it was. ImportError: the extra `export` is not installed.
    """
    if options.format == "onnx":
        need("onnx", "onnxruntime", "onnxscript")
    with new_folder(Path(options.output_dir)) as folder:
        model, processor = load_model(options)
        splits = None if options.dataset == "none" else load_splits(options)
        if splits is not None:
            make_benchmark(splits)  # what it lacks is told before the graphs are made
        report = write_graphs(model, processor, folder, splits, options)
        benchmark = None if splits is None else make_benchmark({"test": smaller(splits["test"], options.max_pictures)})
        report |= compare(model, processor, report, folder, benchmark, options)
        refuse_disagreement(report, options)
        report |= {
            "command": public_command(sys.argv),
            "date": date.today().isoformat(),
            "versions": {name: version_of(name) for name in (*VERSIONED, "onnx", "onnxruntime", "onnxscript")},
            "python": platform.python_version(),
        }
        (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder in `target` whose files move up at the end, the report last; after an error nothing of it is left.

    Graphs of an earlier export that the new one does not have go then: nothing would say what they are.

    Raises ValueError where `target` cannot be made, or holds what is not an export's.
    """
    require_own(target)
    try:
        made = [path for path in (target, *target.parents) if not path.exists()]
        target.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".caan-export-", dir=target))
    except OSError as error:
        raise ValueError(f"--output_dir {target} cannot be written to: {error.strerror}.") from error
    try:
        yield work
        new = sorted(work.iterdir(), key=lambda path: path.name == REPORT)
        stale = reported_graphs(target) - {path.name for path in new}
        for path in new:
            path.replace(target / path.name)
        for name in stale:
            (target / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for path in made:
            if not any(path.iterdir()):
                path.rmdir()


def require_own(folder: Path) -> None:
    """Raises ValueError where files of the export would replace those of a model, or a report of something else."""
    if (folder / CONFIG_NAME).exists():
        raise ValueError(f"{folder} holds a model, whose image processor would be replaced. Give another --output_dir.")
    if (folder / REPORT).exists() and not reported_graphs(folder):
        raise ValueError(f"{folder / REPORT} is no report of an export. Give another --output_dir, or move it away.")


def reported_graphs(folder: Path) -> set[str]:
    """Names of the graphs that a folder's report lists, with the weights beside them; none where it has no report."""
    try:
        kinds = json.loads((folder / REPORT).read_text(encoding="utf-8"))["files"].values()
        names = {Path(file).name for files in kinds for file in files.values()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return set()
    graphs = {name for name in names if name.endswith(tuple(SUFFIXES.values()))}
    return graphs | {f"{name}.data" for name in graphs}


def load_model(options: ExportOptions) -> tuple[CAANModel | CAANEnsembleModel, CAANImageProcessor]:
    """The model in float32 on the CPU and its image processor.

    Raises ValueError where nothing can be loaded, weights are missing, or it is no CAAN.
    """
    source, revision = options.model, options.revision
    with naming("--model", source):
        model, info = AutoModel.from_pretrained(source, revision=revision, dtype=torch.float32, output_loading_info=True)
        processor = CAANImageProcessor.from_pretrained(source, revision=revision)
    if not isinstance(model, (CAANModel, CAANEnsembleModel)):
        raise ValueError(f"--model {source} is a {type(model).__name__}, no CAAN.")
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"--model {source} lacks {len(missing)} weights, such as {missing[0]}: save or download it again.")
    return model.eval(), processor


def write_graphs(model, processor, folder: Path, splits, options: ExportOptions) -> dict:
    """Writes graphs and processor; returns the part of the report that describes them."""
    size = processor.size["height"], processor.size["width"]
    print(f"{options.format}: {type(model).__name__}, {size[0]} x {size[1]} pixels", flush=True)
    with naming_failure(options, folder):
        files, outputs = export_graphs(model, size, folder, options.format, options.opset)
        kinds: dict[str, dict[str, str]] = {options.format: files}
        if options.int8:
            pictures = (
                None if splits is None else calibration_pictures(splits["train"], processor, options.calibration_pictures)
            )
            kinds["onnx_int8"] = quantize_graphs(files, folder, pictures)
        processor.save_pretrained(folder)
    return {
        "model": public_name(options.model),
        "revision": options.revision,
        "image_size": size,
        "opset": options.opset if options.format == "onnx" else None,
        "files": kinds,
        "outputs": outputs,
    }


@contextmanager
def naming_failure(options: ExportOptions, folder: Path) -> Iterator[None]:
    """What the exporters raise, which have error classes of their own, becomes a ValueError of one line."""
    try:
        yield
    except Exception as error:
        if explain(error) is not None:
            raise
        free = shutil.disk_usage(folder).free / 1e6
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"--model {options.model} cannot be written as {options.format} ({free:,.0f} MB are free there): {reason[0]}"
        ) from error


def compare(model, processor, report: dict, folder: Path, benchmark: Benchmark | None, options: ExportOptions) -> dict:
    """Agreement of each kind of graphs with the model, their sizes, and the retrieval scores of all of them."""
    exported = {kind: ExportedModel(files, folder, report["outputs"]) for kind, files in report["files"].items()}
    features, retrieval = {}, {}
    for kind, runner in {"model": model, **exported}.items():
        if benchmark is None:
            features[kind] = noise_features(runner, processor)
            continue
        print(f"{kind}: {len(benchmark.queries)} sketches, {len(benchmark.gallery_labels)} photos", flush=True)
        loading = {"batch_size": options.batch_size, "num_workers": options.num_workers}
        features[kind] = embed_benchmark(Retriever(kind, runner, processor), benchmark, **loading)
        retrieval[kind] = retrieval_metrics(*features[kind], benchmark.queries.labels, benchmark.gallery_labels)
    data = {
        "dataset": public_name(options.dataset),
        "dataset_config": options.dataset_config,
        "max_pictures": options.max_pictures,
    }
    return {
        "megabytes": {kind: megabytes(files, folder) for kind, files in report["files"].items()},
        "agreement_on": "noise" if benchmark is None else "the pictures of the data set",
        "agreement": {kind: agreement(features[kind], features["model"]) for kind in exported},
        "data": None if benchmark is None else {**data, "split": "test (unseen classes)"},
        "retrieval": {kind: measured.to_dict() for kind, measured in retrieval.items()},
        "definitions": retrieval["model"].definitions if retrieval else None,
    }


def refuse_disagreement(report: dict, options: ExportOptions) -> None:
    """Raises ValueError where float graphs differ from the model, or an int8 graph turns a vector too far."""
    difference = report["agreement"][options.format]["max_abs_difference"]
    if not difference <= TOLERANCE:  # NaN too
        raise ValueError(f"The {options.format} graphs differ from the model by {difference:.2g}: nothing was written.")
    cosine = report["agreement"].get("onnx_int8", {}).get("min_cosine", 1.0)
    if not cosine >= options.int8_min_cosine:
        raise ValueError(
            f"The int8 graphs' lowest cosine with the model on {report['agreement_on']} is {cosine:.5f}, below "
            f"{options.int8_min_cosine:g}: nothing was written. Leave out --int8, calibrate on more pictures "
            "(--calibration_pictures), or allow it (--int8_min_cosine)."
        )


@torch.inference_mode()
def noise_features(model, processor, count: int = 3) -> tuple[Tensor, Tensor]:
    """Features of the same random pixels as sketches and as photos, (count, hidden_size) each."""
    shape = (count, 3, processor.size["height"], processor.size["width"])
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return model.get_sketch_features(pixels), model.get_image_features(pixels)


def agreement(features: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> dict[str, float]:
    """Largest difference of a component, lowest and mean cosine of a vector, between unit vectors (count, hidden_size)."""
    made, wanted = torch.cat(features).double(), torch.cat(expected).double()
    cosines = torch.cosine_similarity(made, wanted)
    return {
        "max_abs_difference": float((made - wanted).abs().max()),
        "min_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
    }


def megabytes(files: dict[str, str], folder: Path) -> float:
    """Size of the graphs of one kind, with the weights that lie beside them, in MB (10^6 bytes)."""
    paths = [folder / name for file in set(files.values()) for name in (file, f"{file}.data")]
    return sum(path.stat().st_size for path in paths if path.exists()) / 1e6


def summary(report: dict) -> str:
    """A markdown table: a row for the model and for each kind of graphs."""
    rows = [
        {
            "kind": kind,
            "megabytes": report["megabytes"].get(kind),
            **{name: f"{value:.6g}" for name, value in report["agreement"].get(kind, {}).items()},
            "map_all": report["retrieval"].get(kind, {}).get("map_all"),
        }
        for kind in ("model", *report["files"])
    ]
    return results_table(rows, {**COLUMNS, **({"map_all": "mAP@all"} if report["retrieval"] else {})}, digits=4)
