"""The classes to describe: from a text file, from the command line, or from a benchmark's split."""

from __future__ import annotations

import unicodedata
from collections import Counter
from importlib import resources
from pathlib import Path


class ClassListError(ValueError):
    """A class list that cannot be used; the message names the file and the cure."""


def read_class_list(path: str | Path) -> list[str]:
    """Class names of a text file, one a line, spelled as in the archive; blank lines are skipped.

    Raises `ClassListError` for a file that is absent, is no UTF-8 text, names no class, or names one twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ClassListError(f"{path}: cannot be read ({error.strerror}); give a text file with one class a line") from error
    except UnicodeDecodeError as error:
        raise ClassListError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    return checked_classes(text.splitlines(), str(path))


def split_classes(dataset: str, config: str, splits: tuple[str, ...] = ("train",)) -> list[str]:
    """Classes of a benchmark's zero-shot splits, from the lists shipped in `dataset_scripts/splits`.

    `split_classes("sketchy", "104_21")` gives the 104 seen classes. Raises `ClassListError` for a split that is not shipped.
    """
    try:
        folder = resources.files("dataset_scripts") / "splits"
        shipped = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".txt"))
    except (ModuleNotFoundError, OSError):
        raise ClassListError("the class lists of dataset_scripts are not installed; give --classes_file") from None
    names: list[str] = []
    for split in splits:
        file_name = f"{dataset}_{config}_{split}.txt"
        if file_name not in shipped:
            known = ", ".join(dict.fromkeys(name.rsplit("_", 1)[0] for name in shipped))
            raise ClassListError(f"no class list {file_name}; <dataset>_<config> is one of: {known}")
        names += (folder / file_name).read_text(encoding="utf-8").splitlines()
    return checked_classes(names, f"{dataset} {config}")


def checked_classes(names: list[str], source: str) -> list[str]:
    """Names without surrounding blanks and empty entries.

    Raises `ClassListError` if none is left, one stands twice (in one or two Unicode spellings), or one is no Unicode text.
    """
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise ClassListError(f"{source}: names no class")
    if broken := [name for name in names if name != name.encode(errors="replace").decode()]:
        raise ClassListError(f"{source}: {broken[0]!r} is no UTF-8 text")
    spellings = Counter(unicodedata.normalize("NFC", name) for name in names)  # é is one character, or e and an accent
    if repeated := sorted(name for name, count in spellings.items() if count > 1):
        raise ClassListError(f"{source}: names {', '.join(repeated)} twice")
    return names
