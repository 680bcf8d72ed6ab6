"""A finished model's folder as train.py leaves it, and an evaluation of it, without training: `from folders import ...`."""

import json
from pathlib import Path

import torch
from PIL import Image
from tiny import caan_model, processor

from caan.data.provenance import public_name
from caan.evaluation.facts import FACTS_FILE
from caan.evaluation.instance import instance_metrics
from caan.evaluation.metrics import retrieval_metrics
from caan.evaluation.record import EvaluatedModel, Evaluation
from caan.hub.card import update_card, write_card

FACTS = {
    "dataset": "sketchy",
    "dataset_config": "104_21",
    "dataset_license": "Free for research.",
    "seen_classes": [f"class {number}" for number in range(104)],
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
        "gradient_accumulation_steps": 1,
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
    "finished_map_all": None,
}


def make_folder(folder: Path, facts: dict | None = FACTS) -> Path:
    """A tiny CAAN in its full form, the record of a run, and the card."""
    caan_model().save_pretrained(folder)
    processor().save_pretrained(folder)
    if facts is not None:
        (folder / FACTS_FILE).write_text(json.dumps(facts))
    write_card(folder)
    return folder


CLASSES = ["bat", "cabin", "cow", "dolphin"]


def make_record(
    folder: Path, dataset: str = "sketchy", seen: list[str] | None = None, instances: bool = False, **fields
) -> Evaluation:
    """An evaluation of the folder's model and of the pixels on random features of four classes.

    Args:
        seen: classes that the model was trained on. instances: with the instance level, over 19 of the 20 queries.
        fields: of the record, instead of the usual ones.
    """
    generator = torch.Generator().manual_seed(0)
    name = public_name(str(folder))
    usual = {"dataset_config": "104_21", "split": "test", "generalized": False, "average": "micro", "ties": "gallery_order"}
    usual["settings"] = {"data_dir": "Sketchy"}
    record = Evaluation(
        dataset=public_name(dataset),
        classes=CLASSES,
        hardware="CPU",
        command=f"python eval.py --model {name} pixels --data_dir Sketchy",
        date="2026-11-22",
        versions={"python": "3.11.7", "torch": "2.15.0"},
        model=name,
        **{**usual, **fields},
    )
    for retriever in (name, "pixels"):
        features = torch.randn(20, 8, generator=generator), torch.randn(50, 8, generator=generator)
        labels = torch.arange(20) % 4, torch.arange(50) % 4
        report = retrieval_metrics(*features, *labels, top_k=(5, 10), ap_k=10)
        record.add(retriever, report, EvaluatedModel(seen_classes=seen if retriever == name else None))
        if instances:
            names = [["n0_gone" if row == 19 else f"n0_{row}" for row in range(20)], [f"n0_{row}" for row in range(50)]]
            names[1][19] = None
            record.add_instances(retriever, instance_metrics(*features, *labels, *names))
    return record


def evaluate_folder(folder: Path, eval_folder: Path, dataset: str = "sketchy", picture: bool = True, **fields) -> Evaluation:
    """Adopts an evaluation of the folder's model, and returns its record. `fields` go to `make_record`."""
    record = make_record(folder, dataset, **{"seen": FACTS["seen_classes"], **fields})
    record.write(eval_folder / "results.json")
    if picture:
        Image.new("RGB", (30, 20), "white").save(eval_folder / "picture.png")
    update_card(folder, record, eval_folder / "picture.png" if picture else None)
    return record


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder: path -> bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
