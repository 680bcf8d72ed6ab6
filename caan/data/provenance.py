"""Where names, licences and versions in a published record come from; no path of this machine gets into one."""

import importlib.metadata
import itertools
import json
import os
import platform
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PureWindowsPath

import torch
from huggingface_hub import HfApi, RepoCard

from caan.data.packaged import PACKAGES, PREFIX

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
    if name.startswith(PREFIX):
        return PACKAGES[name.removeprefix(PREFIX)].license
    try:
        if (card := Path(name) / "README.md").is_file():
            data = RepoCard.load(card, ignore_metadata_errors=True).data
        elif is_hub_id(name):
            data = HfApi().repo_info(name, repo_type=kind, timeout=10).card_data  # type: ignore[union-attr]
        else:
            return None
    except Exception:  # no network, a private repository, a broken header: a licence is not worth a failed run
        return None
    license_id = getattr(data, "license", None)
    return getattr(data, "license_name", None) or license_id if license_id == "other" else license_id


def public_name(value):
    """`value` as it may be published: of a path of this machine only the last name; Hub ids as they are.

    Lists and mappings are gone through item by item, a mapping that is written as JSON (`model_config`) too.
    """
    if isinstance(value, list | tuple):
        return [public_name(item) for item in value]
    if isinstance(value, dict):
        return {key: public_name(item) for key, item in value.items()}
    if (fields := json_mapping(value)) is not None:
        return value if (public := public_name(fields)) == fields else json.dumps(public)
    if not isinstance(value, str) or not (is_absolute(value) or os.path.exists(value)):
        return value
    if PureWindowsPath(value).is_absolute():  # written on another system
        return printable(PureWindowsPath(value).name)
    return printable(Path(os.path.abspath(os.path.expanduser(value))).name or value)  # abspath: "." has a name too


def printable(text: str) -> str:
    r"""A text as a line of UTF-8 holds it: of a file's name any byte may be part, a line break and ``\xe9`` too."""
    odd = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are no UTF-8, separators of lines and paragraphs
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in odd else c for c in text)


def json_mapping(text) -> dict | None:
    """The mapping that a text is in JSON; None where it is none."""
    try:
        return json.loads(text) if isinstance(text, str) and text.startswith("{") else None
    except ValueError:
        return None


def public_names(names: Sequence[str]) -> list[str]:
    """The public name of each of several names; where two folders have one last name, the later are numbered.

    >>> public_names(["/a/run", "pixels", "/b/run"])
    ['run', 'pixels', 'run (2)']
    """
    return numbered(map(public_name, names))


def numbered(names: Iterable[str]) -> list[str]:
    """Names of which each is there once: the second "run" becomes "run (2)"."""
    unique: list[str] = []
    for name in names:
        candidates = (f"{name} ({count})" if count > 1 else name for count in itertools.count(1))
        unique.append(next(candidate for candidate in candidates if candidate not in unique))
    return unique


def is_absolute(text: str) -> bool:
    """Whether a text is the path of something on this machine that means nothing elsewhere: full, of a home, or upwards."""
    path = PurePath(text)
    return path.is_absolute() or PureWindowsPath(text).is_absolute() or text.startswith("~") or path.parts[:1] == ("..",)


def public_command(argv: Sequence[str]) -> str:
    """The command line of `argv`, whose first item is a script or a command such as "caan eval".

    Of full paths only the last name stays. Others are the repository's, such as recipes/x.yaml.
    """
    script, *arguments = argv
    name = Path(script).name.removesuffix(".exe")
    name = "caan" if name == "cli.py" else name  # python -m caan.cli
    parts = [(argument,) if argument.startswith("{") else argument.partition("=") for argument in arguments]  # --data_dir=/a/b
    public = ["".join(public_name(p) if is_absolute(p) or p.startswith("{") else p for p in part) for part in parts]
    return printable(shlex.join([*(["python", name] if name.endswith(".py") else name.split()), *public]))


def version_of(package: str) -> str:
    """Installed version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def installed_versions() -> dict[str, str]:
    """Python and the packages that a number depends on -> version."""
    return {"python": platform.python_version(), **{name: version_of(name) for name in VERSIONED}}
