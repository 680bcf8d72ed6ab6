"""Folders and files that are complete or absent, whatever moment the process is killed at.

A folder is written under a name that nothing reads and renamed when it is whole and on the disk; a rename is atomic. What a
checkpoint refers to is never written over: a new version gets a new name, and the checkpoint that names it comes after it.
"""

import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

CHUNK = 2**22  # bytes read at once


def temporary_folder(final: Path) -> Path:
    """A fresh empty folder beside `final`, under a name that is never read."""
    temporary = temporary_name(final)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def temporary_name(final: Path) -> Path:
    """Where a folder is written before it gets its name."""
    return final.with_name(f".{final.name}.tmp")


def publish_folder(temporary: Path, final: Path) -> None:
    """Gives a finished folder its name, on the disk before the name is: files, then folders, then the rename.

    A folder of that name is what a killed run left and nothing refers to: it goes first.
    """
    for path in [*temporary.rglob("*"), temporary]:
        sync(path)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    sync(final.parent)


def publish_files(source: Path, target: Path, texts: Mapping[str, str] | None = None) -> None:
    """Copies a model folder's files into `target`, where they take the place of an older model's in one go.

    All are copied beside the old ones first: on a full disk, or where the source lacks a file, the old model stays whole. Then
    they get their names, config.json last: a run that is killed here leaves no mix of two models that loads.

    Args:
        texts: name -> content of more files that belong to the model.

    Raises:
        ValueError: the source holds no model.
    """
    if not (source / "config.json").is_file() or not any(source.glob("*.safetensors")):
        raise ValueError(f"{source} holds no model to publish: go on from another checkpoint.")
    texts = texts or {}
    names = {path.name for path in source.iterdir() if path.is_file()} | texts.keys()
    temporary = {name: target / f".{name}.tmp" for name in sorted(names, key=lambda name: (name == "config.json", name))}
    target.mkdir(parents=True, exist_ok=True)
    try:
        for name, path in temporary.items():
            if name in texts:
                path.write_text(texts[name], encoding="utf-8")
            else:
                shutil.copyfile(source / name, path)
            sync(path)
        (target / "config.json").unlink(missing_ok=True)
        for name, path in temporary.items():
            os.replace(path, target / name)
        sync(target)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file or a folder's entries are on the disk; Windows has no such call for folders."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksums(folder: Path) -> dict[str, list[int]]:
    """Size in bytes and CRC-32 of every file of a folder, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): [path.stat().st_size, crc32(path)] for path in files}


def crc32(path: Path) -> int:
    """CRC-32 of a file's bytes."""
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def find_damage(folder: Path, expected: dict[str, list[int]]) -> str | None:
    """What is wrong with the first file that is not as `checksums` had it, in words; None where all are."""
    for name, (size, code) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} of {size:,} bytes"
        if crc32(path) != code:
            return f"{name} has changed"
    return None
