"""`caan export`: the inference towers as ONNX or torch.export files, checked against the model that they came from.

A graph that merely runs proves nothing, so each kind is compared with the model on real pictures (largest difference, lowest
cosine), and its retrieval score on unseen classes stands beside the original's. `export.json` in the folder keeps all of it.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

import torch
from transformers import AutoModel

from caan.cli import parse_options
from caan.data.benchmark import Benchmark, make_benchmark
from caan.data.pictures import load_splits
from caan.data.provenance import VERSIONED, public_command, public_name, version_of
from caan.evaluation.evaluate import embed_benchmark
from caan.evaluation.metrics import retrieval_metrics
from caan.evaluation.report import results_table
from caan.evaluation.retrievers import Retriever
from caan.export.graphs import OPSET, ExportedModel, export_graphs, need, quantize_graphs
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor

DESCRIPTION = """\
Write a model's sketch and photo tower as graphs with a dynamic batch (one graph where they are shared), compare them with the
model, and measure the retrieval score of each on a data set.
"""
EXAMPLES = """\
examples:
  # ONNX, scored on the unseen classes of the embedded drawings
  caan export --model outputs/demo --output_dir outputs/onnx

  # and its int8 form, for CPUs
  caan export --model outputs/demo --output_dir outputs/onnx --int8

  # torch.export: programs that torch.export.load runs without this package
  caan export --model outputs/demo --output_dir outputs/pt2 --format torch

  # scored on 2,000 sketches and 2,000 photos of another data set
  caan export --model org/caan-sketchy --output_dir onnx --dataset sketchy --data_dir Sketchy --max_pictures 2000

ONNX needs pip install "caan[export]". In Python: caan.export.command.load_exported("outputs/onnx", "onnx_int8").

exit status: 0 done; 1 bad input, or a graph that does not agree with the model; 2 wrong options.
"""
REPORT = "export.json"
TOLERANCE = 1e-3  # of a float graph, per component of a unit vector; int8 is measured, not judged
COLUMNS = {"kind": "graphs", "megabytes": "MB", "max_abs_difference": "max difference", "min_cosine": "min cosine"}


@dataclass
class ExportOptions:
    """Options of `caan export`."""

    model: str = field(metadata={"help": "Hub id or folder of a CAAN"})
    output_dir: str = field(metadata={"help": "folder for the graphs, the image processor and export.json"})
    format: Literal["onnx", "torch"] = field(default="onnx", metadata={"help": "kind of graph"})
    int8: bool = field(default=False, metadata={"help": "also an int8 form of the ONNX graphs, for CPUs"})
    opset: int = field(default=OPSET, metadata={"help": "ONNX operator set"})
    revision: str | None = field(default=None, metadata={"help": "branch, tag or commit of --model on the Hub"})
    dataset: str = field(
        default="openmoji", metadata={"help": "builder, Hub id or folder whose unseen classes give the score; none = no score"}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "zero-shot split, such as 104_21"})
    data_dir: str | None = field(default=None, metadata={"help": "folder with the archive's pictures"})
    allow_partial: bool = field(default=False, metadata={"help": "go on where the archive in data_dir is not complete"})
    max_pictures: int = field(default=0, metadata={"help": "most sketches, and photos, that are compared; 0 = all"})
    batch_size: int = field(default=64, metadata={"help": "pictures encoded at once"})
    num_workers: int = field(default=0, metadata={"help": "processes that read pictures"})


def export(options: ExportOptions) -> dict:
    """Writes graphs, image processor and `export.json`; returns the latter's content.

    Raises:
        ImportError: a package of the extra `export` is missing.
        ValueError: no CAAN, int8 of another format than ONNX, or graphs that differ from the model by more than `TOLERANCE`.
    """
    if options.format == "onnx":
        need("onnx", "onnxscript", "onnxruntime")
    elif options.int8:
        raise ValueError("int8 is made from ONNX graphs: use format onnx.")
    model, processor = load_model(options)
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    size = processor.size["height"], processor.size["width"]
    print(f"exporting {options.model} for {size[0]}x{size[1]} pixels", flush=True)
    files = {options.format: export_graphs(model, size, folder, options.format, options.opset)}
    if options.int8:
        files["onnx_int8"] = quantize_graphs(files["onnx"], folder)
    processor.save_pretrained(folder)
    benchmark = None if options.dataset == "none" else smaller_benchmark(options)
    report = {
        "model": public_name(options.model),
        "revision": options.revision,
        "image_size": size,
        "opset": options.opset if options.format == "onnx" else None,
        "files": files,
        **compare(model, processor, files, folder, benchmark, options),
        "command": public_command(sys.argv),
        "date": date.today().isoformat(),
        "versions": {name: version_of(name) for name in (*VERSIONED, "onnx", "onnxruntime", "onnxscript")},
        "python": platform.python_version(),
    }
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    difference = report["agreement"][options.format]["max_abs_difference"]
    if not difference <= TOLERANCE:  # NaN too
        raise ValueError(f"The {options.format} graphs differ from the model by {difference:.2g}: do not use {folder}.")
    return report


def load_model(options: ExportOptions) -> tuple[CAANModel, CAANImageProcessor]:
    """The model in float32 on the CPU and its image processor. Raises ValueError where it is no CAAN."""
    model = AutoModel.from_pretrained(options.model, revision=options.revision, dtype=torch.float32)
    if not isinstance(model, CAANModel):
        raise ValueError(f"{options.model} is a {type(model).__name__}, no CAAN.")
    return model.eval(), CAANImageProcessor.from_pretrained(options.model, revision=options.revision)


def load_exported(folder: str | Path, kind: str = "onnx") -> Retriever:
    """The graphs of an export as a retriever, for `pipeline_caan.embed_images` and `caan.evaluation.evaluate.evaluate`.

    Args:
        folder: what `caan export` wrote. kind: "onnx", "onnx_int8" or "torch".

    Raises ValueError where the folder holds no export, or none of that kind.
    """
    path = Path(folder) / REPORT
    if not path.is_file():
        raise ValueError(f"{folder} holds no {REPORT}: run caan export --output_dir {folder} first.")
    files = json.loads(path.read_text())["files"]
    if kind not in files:
        raise ValueError(f"{folder} holds graphs of {', '.join(files)}, not of {kind}.")
    return Retriever(f"{kind} of {folder}", ExportedModel(files[kind], folder), CAANImageProcessor.from_pretrained(folder))


def smaller_benchmark(options: ExportOptions) -> Benchmark:
    """Unseen classes, with at most `max_pictures` sketches and as many photos, evenly spaced so that all classes stay."""
    split = load_splits(options)["test"]
    if options.max_pictures:
        modalities, kept = torch.tensor(split["modality"][:]), []
        for modality in modalities.unique():
            rows = (modalities == modality).nonzero().flatten()
            spaced = torch.linspace(0, len(rows) - 1, min(options.max_pictures, len(rows))).long()
            kept += rows[spaced].tolist()
        split = split.select(sorted(kept))
    return make_benchmark({"test": split})


def compare(model, processor, files: dict, folder: Path, benchmark: Benchmark | None, options: ExportOptions) -> dict:
    """Agreement of each kind of graphs with the model, their sizes, and the retrieval scores of all of them."""
    runners = {"model": model, **{kind: ExportedModel(names, folder) for kind, names in files.items()}}
    features, retrieval = {}, {}
    for kind, runner in runners.items():
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
        "megabytes": {kind: megabytes(names, folder) for kind, names in files.items()},
        "agreement_on": "noise" if benchmark is None else "the pictures of the data set",
        "agreement": {kind: agreement(features[kind], features["model"]) for kind in files},
        "data": None if benchmark is None else {**data, "split": "test (unseen classes)"},
        "retrieval": {kind: report.to_dict() for kind, report in retrieval.items()},
        "definitions": retrieval["model"].definitions if retrieval else None,
    }


@torch.inference_mode()
def noise_features(model, processor, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the same random pixels as sketches and as photos, (count, hidden_size) each."""
    shape = (count, 3, processor.size["height"], processor.size["width"])
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return model.get_sketch_features(pixels), model.get_image_features(pixels)


def agreement(features: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> dict[str, float]:
    """Largest difference of a component, lowest and mean cosine of a vector, between unit vectors (count, hidden_size)."""
    features, expected = torch.cat(features).double(), torch.cat(expected).double()
    cosines = torch.cosine_similarity(features, expected)
    difference = (features - expected).abs().max()
    return {
        "max_abs_difference": float(difference),
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


def main(argv: list[str], prog: str) -> int:
    """Runs the command; exit status 0 or 1."""
    options = parse_options(ExportOptions, argv, prog, DESCRIPTION, EXAMPLES)
    try:
        report = export(options)
    except (ValueError, OSError, ImportError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    print(f"\n{summary(report)}\n\nwritten: {options.output_dir}")
    return 0
