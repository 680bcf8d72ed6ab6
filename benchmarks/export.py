"""What a model loses and gains as a graph: retrieval score, size, and speed on the CPU.

    python benchmarks/export.py --model outputs/sketchy_small     # a trained model; about five minutes on two cores
    python benchmarks/export.py --vision_model vit-small-patch14  # a stand-in: both towers from this, the rest random

Pictures and, without `--model`, a ViT-S/14 come from the folder `shared` beside the repository (or $CAAN_SHARED); it stops
where they are not. A stand-in was not trained, and a trained model may have seen the classes it is measured on: the score says
what export changes and not what CAAN reaches. Speeds are ratios to the eager model, in turns in one run,
the best turn of each; above 1 is faster. The result goes to `benchmarks/results/export.json`.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from caan.data.processors import build_image_processor
from caan.data.provenance import public_command
from caan.evaluation.report import results_table
from caan.export.command import ExportOptions
from caan.export.export import export
from caan.export.runtime import load_exported
from caan.options import COUNT, NOT_NEGATIVE, Options, option
from caan.parsing import OptionParser
from modeling_caan import CAANModel
from processing_caan import CAANImageProcessor

SHARED = Path(os.environ.get("CAAN_SHARED", Path(__file__).parents[2] / "shared"))
RESULT = Path(__file__).parent / "results" / "export.json"
KINDS = {"onnx": {"int8": True}, "torch": {}}
KEPT = ("image_size", "opset", "megabytes", "agreement", "data", "retrieval", "definitions", "date", "versions", "python")


@dataclass
class Arguments(Options):
    """What to measure."""

    model: str | None = field(default=None, metadata={"help": "trained CAAN, a folder or a Hub id; a stand-in where not given"})
    data_dir: str = field(default=str(SHARED / "data" / "Sketchy"), metadata={"help": "folder of Sketchy, or a part of it"})
    vision_model: str = field(
        default=str(SHARED / "models" / "vit-small-patch14"), metadata={"help": "what both towers of the stand-in start from"}
    )
    image_size: int = option(98, "side of the stand-in's input, in pixels", COUNT)
    max_pictures: int = option(300, "sketches, and photos, that are compared; 0 = all", NOT_NEGATIVE)
    batch_sizes: list[int] = option([1, 16], "batches that are timed", COUNT)
    turns: int = option(7, "turns of which the best counts", COUNT)


def make_model(arguments: Arguments, folder: Path) -> CAANModel:
    """The trained model or the stand-in, saved in `folder` with its processor."""
    if arguments.model:
        model = CAANModel.from_pretrained(arguments.model).eval()
        model.save_pretrained(folder)
        CAANImageProcessor.from_pretrained(arguments.model).save_pretrained(folder)
        return model
    torch.manual_seed(0)
    sizes = {"hidden_size": 384, "num_attention_heads": 6}
    model = CAANModel.from_encoders_pretrained(arguments.vision_model, **sizes).eval()
    model.save_pretrained(folder)
    build_image_processor(arguments.vision_model, arguments.image_size).save_pretrained(folder)
    return model


@torch.inference_mode()
def speeds(models: dict, image_size: int, batch_sizes: list[int], turns: int) -> dict[str, dict[str, float]]:
    """Name -> batch size -> pictures a second, as a multiple of the first model's. One picture is one pass of a tower."""
    ratios = {name: {} for name in models}
    for batch_size in batch_sizes:
        pixels = torch.randn(batch_size, 3, image_size, image_size)
        best = dict.fromkeys(models, float("inf"))
        for _ in range(turns + 1):
            for name, model in models.items():
                start = time.perf_counter()
                model.get_image_features(pixels)
                best[name] = min(best[name], time.perf_counter() - start)
        reference = best[next(iter(models))]
        for name, seconds in best.items():
            ratios[name][str(batch_size)] = round(reference / seconds, 2)
    return ratios


def main() -> None:
    """Measures, prints the table and writes the results."""
    (arguments,) = OptionParser((Arguments,), description=__doc__).fill(sys.argv[1:])
    for path in (arguments.data_dir, arguments.vision_model):
        if path.startswith(str(SHARED)) and not Path(path).exists():
            sys.exit(f"skipped: there is no {Path(path).name} in the folder shared; give --data_dir and --vision_model")
    data = {"dataset": "sketchy", "dataset_config": "100_25", "data_dir": arguments.data_dir, "allow_partial": True}
    with tempfile.TemporaryDirectory() as work:
        models, result = {"eager": make_model(arguments, Path(work) / "model")}, {}
        for kind, options in KINDS.items():
            folder = Path(work) / kind
            options = {**options, **data, "max_pictures": arguments.max_pictures}
            report = export(ExportOptions(model=f"{work}/model", output_dir=str(folder), format=kind, **options))
            models |= {name: load_exported(folder, name).model for name in report["files"]}
            parts = ("megabytes", "agreement", "retrieval")
            result = {**report, **result, **{part: {**result.get(part, {}), **report[part]} for part in parts}}
        weights = sum(p.numel() * p.element_size() for tower in models["eager"].vision_towers() for p in tower.parameters())
        ratios = speeds(models, result["image_size"][0], arguments.batch_sizes, arguments.turns)
    columns = {"kind": "graphs", "megabytes": "MB", "min_cosine": "min cosine", "map_all": "mAP@all"}
    columns |= {str(size): f"speed, batch {size}" for size in arguments.batch_sizes}
    rows = [
        {"kind": name, "megabytes": result["megabytes"].get(name, weights / 1e6), **result["agreement"].get(name, {})}
        | {"map_all": result["retrieval"]["model" if name == "eager" else name]["map_all"], **ratios[name]}
        for name in models
    ]
    print(results_table(rows, columns, digits=4))
    content = {name: result[name] for name in KEPT} | {
        "model": Path(arguments.model).name if arguments.model else f"stand-in from {Path(arguments.vision_model).name}",
        "speed_over_eager": ratios,
        "threads": torch.get_num_threads(),
        "command": public_command(sys.argv),
    }
    RESULT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written: {RESULT.name}")


if __name__ == "__main__":
    main()
