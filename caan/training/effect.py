"""Options that would take no part are refused: the record of the run lists them, and the card tells of them.

A recipe's value is taken off by an empty one on the command line: `--text_model ''`, `--model_config.vision_config null`.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from caan.options import ModelOptions

ABSENT = object()


def require_effect(options: ModelOptions, uses_text: bool, descriptions: str | None = None) -> None:
    """Refuses names that nothing would be loaded from, before anything is loaded.

    Args:
        uses_text: whether the model of these options learns with text. descriptions: a file of the user's own.

    Raises:
        ValueError: naming the option, and how to go on.
    """
    others = [name for name in ("vision_model", "text_model") if options.model and getattr(options, name)]
    if not uses_text and not options.model and options.text_model:
        refuse("text_model", options.text_model, "the model learns without text (use_text: false)", "--text_model ''")
    if not uses_text and descriptions:
        refuse("descriptions", descriptions, "the model learns without text", "--descriptions ''")
    require_teacher(options)
    if options.tune != "lora":
        default = ModelOptions.lora_rank
        if options.lora_rank != default:
            refuse("lora_rank", options.lora_rank, f"tune is {options.tune}, not lora", f"--lora_rank {default}")
    for name in others:
        refuse(name, getattr(options, name), f"model {options.model!r} brings its own weights", f"--{name} ''")


def require_teacher(options: ModelOptions) -> None:
    """Refuses what says how a teacher is used where there is none, a teacher of no weight, and a width that is not its own."""
    try:
        fields = {**json.loads(options.model_config)}
    except (ValueError, TypeError):
        return  # no mapping: that is told where it is read
    if not options.teacher_model:
        if options.teacher_image_size:
            refuse("teacher_image_size", options.teacher_image_size, "there is no teacher_model", "--teacher_image_size 0")
        for name in ("lambda_teacher", "teacher_temperature"):
            if fields.get(name) is not None:
                refuse(f"model_config.{name}", fields[name], "there is no teacher_model", f"--model_config.{name} null")
    elif fields.get("lambda_teacher") == 0:
        refuse("teacher_model", options.teacher_model, "model_config.lambda_teacher is 0", "--teacher_model ''")
    if fields.get("teacher_width") is not None:
        refuse(
            "model_config.teacher_width", fields["teacher_width"], "it is the teacher's", "--model_config.teacher_width null"
        )


def require_start(options: ModelOptions, start_share: float) -> None:
    """Refuses a share of the start where vision encoders start from nothing that was learned, or stay there."""
    if start_share and not (options.model or options.vision_model):
        refuse("start_share", start_share, "the vision encoders start from random weights", "--start_share 0")
    if start_share and options.tune == "none":
        refuse("start_share", start_share, "tune is none: the vision encoders stay as they start", "--start_share 0")


def require_default(options: ModelOptions, name: str, owner: str, own=ABSENT) -> None:
    """Refuses a value of an option that is neither its default nor the model's `own`. Args: owner: of what counts instead."""
    default = next(item.default for item in fields(options) if item.name == name)
    if getattr(options, name) not in (default, own):
        refuse(name, getattr(options, name), f"that of {owner} counts", f"--{name} {default}")


def require_same(given: Any, config: Any, owner: str, name: str) -> None:
    """Refuses what `model_config` says of a part that is loaded with a config of its own, where it says something else.

    Args:
        given: a value or a mapping of fields; None says nothing. config: the part's own. owner: the option it was loaded by.
        name: of `given`, as people write it.
    """
    if isinstance(given, Mapping) and not isinstance(config, Mapping):
        for key, value in given.items():
            require_same(value, getattr(config, key, ABSENT), owner, f"{name}.{key}")
    elif given is not None and plain(given) != plain(config):
        own = "has no such field" if config is ABSENT else f"has {plain(config)!r}"
        refuse(name, given, f"{owner} {own}", f"--{name} null")


def plain(value):
    """Tuples as the lists that a recipe has."""
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def refuse(name: str, value, reason: str, cure: str) -> None:
    """Raises ValueError for an option without effect."""
    raise ValueError(f"{name} {value!r} would take no part: {reason}. Leave it out; where a recipe has it, give {cure}.")
