"""Which weights a number belongs to."""

import hashlib
from pathlib import Path

import torch
from safetensors import safe_open

from modeling_caan import TEXT_MODULES


def weights_fingerprint(folder: Path) -> str:
    """SHA-256 of the tensors that retrieval uses; the full and the inference form of a model have the same.

    Raises:
        FileNotFoundError: the folder holds no safetensors.
    """
    files = [safe_open(path, "pt") for path in sorted(folder.glob("*.safetensors"))]
    if not files:
        raise FileNotFoundError(f"{folder} holds no weights (model.safetensors).")
    names = {name: file for file in files for name in file.keys()}  # noqa: SIM118, a safe_open is no mapping
    digest = hashlib.sha256()
    for name in sorted(name for name in names if name.split(".")[0] not in TEXT_MODULES):
        tensor = names[name].get_tensor(name)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
