"""Where names, licences and versions in a published record come from; no path of this machine gets into one."""

import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

import torch
from huggingface_hub import HfApi, RepoCard

VERSIONED = ("torch", "transformers", "datasets", "timm", "caan")


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


def version_of(package: str) -> str:
    """Installed version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def command_line(argv: Sequence[str] | None = None) -> str:
    """The command that runs now, without the folder that its script lies in."""
    script, *rest = sys.argv if argv is None else argv
    return shlex.join(["python", Path(script).name, *rest])
