"""What a training run knows of itself, kept as `training.json` in the model's folder.

The card is written from this file and from `results.json` alone, so that another command can write it again, at any time,
without guessing. Both files are made to be published: of a path of this machine only the last name is kept.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Protocol, TypeVar

from huggingface_hub import hf_hub_download

from caan.data.provenance import declared_license, hardware, installed_versions, is_hub_id, public_command, public_name
from caan.evaluation.record import write_whole
from caan.evaluation.seen import seen_classes

FACTS_FILE = "training.json"
Record = TypeVar("Record")


class RunState(Protocol):
    """What the record needs to know of where a run stands; a `finished_metric` may lack."""

    epoch: int
    step: int
    best_metric: float


def training_facts(train_split, model_options, data_options, options, hub_options, accelerator, uses_text: bool) -> dict:
    """The record of a run that begins now, in values that JSON knows.

    Args:
        train_split: the training split, for its classes, pictures and licence.
        model_options, data_options, options, hub_options: as parsed by train.py.
        accelerator: for what really runs, which may be other than what was asked for: device, precision, accumulation.
    """
    sketches = train_split["modality"][:].count(train_split.features["modality"].names.index("sketch"))
    names = train_split.features["label"].names
    settings = asdict(model_options) | asdict(data_options) | asdict(options) | asdict(hub_options)
    encoders = [model_options.vision_model, *([model_options.text_model] if uses_text else [])]
    origins = [name for name in ([model_options.model] if model_options.model else encoders) if name]  # what was loaded
    return {
        "dataset": public_name(data_options.dataset),
        "dataset_config": train_split.info.config_name,
        "dataset_license": train_split.info.license or declared_license(data_options.dataset, "dataset"),
        "seen_classes": [names[label] for label in sorted(set(train_split["label"]))],
        "seen_before": seen_before(model_options.model),
        "sketches": sketches,
        "photos": len(train_split) - sketches,
        "uses_text": uses_text,
        "base_models": {public_name(name): declared_license(name, "model") for name in origins},
        "options": {name: public_name(value) for name, value in settings.items()},
        "processes": accelerator.num_processes,
        "precision": accelerator.mixed_precision,
        "gradient_accumulation_steps": accelerator.gradient_accumulation_steps,
        "hardware": hardware(accelerator.device),
        "command": public_command(sys.argv),
        "date": date.today().isoformat(),
        "versions": installed_versions(),
        "history": [],
    }


def seen_before(model: str | None) -> list[str] | None:
    """Classes that the CAAN which is trained on had seen; none where there is no such model, None where it does not say."""
    return [] if model is None else seen_classes(published_facts(model))


def write_facts(folder: Path, facts: dict, state: RunState, finished: bool) -> None:
    """Writes `training.json`, whole or not at all; the arguments are those of `facts_text`."""
    write_whole(folder / FACTS_FILE, facts_text(facts, state, finished))


def facts_text(facts: dict, state: RunState, finished: bool) -> str:
    """Content of `training.json`: the run's record, how far it is, and how its weights did on the seen hold-out.

    `validation_map_all` is the number that selected these weights, None where none did: with keep="last", and before the end.
    `finished_map_all` is what the finished model reaches there, where it was changed after the selection (whitening), or None.
    """
    selected = finished and facts["options"]["keep"] == "best"
    progress = {
        "epoch": state.epoch,
        "step": state.step,
        "finished": finished,
        "validation_map_all": state.best_metric if selected else None,
        "finished_map_all": getattr(state, "finished_metric", None) if finished else None,
    }
    return json.dumps({**facts, **progress}, indent=2) + "\n"


def readable_facts(folder: Path) -> dict | None:
    """The record of a folder; None where there is none, or it cannot be read."""
    try:
        return read_facts(folder)
    except ValueError:
        return None


def read_facts(folder: Path) -> dict | None:
    """The record of the run that made the folder's model; None where there is none.

    Raises:
        ValueError: the file holds no record.
    """
    path = folder / FACTS_FILE
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["options"]["keep"], facts["dataset"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no record of a training run ({type(error).__name__}: {error}). Remove it to do without; a run "
            "that goes on from its checkpoints writes it anew."
        ) from error
    return facts


def published_facts(name: str) -> dict | None:
    """The record of the run that made a CAAN, by its folder or Hub id; None where there is none or it cannot be reached."""
    return published(name, FACTS_FILE, read_facts)


def published(name: str, file: str, read: Callable[[Path], Record | None]) -> Record | None:
    """What `read` makes of the folder with a model's `file`, by its folder or Hub id; None where it cannot be reached."""
    if Path(name).is_dir() or not is_hub_id(name):
        return read(Path(name))
    try:
        return read(Path(hf_hub_download(name, file)).parent)
    except Exception:  # no such file, no network: a record is not worth a failed run
        return None
