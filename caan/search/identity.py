"""Which model a gallery belongs to: vectors of another model, or of this one with other settings, do not compare."""

import json
from typing import Any

from pipeline_caan import difference, model_identity

SETTING = "model"
SOURCE = "source"  # the id or folder that the model was loaded from, so that a search needs no --model


def identity_of(model: Any, processor: Any) -> dict:
    """What decides the vectors of photos (`pipeline_caan.model_identity`).

    Raises:
        ValueError: the weights are not in memory, so that they cannot be told from others.
    """
    identity = model_identity(model, processor)
    if identity is None:
        raise ValueError("The model's weights are not in memory (offloaded): a gallery cannot say what it was made by.")
    return identity


def require_same(kept: dict[str, str], identity: dict, uri: str) -> None:
    """Checks a model against what a gallery's settings say; a gallery without any takes every model.

    Raises:
        ValueError: the gallery was made by another model, or with other settings; with the command that makes it anew.
    """
    if SETTING not in kept:
        return
    made = json.loads(kept[SETTING])
    if what := difference(made, identity):
        by = " ".join(filter(None, [made.get("name") or json.loads(kept[SOURCE])["model"], made.get("revision")]))
        raise ValueError(
            f"The gallery {uri} was made by {what} ({by}): its vectors do not compare with those of "
            f"{identity['name'] or 'this one'}. Search it without --model, by its own, or make one with yours: "
            f"caan index FOLDER --gallery NEW_NAME --model {identity['name'] or 'MODEL'}"
        )
