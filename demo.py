"""The package's main job from nothing: data, training from random weights, zero-shot evaluation, reload. `make demo` runs it.

python demo.py                      # everything that is not there yet, into outputs/demo
python demo.py --output_dir DIR     # somewhere else
python demo.py --num_epochs 2       # any option of train.py; recipes/openmoji.yaml gives the others
"""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import torch

from caan.data.benchmark import Benchmark, make_benchmark
from caan.data.pictures import load_splits
from caan.data.provenance import public_name
from caan.data.text import collect_descriptions
from caan.errors import exit_on_error
from caan.evaluation.evaluate import embed_benchmark, measure
from caan.evaluation.record import RESULTS_FILE, Evaluation
from caan.evaluation.report import results_table
from caan.evaluation.retrievers import PIXELS, Retriever, load_retriever
from caan.evaluation.run import find_device
from caan.options import DataOptions, ModelOptions, SourceOptions, TrainOptions
from caan.parsing import parse_options
from caan.training.building import build_model

RECIPE = "recipes/openmoji.yaml"
ROOT = Path(__file__).parent
BIN = Path(sys.executable).parent
METRICS = {"name": "retriever", "map_all": "mAP@all", "top1": "top-1", "prec_5": "Prec@5"}


def run_script(*arguments: str) -> None:
    """Runs one of the repository's scripts as a user would, in a process of its own; its output is shown."""
    print("$ python", *arguments, flush=True)
    if status := subprocess.run([sys.executable, *arguments], cwd=ROOT).returncode:
        sys.exit(status)  # the script has said why


def source_arguments(data: DataOptions) -> list[str]:
    """The data set of a run as arguments of eval.py."""
    given = {item.name: getattr(data, item.name) for item in fields(SourceOptions) if getattr(data, item.name) != item.default}
    return [f"--{name}={value}" for name, value in given.items()]


def untrained(model_options: ModelOptions, seed: int, sentences: list[str]) -> Retriever:
    """The recipe's model as it was before the first step."""
    torch.manual_seed(seed)
    model, processor = build_model(model_options, sentences)
    return Retriever("untrained CAAN", model, processor.image_processor)


def compare(retrievers: list[Retriever], benchmark: Benchmark, data: DataOptions, seed: int) -> Evaluation:
    """The record of a random ranking and of all retrievers."""
    metrics = {"top_k": (5, 10), "ap_k": 10, "average": "micro", "ties": "gallery_order"}
    what = {"dataset": data.dataset, "dataset_config": benchmark.queries.rows.info.config_name, "split": "test"}
    what |= {"generalized": False, "average": metrics["average"], "ties": metrics["ties"]}
    device = find_device(None)  # the one that eval.py takes: another gives other last digits
    record = Evaluation.begin(benchmark, {}, sys.argv, device=device, seed=seed, **what)
    sizes = len(benchmark.queries), len(benchmark.gallery_labels)
    chance = tuple(torch.randn(size, 256, generator=torch.Generator().manual_seed(seed + i)) for i, size in enumerate(sizes))
    record.add("chance (random ranking)", measure(chance, benchmark, **metrics))
    for retriever in retrievers:
        retriever.to(device)
        report = measure(embed_benchmark(retriever, benchmark), benchmark, **metrics)
        record.add(retriever.name, report, retriever.identity)
    return record


def describe_data(splits, benchmark: Benchmark) -> str:
    """How much there is to train on and to search, in a sentence."""
    return (
        f"{len(splits['train']):,} training pictures of {len(set(splits['train']['label']))} seen classes; "
        f"{len(benchmark.queries)} query sketches and {len(benchmark.gallery_labels)} gallery pictures of "
        f"{len(set(benchmark.queries.labels.tolist()))} unseen classes"
    )


def reload(folder: Path, data: DataOptions, here: dict) -> dict:
    """The numbers of the saved folder from a fresh process; its card gets them. Ends the program where they are not `here`."""
    reloaded = folder / "reloaded"
    arguments = ["--model", str(folder), PIXELS, "--top_k", "5", "10", "--output_dir", str(reloaded), "--update_card"]
    run_script("eval.py", *arguments, *source_arguments(data))
    fresh = Evaluation.read(reloaded / RESULTS_FILE).results[public_name(str(folder))]
    for metric in ("map_all", "top1"):
        if fresh[metric] != here[metric]:
            sys.exit(f"{metric} changed on reload: {here[metric]} -> {fresh[metric]}")
    return fresh


def search_own(folder: Path, benchmark: Benchmark, row: int) -> None:
    """Makes a gallery of the pictures of unseen classes, as files, and searches it by the sketch of a row, as a user would."""
    place = folder / "search"
    for number in range(len(benchmark.gallery_labels)):
        file = place / "photos" / benchmark.queries.names[int(benchmark.gallery_labels[number])] / f"{number}.png"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            benchmark.gallery_picture(number).save(file)
    benchmark.queries[row].save(place / "sketch.png")
    gallery = f"--gallery={place / 'gallery'}"
    run_script("-m", "caan.cli", "index", str(place / "photos"), gallery, "--model", str(folder))
    shown = ("-n", "10", "--picture", str(place / "found.png"))
    run_script("-m", "caan.cli", "search", str(place / "sketch.png"), gallery, *shown)
    print("\nYour own photos:")
    print(f"  {BIN / 'caan'} index FOLDER_OF_PHOTOS --model {folder}")
    print(f"  {BIN / 'caan'} search DRAWING.png")


def main() -> None:
    """Six steps, each said before it is done."""
    argv = sys.argv[1:] if sys.argv[1:2] and not sys.argv[1].startswith("-") else [RECIPE, *sys.argv[1:]]
    model_options, data_options, options = parse_options(
        ModelOptions, DataOptions, TrainOptions, argv=argv, description=__doc__
    )
    given = any(argument.startswith("--output_dir") for argument in argv)
    folder = Path(options.output_dir if given else "outputs/demo")

    print("\n[1/6] Data: drawings of everyday things, from packages of the Python registry; built once, then cached")
    splits = load_splits(data_options)
    benchmark = make_benchmark(splits, "test")
    print(f"      {describe_data(splits, benchmark)}")

    print(f"\n[2/6] Training from random weights, as {RECIPE} says")
    if (folder / "config.json").exists():
        print(f"      {folder} holds a finished model: skipped. Delete the folder to train again.")
    else:
        run_script("train.py", *argv, "--output_dir", str(folder), "--resume_from_checkpoint", "latest")

    print("\n[3/6] Zero-shot evaluation on the unseen classes, beside chance, the pixels and the untrained model")
    train = splits["train"]
    texts = collect_descriptions(train["label"], train["descriptions"], train.features["label"].names)
    start = untrained(model_options, options.seed, [sentence for sentences in texts.values() for sentence in sentences])
    pixels, trained = load_retriever(PIXELS), load_retriever(str(folder))
    pixels.name, trained.name = "pixels (ink correlation)", "trained CAAN"
    record = compare([pixels, start, trained], benchmark, data_options, options.seed)
    results = record.write(folder / "comparison" / RESULTS_FILE)

    print("\n[4/6] The saved folder in a fresh process: the numbers must be the same; its card gets them, and the picture")
    here = record.results[trained.name]
    fresh = reload(folder, data_options, here)
    print(f"      equal: mAP@all {fresh['map_all']:.4f}, top-1 {fresh['top1']:.4f}")

    print(f"\n[5/6] {here['num_queries']} sketches of unseen classes, {here['gallery_size']} pictures to search in")
    print(f"      seed {options.seed}, {record.definitions['map_all']}\n")
    print(results_table([{"name": name, **row} for name, row in record.results.items()], METRICS))
    print(f"\npicture: {folder / 'retrieval.png'}\nnumbers: {results}\nmodel:   {folder}")

    print("\n[6/6] A gallery of those pictures, and what a sketch finds in it")
    search_own(folder, benchmark, row=0)


if __name__ == "__main__":
    with exit_on_error("demo.py", "what is there stays; run it again to go on"):
        main()
