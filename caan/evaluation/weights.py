"""Which weights a number belongs to."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open

from modeling_caan import TRAINING_MODULES

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"  # one file, or the list of several


def weight_files(folder: Path) -> list[Path]:
    """The files that a model's weights are read from, sorted; none where it has no safetensors.

    Others of the same suffix may lie beside them: a gallery of pictures, shards of a model that was there before.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        return []
    try:
        shards = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(shards))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / INDEX} is no list of weights ({error}): download or write it again.") from error


def weights_fingerprint(folder: Path) -> str:
    """SHA-256 of the tensors that retrieval uses; the full and the inference form of a model have the same.

    Raises:
        FileNotFoundError: the folder holds no safetensors.
    """
    files = [safe_open(path, "pt") for path in weight_files(folder)]
    if not files:
        raise FileNotFoundError(f"{folder} holds no weights (model.safetensors).")
    names = {name: file for file in files for name in file.keys()}  # noqa: SIM118, a safe_open is no mapping
    digest = hashlib.sha256()
    for name in sorted(name for name in names if name.split(".")[0] not in TRAINING_MODULES):
        tensor = names[name].get_tensor(name)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
