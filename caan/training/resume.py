"""What must be as it was when a run goes on, and what may change.

The optimizer of a checkpoint keeps its rates, and batches follow from seed and data: under other options a resumed run would be
neither the old one nor what the new options say. So a change is refused, but for what takes no part in the result, and for the
number of epochs and of processes, which people do change; these are recorded.
"""

import hashlib
import json
from dataclasses import asdict

from caan.data.provenance import public_name
from caan.training.checkpoints import TrainerState

# Where things are and how they are shown, read and kept.
NO_PART = {
    *("output_dir", "data_dir", "resume_from_checkpoint", "report_to", "num_workers", "cpu", "verify", "eval_batch_size"),
    *("checkpointing_steps", "save_total_limit", "activation_checkpointing"),
}
MAY_CHANGE = ("num_epochs", "processes")
PATHS = ("model", "vision_model", "text_model", "descriptions", "dataset")  # of a folder the name counts, not where it is


def run_settings(families, train_split, num_processes: int) -> dict:
    """What decides a run's result, by name, in values that JSON knows.

    Args:
        families: the options of model, data and training. train_split: its rows' classes and files, in order, count.
    """
    options = {name: value for family in families for name, value in asdict(family).items() if name not in NO_PART}
    options |= {name: public_name(options[name]) for name in PATHS}
    options["model_config"] = json.loads(options["model_config"])
    names = train_split.features["label"].names
    rows = hashlib.sha256(repr(list(zip(train_split["label"][:], train_split["file"][:]))).encode("utf-8", "surrogateescape"))
    data = {"classes": [names[label] for label in sorted(set(train_split["label"][:]))], "rows": rows.hexdigest()[:16]}
    return {**options, **data, "processes": num_processes}


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
