"""Evaluate retrievers on a zero-shot benchmark.

    python eval.py --model outputs/openmoji                                       # unseen classes of the embedded set
    python eval.py --model outputs/openmoji facebook/dinov2-small pixels          # beside baselines without training
    python eval.py --model org/caan-sketchy --dataset sketchy --data_dir Sketchy --generalized
    python eval.py --model outputs/openmoji --split validation                    # held-out items of seen classes
    python eval.py --model outputs/openmoji pixels --update_card                  # and write the model's card anew

Writes results.json (numbers and all that is needed to get them again), table.md, and a picture of each model's retrieval.
"""

from dataclasses import asdict
from pathlib import Path

import torch

from caan.data.benchmark import make_benchmark
from caan.data.pictures import load_splits
from caan.errors import explain_errors
from caan.evaluation.evaluate import embed_benchmark, results_markdown, retrieval_picture, write_results
from caan.evaluation.metrics import retrieval_metrics
from caan.evaluation.reranking import rerank
from caan.evaluation.retrievers import load_retriever
from caan.hub.card import carded_folders, update_card
from caan.options import EvalOptions
from caan.parsing import parse_options

# --- options and data
explain_errors()
(options,) = parse_options(EvalOptions, description=__doc__)
device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
output = Path(options.output_dir)
carded = carded_folders(options.model, options.split) if options.update_card else []
output.mkdir(parents=True, exist_ok=True)
splits = load_splits(options)
benchmark = make_benchmark(splits, options.split, options.generalized)

# --- each model: features, numbers, picture
reports, pictures = {}, {}
for name in options.model:
    retriever = load_retriever(name, options.image_size or None)
    retriever.model.to(device)
    print(f"{name}: {len(benchmark.queries):,} queries in a gallery of {len(benchmark.gallery_labels):,}", flush=True)
    features = embed_benchmark(retriever, benchmark, batch_size=options.batch_size, num_workers=options.num_workers)
    if options.rerank:
        features = rerank(*features, options.rerank)
    reports[name] = retrieval_metrics(
        *features,
        benchmark.queries.labels,
        benchmark.gallery_labels,
        top_k=options.top_k,
        average=options.average,
        ties=options.ties,
    )
    print(reports[name], end="\n\n")
    if options.picture_rows:
        path = output / f"retrieval_{Path(name).name}.png"
        pictures[name] = path.with_stem(f"{path.stem}_{len(pictures) + 1}") if path in pictures.values() else path
        retrieval_picture(features, benchmark, options.picture_rows).save(pictures[name])
        print(f"picture: {pictures[name]}\n")

# --- report
circumstances = asdict(options) | {
    "dataset_config": splits[options.split].info.config_name,
    "device": device,
    "seed": None,  # nothing is drawn
}
print(results_markdown(reports))
(output / "table.md").write_text(results_markdown(reports) + "\n")
results = write_results(output, reports, circumstances)
print(f"\nresults: {results}")
for name in carded:
    print(f"card: {update_card(Path(name), name, results, pictures.get(name))}")
