"""Sketches as people have them: what a model still finds of drawings on paper, boards and screens, and of thin lines.

    python -m benchmarks.paper --score                          # no model: is the drawing found? a minute
    python -m benchmarks.paper --score --only desk kraft --limit 20 --ink_mode border
    python -m benchmarks.paper --sheet sheet.png --limit 2      # to look at: as given, as prepared
    python -m benchmarks.paper --model MODEL --fold 0           # mAP@all clean and on each surface, MODEL trained on fold 0
    python -m benchmarks.paper --model MODEL --fold 0 --thin    # the same for lines of 1.2, 2.5 and 4 pixels of 1000

Drawings and photos are the unseen classes of a fold in Sketchy's 104 (`dataset_scripts.core.folds`). Surfaces are those of
`caan.data.surfaces` ("own") and, where the shared folder has them, the conditions of its cases/scans ("shared"). A model for
it: `python -m benchmarks.accuracy.peers --fold 0 --rows CAAN --again --keep_models DIR --output_dir OUT`. A refused picture
counts as average precision 0.
"""

import json
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from benchmarks.paper_pictures import PAGE, PaperOptions, chosen_rows, load_benchmark, variants
from benchmarks.paper_score import draw_sheet, score
from caan.data.benchmark import Benchmark
from caan.data.provenance import installed_versions, public_command, public_name
from caan.evaluation.metrics import retrieval_metrics
from caan.evaluation.report import results_table
from caan.evaluation.retrievers import load_retriever
from caan.parsing import OptionParser
from pipeline_caan import embed_images

CHUNK = 10  # drawings whose pictures are held at once: 53 of 1.4 MB each
CLEAN = "clean"


def encode(retriever, pictures: list[Image.Image], options: PaperOptions) -> torch.Tensor:
    """Unit vectors (pictures, d); NaN where a picture is refused."""
    settings = {"batch_size": options.batch_size, "progress": False, "on_error": "skip"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # refused pictures are counted, and doubts are no error
        return embed_images(retriever.model, retriever.processor, pictures, "sketch", **settings)


def query_features(retriever, benchmark: Benchmark, rows: list[int], options: PaperOptions) -> dict:
    """(kind, name) -> features (rows, d) of the queries, clean and in all variants."""
    parts = defaultdict(list)
    for start in tqdm(range(0, len(rows), CHUNK), desc=f"{CHUNK} drawings"):
        pictures = defaultdict(list)
        for row in rows[start : start + CHUNK]:
            drawing = benchmark.queries[row]
            pictures[CLEAN, CLEAN].append(drawing)
            for kind, name, picture, _ in variants(drawing, row, options):
                pictures[kind, name].append(picture)
        for key, several in pictures.items():
            parts[key].append(encode(retriever, several, options))
    return {key: torch.cat(several) for key, several in parts.items()}


def measure(options: PaperOptions, benchmark: Benchmark) -> list[dict]:
    """One line a surface: mAP@all, its ratio to that of the clean drawings, and how many were refused."""
    retriever = load_retriever(str(options.model))
    if options.ink_mode:
        retriever.processor.ink_mode = options.ink_mode
    rows = chosen_rows(len(benchmark.queries), options.limit)
    (gallery,) = benchmark.galleries
    photos = embed_images(retriever.model, retriever.processor, gallery, "photo", batch_size=options.batch_size)
    labels = benchmark.queries.labels[rows]
    lines = []
    for (kind, name), features in query_features(retriever, benchmark, rows, options).items():
        kept = ~features.isnan().any(dim=1)
        value = 0.0
        if kept.any():
            report = retrieval_metrics(features[kept], photos, labels[kept], gallery.labels)
            value = report["map_all"] * float(kept.float().mean())
        ratio = value / lines[0]["map_all"] if lines else 1.0
        lines.append({"surfaces": kind, "surface": name, "map_all": value, "ratio": ratio, "refused": int((~kept).sum())})
    return lines


def summary(lines: list[dict]) -> dict:
    """Mean and worst ratio to clean, of each kind of surface."""
    kinds = {line["surfaces"]: [x["ratio"] for x in lines if x["surfaces"] == line["surfaces"]] for line in lines[1:]}
    return {kind: {"mean": sum(ratios) / len(ratios), "worst": min(ratios)} for kind, ratios in kinds.items()}


def write(options: PaperOptions, benchmark: Benchmark, lines: list[dict], seconds: float) -> None:
    """Prints the table and writes it, with its circumstances, as JSON and Markdown; other models and folds stay."""
    record = {
        "model": public_name(options.model),
        "split": f"sketchy fold_{options.fold}, unseen classes",
        "queries": len(chosen_rows(len(benchmark.queries), options.limit)),
        "gallery": len(benchmark.gallery_labels),
        "seed": options.seed,
        "ink_mode": options.ink_mode,
        "page": list(PAGE),
        "command": "python -m benchmarks." + public_command(sys.argv).removeprefix("python ").replace("paper.py", "paper", 1),
        "seconds": round(seconds),
        "versions": installed_versions(),
        "ratio to clean": summary(lines),
        "surfaces": lines,
    }
    path = Path(options.output_dir) / ("thin.json" if options.thin else "paper.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    runs = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    key = ("model", "split", "queries", "seed", "ink_mode")
    runs = [run for run in runs if any(run[name] != record[name] for name in key)] + [record]
    path.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    text = "\n\n".join(markdown(run) for run in runs)
    path.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(markdown(record))


def markdown(run: dict) -> str:
    """A run as a paragraph and a table."""
    ratios = "; ".join(f"{kind}: mean {r['mean']:.3f}, worst {r['worst']:.3f}" for kind, r in run["ratio to clean"].items())
    said = (
        f"{run['model']}, {run['split']}; {run['queries']} queries, gallery {run['gallery']}; surfaces' seed {run['seed']}; "
        f"ink_mode {run['ink_mode'] or 'as the model has it'}; mAP@all, micro mean over queries, a refused picture counts 0. "
        f"`{run['command']}`\n\nRatio to clean, {ratios}."
    )
    return f"{said}\n\n{results_table(run['surfaces'], digits=3)}"


def main(argv: list[str]) -> None:
    """Scores, draws or measures, as the options say."""
    parser = OptionParser((PaperOptions,), usage="python -m benchmarks.paper [--option value ...]", description=__doc__)
    (options,) = parser.fill(argv)
    if not (options.model or options.score or options.sheet):
        parser.error("give --model, --score or --sheet")
    if not Path(options.data_dir).is_dir():
        sys.exit(f"error: there is no folder {Path(options.data_dir).name}: give --data_dir")
    start, benchmark = time.perf_counter(), load_benchmark(options)
    if options.score:
        lines = score(options, benchmark)
        if not lines:
            sys.exit(f"error: there is no surface {' or '.join(options.only)}")
        print(results_table(lines, digits=3))
        print(f"mean correlation {np.mean([line['correlation'] for line in lines]):.3f}")
    if options.sheet:
        draw_sheet(options, benchmark).save(options.sheet)
    if options.model:
        lines = measure(options, benchmark)
        write(options, benchmark, lines, time.perf_counter() - start)


if __name__ == "__main__":
    main(sys.argv[1:])
