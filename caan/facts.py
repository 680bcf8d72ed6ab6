"""What a training run knows of itself, kept as `training.json` in the model's folder.

The card is written from this file and from `results.json` alone, so that another command can write it again, at any time,
without guessing. Both files are made to be published: of a path of this machine only the last name is kept.
"""

import json
import os
import platform
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path, PurePath

import torch
from huggingface_hub import HfApi, RepoCard

from caan.building import uses_text
from caan.checkpoint import TrainerState
from caan.evaluation import VERSIONED, command_line, version_of

FACTS_FILE = "training.json"


def training_facts(train_split, model_options, data_options, options, hub_options, accelerator) -> dict:
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
        "uses_text": uses_text(model_options),
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


def hardware(device: torch.device) -> str:
    """The device in words, such as "NVIDIA H100 80GB HBM3" or "CPU, 2 cores, x86_64"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {os.cpu_count()} cores, {platform.machine()}"


def is_hub_id(name: str) -> bool:
    """Whether a name is of the form org/repo, and no folder here."""
    return name.count("/") == 1 and all(name.split("/")) and not os.path.exists(name)


def declared_license(name: str, kind: str) -> str | None:
    """The licence that the card of a Hub repository or of a folder names; None where it names none or cannot be read.

    Args:
        kind: "model" or "dataset".
    """
    try:
        if (card := Path(name) / "README.md").is_file():
            data = RepoCard.load(card, ignore_metadata_errors=True).data
        elif is_hub_id(name):
            data = HfApi().repo_info(name, repo_type=kind, timeout=10).card_data
        else:
            return None
    except Exception:  # no network, a private repository, a broken header: a licence is not worth a failed run
        return None
    license_id = getattr(data, "license", None)
    return getattr(data, "license_name", None) or license_id if license_id == "other" else license_id


def public_name(value):
    """`value`; of a string that is a path of this machine, the last name. Hub ids stay as they are."""
    return Path(value).name if isinstance(value, str) and (is_absolute(value) or os.path.exists(value)) else value


def is_absolute(text: str) -> bool:
    """Whether a text is the full path of something on this machine."""
    return PurePath(text).is_absolute() or text.startswith("~")


def public_command(argv: list[str]) -> str:
    """The command line of `argv`; of full paths only the last name. Others are the repository's, such as recipes/x.yaml."""
    script, *arguments = argv
    parts = [argument.partition("=") for argument in arguments]  # --data_dir=/a/b
    return command_line([script, *("".join(Path(p).name if is_absolute(p) else p for p in part) for part in parts)])
