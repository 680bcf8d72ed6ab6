"""What must be as it was when a run goes on, and what may change.

The optimizer of a checkpoint keeps its rates, and batches follow from seed and data: under other options a resumed run would be
neither the old one nor what the new options say. So a change is refused, but for what takes no part in the result, and for the
number of epochs and of processes, which people do change; these are recorded. Of sentences, and of folders that a model starts
from, the content counts by its fingerprint; checkpoints of earlier versions have none, and go on.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from caan.data.provenance import public_name
from caan.training.checkpoints import TrainerState
from caan.training.files import crc32

# Where things are and how they are shown, read and kept.
NO_PART = {
    *("output_dir", "data_dir", "resume_from_checkpoint", "report_to", "num_workers", "cpu", "verify", "eval_batch_size"),
    *("checkpointing_steps", "save_total_limit", "activation_checkpointing"),
}
MAY_CHANGE = ("num_epochs", "processes")
OF_THE_MODEL = ("vision_model", "text_model", "model_config", "tokenizer_vocab_size")  # with --model they take no part
PATHS = (
    "model",
    "vision_model",
    "text_model",
    "teacher_model",
    "descriptions",
    "dataset",
)  # of a folder the name counts, not where it is
# Of a folder's files those that say how a model starts; cards, records and results may change.
START_FILES = ("config.json", "*.safetensors", "*.bin", "*.model", "*.txt", "tokenizer*", "vocab*", "p*processor_config.json")
STARTS = ("model", "vision_model", "text_model", "teacher_model")
SHOWN = 20  # differences in a message


def run_settings(families, train_split, num_processes: int, descriptions: Mapping[int, Sequence[str]]) -> dict:
    """What decides a run's result, by name, in values that JSON knows.

    Args:
        families: the options of model, data and training. train_split: its rows' classes and files, in order, count.
        descriptions: label -> sentences that the run reads.
    """
    options = {name: value for family in families for name, value in asdict(family).items() if name not in NO_PART}
    options["model_config"] = public_name(json.loads(options["model_config"]))
    if options["model"]:
        options = {name: value for name, value in options.items() if name not in OF_THE_MODEL}
    names = train_split.features["label"].names
    data = {
        "classes": [names[label] for label in sorted(set(train_split["label"][:]))],
        "rows": fingerprint(list(zip(train_split["label"][:], train_split["file"][:]))),
        "sentences": {names[label]: fingerprint(list(sentences)) for label, sentences in sorted(descriptions.items())},
        "start": {name: folder_fingerprint(options.get(name)) for name in STARTS},
    }
    options = {name: public_name(value) if name in PATHS else value for name, value in options.items()}
    return {**options, **data, "processes": num_processes}


def fingerprint(value) -> str:
    """Of a value, the same wherever it is made."""
    return hashlib.sha256(repr(value).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def folder_fingerprint(name: str | None) -> str | None:
    """Of a folder's weights, config and tokenizer, wherever it lies; None of a Hub id, whose name counts, and of no name."""
    if name is None or not Path(name).is_dir():
        return None
    files = {path for pattern in START_FILES for path in Path(name).glob(pattern) if path.is_file()}
    return fingerprint([(path.name, path.stat().st_size, crc32(path)) for path in sorted(files)])


def changed_settings(state: TrainerState, settings: dict) -> dict[str, list]:
    """Name -> [old, new] of the settings of a checkpoint that are others now; of older checkpoints nothing is known."""
    return {name: [state.settings[name], now] for name, now in settings.items() if state.settings.get(name, now) != now}


def require_settings(state: TrainerState, settings: dict) -> None:
    """Refuses to go on under other settings.

    Raises:
        ValueError: listing what changed that may not.
    """
    changed = changed_settings(state, settings).items()
    refused = [line for name, (before, now) in changed if name not in MAY_CHANGE for line in differences(name, before, now)]
    if len(refused) > SHOWN:
        refused = [*refused[:SHOWN], f"... and {len(refused) - SHOWN} more"]
    if refused:
        raise ValueError(
            "The checkpoint was made with other settings:\n  "
            + "\n  ".join(refused)
            + "\nGo on with the old ones, or start anew in another --output_dir (--model takes a finished model as the start)."
        )


def record_changes(state: TrainerState, settings: dict) -> dict[str, list]:
    """The changed settings, which also go into the history of the run."""
    changed = changed_settings(state, settings)
    if changed:
        state.history = [*state.history, {"step": state.step, "changed": changed}]
    return changed


def differences(name: str, before, now) -> list[str]:
    """What changed in a setting, a line each; of a mapping the fields that did."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return [f"{name}: {shown(before)} -> {shown(now)}"]
    fields = [field for field in {**before, **now} if before.get(field) != now.get(field)]
    return [line for field in fields for line in differences(f"{name}.{field}", before.get(field), now.get(field))]


def shown(value) -> str:
    """A setting in a line; long ones are cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."
