"""What a training run knows of itself, kept as `training.json` in the model's folder.

The card is written from this file and from `results.json` alone, so that another command can write it again, at any time,
without guessing. Both files are made to be published: of a path of this machine only the last name is kept.
"""

import json
import platform
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path

from caan.data.provenance import VERSIONED, declared_license, hardware, public_command, public_name, version_of
from caan.training.checkpoints import TrainerState

FACTS_FILE = "training.json"


def training_facts(train_split, model_options, data_options, options, hub_options, accelerator, uses_text: bool) -> dict:
    """The record of a run that begins now, in values that JSON knows.

    Args:
        train_split: the training split, for its classes, pictures and licence.
        model_options, data_options, options, hub_options: as parsed by train.py.
    """
    sketches = train_split["modality"][:].count(train_split.features["modality"].names.index("sketch"))
    settings = asdict(model_options) | asdict(data_options) | asdict(options) | asdict(hub_options)
    origins = [name for name in (model_options.model, model_options.vision_model, model_options.text_model) if name]
    return {
        "dataset": public_name(data_options.dataset),
        "dataset_config": train_split.info.config_name,
        "dataset_license": train_split.info.license or declared_license(data_options.dataset, "dataset"),
        "seen_classes": len(set(train_split["label"])),
        "sketches": sketches,
        "photos": len(train_split) - sketches,
        "uses_text": uses_text,
        "base_models": {public_name(name): declared_license(name, "model") for name in origins},
        "options": {name: public_name(value) for name, value in settings.items()},
        "processes": accelerator.num_processes,
        "hardware": hardware(accelerator.device),
        "command": public_command(sys.argv),
        "date": date.today().isoformat(),
        "versions": {"python": platform.python_version(), **{name: version_of(name) for name in VERSIONED}},
    }


def write_facts(folder: Path, facts: dict, state: TrainerState, finished: bool) -> None:
    """Writes `training.json`: the run's record, how far it is, and how its weights did on the seen hold-out.

    The number is None where no validation selected these weights: with keep="last", and before the end.
    """
    selected = finished and facts["options"]["keep"] == "best"
    progress = {"epoch": state.epoch, "step": state.step, "finished": finished}
    progress["validation_map_all"] = state.best_metric if selected else None
    (folder / FACTS_FILE).write_text(json.dumps({**facts, **progress}, indent=2) + "\n")


def read_facts(folder: Path) -> dict | None:
    """The record of the run that made the folder's model; None where there is none."""
    path = folder / FACTS_FILE
    return json.loads(path.read_text()) if path.is_file() else None
