"""A finished model's folder as train.py leaves it, and an evaluation of it, without training: `from folders import ...`."""

import json
from pathlib import Path

import torch
from PIL import Image
from tiny import caan_model, processor

from caan.evaluation.evaluate import write_results
from caan.evaluation.facts import FACTS_FILE
from caan.evaluation.metrics import retrieval_metrics
from caan.hub.card import update_card, write_card

FACTS = {
    "dataset": "sketchy",
    "dataset_config": "104_21",
    "dataset_license": "Free for research.",
    "seen_classes": 104,
    "sketches": 62787,
    "photos": 11250,
    "uses_text": True,
    "base_models": {"facebook/dinov2-small": "apache-2.0", "my-text-model": None},
    "options": {
        "model": None,
        "vision_model": "facebook/dinov2-small",
        "text_model": "my-text-model",
        "image_size": 224,
        "classes_per_batch": 16,
        "items_per_class": 4,
        "learning_rate": 0.0001,
        "vision_learning_rate": 0.00001,
        "mixed_precision": "bf16",
        "seed": 7,
        "keep": "best",
        "license": None,
        "hub_model_id": None,
    },
    "processes": 2,
    "hardware": "NVIDIA H100 80GB HBM3",
    "command": "python train.py recipes/sketchy.yaml --data_dir Sketchy",
    "date": "2026-11-21",
    "versions": {"python": "3.11.7", "torch": "2.15.0"},
    "epoch": 5,
    "step": 2455,
    "finished": True,
    "validation_map_all": 0.8765432,
}


def make_folder(folder: Path, facts: dict | None = FACTS) -> Path:
    """A tiny CAAN in its full form, the record of a run, and the card."""
    caan_model().save_pretrained(folder)
    processor().save_pretrained(folder)
    if facts is not None:
        (folder / FACTS_FILE).write_text(json.dumps(facts))
    write_card(folder)
    return folder


def evaluate_folder(folder: Path, eval_folder: Path, dataset: str = "sketchy", picture: bool = True) -> dict:
    """Adopts an evaluation of the folder's model and of the pixels, on random features; returns what eval.py wrote."""
    generator = torch.Generator().manual_seed(0)
    reports = {}
    for name in (str(folder), "pixels"):
        features = torch.randn(20, 8, generator=generator), torch.randn(50, 8, generator=generator)
        labels = torch.arange(20) % 4, torch.arange(50) % 4
        reports[name] = retrieval_metrics(*features, *labels, top_k=(5, 10), ap_k=10)
    circumstances = {"dataset": dataset, "dataset_config": "104_21", "split": "test", "generalized": False}
    results = write_results(eval_folder, reports, circumstances | {"data_dir": "/data/Sketchy", "output_dir": str(eval_folder)})
    if picture:
        Image.new("RGB", (30, 20), "white").save(eval_folder / "picture.png")
    update_card(folder, str(folder), results, eval_folder / "picture.png" if picture else None)
    return json.loads(results.read_text())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder: path -> bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
