"""The description file: a JSON line a class and prompt, written as it comes, never twice, and safe against a kill.

`{"class": ..., "prompt": ..., "text": ..., "prompt_set": ..., "model": ..., "seed": ..., "attempts": ...}`. `class` keeps
the archive's spelling. Every line is flushed to the disk before the next answer is looked at, so that a kill costs at most
the line being written; what is left of that line is dropped when the file is opened again. One process at a time may write:
a lock beside the file (`.NAME.lock`, let go by the system when its process dies) refuses a second one.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # class, prompt
NEEDED = ("class", "prompt", "text")


class DescriptionFileError(ValueError):
    """A description file that cannot be read or written; the message names file, line and cure. Nothing was changed."""


class DescriptionFile:
    """The open description file at `path`; a context manager that holds the lock. `key in file` tells what is there.

    Raises `DescriptionFileError` on entering when another process writes to the file or when a line in it is broken.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.lines: dict[Key, dict[str, Any]] = {}
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))

    def __enter__(self) -> DescriptionFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DescriptionFileError(
                f"{self.path}: another process is writing to it; wait for its end or choose another file"
            ) from None
        try:
            self.lines, good_bytes, mended = _parse(self.path)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (closed in __exit__)
            self._drop_torn_line(good_bytes, mended)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._lock.release()

    def __contains__(self, key: Key) -> bool:
        return key in self.lines

    def append(self, line: dict[str, Any]) -> None:
        """Write a line and wait until the disk has it. `line` has at least class, prompt and text; its key must be new."""
        key = line["class"], line["prompt"]
        if key in self.lines:
            raise DescriptionFileError(f"{self.path}: {key} is already there and is not written twice")
        self._write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self.lines[key] = line

    def _write(self, data: bytes) -> None:
        while data:  # an unbuffered file may take a part only
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())

    def _drop_torn_line(self, good_bytes: int, mended: bool) -> None:
        torn_bytes = self.path.stat().st_size - good_bytes
        if torn_bytes:
            logger.warning("%s: dropped the last line, torn after %d bytes; it is asked again", self.path, torn_bytes)
            self._file.truncate(good_bytes)
        if mended:
            self._write(b"\n")


def read_descriptions(path: str | Path) -> dict[str, dict[str, str]]:
    """Texts of a description file, by class and then by prompt, in the file's order. A torn last line is left out.

    Raises `DescriptionFileError` for a file that is absent or has a broken line.
    """
    if not Path(path).is_file():
        raise DescriptionFileError(f"{path}: no such file; `caan describe --output {path}` writes one")
    texts: dict[str, dict[str, str]] = {}
    for (class_name, prompt), line in _parse(Path(path))[0].items():
        texts.setdefault(class_name, {})[prompt] = line["text"]
    return texts


def _parse(path: Path) -> tuple[dict[Key, dict[str, Any]], int, bool]:
    """Lines by key, the number of bytes they take, and whether the last of them lacks nothing but its line end."""
    data = path.read_bytes() if path.exists() else b""
    lines: dict[Key, dict[str, Any]] = {}
    *whole, last = data.split(b"\n")
    for number, raw in enumerate(whole, 1):
        if raw.strip():
            line = _decode(raw)
            if line is None:
                raise DescriptionFileError(
                    f"{path}, line {number}: not a description ({', '.join(NEEDED)} as JSON texts); mend or delete that line"
                )
            _add(lines, line, path, number)
    line = _decode(last)
    if line is None:
        return lines, len(data) - len(last), False
    _add(lines, line, path, len(whole) + 1)
    return lines, len(data), True


def _decode(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:  # JSON and UTF-8 errors both
        return None
    return line if isinstance(line, dict) and all(isinstance(line.get(name), str) for name in NEEDED) else None


def _add(lines: dict[Key, dict[str, Any]], line: dict[str, Any], path: Path, number: int) -> None:
    key = line["class"], line["prompt"]
    if key in lines:
        raise DescriptionFileError(f"{path}, line {number}: {key} stands in the file twice; delete one of the two lines")
    lines[key] = line
