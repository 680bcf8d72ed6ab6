"""Files that are made from a gallery and can be made again: a header that tells a whole file of ours from any other.

with writing(path, MATRIX, generation=7) as file:
    file.write(vectors)
    file.count, file.width = vectors.shape
header = read_header(path, MATRIX)

A file comes under its name only when it is whole and on the disk, so a process that is killed leaves the one before. The folder
is not synchronised: a rename that a power cut loses leaves the old file, whose generation says that it is old.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

MAGIC = b"\x89CAANSRC"  # the first byte is no text, as in PNG: a transfer as text is noticed
VERSION = 1
MATRIX, CODES = b"mtrx", b"code"
# magic, version, kind, generation, count, width, bytes that follow, their CRC-32; then the CRC-32 of all that
LAYOUT = struct.Struct("<8sI4sqqqqI")
START = 64  # where the content begins: vectors stay on the boundaries of a cache line
CHUNK = 1 << 22  # bytes that are read at once


@dataclass(frozen=True)
class Header:
    """What a derived file says of itself.

    kind: `MATRIX` or `CODES`. generation: of the gallery that it was made from. count: rows; width: of a vector.
    size: bytes after the header; crc: their CRC-32.
    """

    kind: bytes
    generation: int
    count: int
    width: int
    size: int
    crc: int

    def packed(self) -> bytes:
        """The first `START` bytes of the file."""
        fields = (MAGIC, VERSION, self.kind, self.generation, self.count, self.width, self.size, self.crc)
        packed = LAYOUT.pack(*fields)
        return (packed + struct.pack("<I", zlib.crc32(packed))).ljust(START, b"\0")


class Content:
    """What is written after the header, part by part. `count` and `width` are for the writer to set."""

    def __init__(self, file):
        self._file = file
        self.count = self.width = self.size = self.crc = 0

    def write(self, array: np.ndarray) -> None:
        """Appends the bytes of an array, in its own type."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        self._file.write(data)
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)


@contextmanager
def writing(path: Path, kind: bytes, generation: int) -> Iterator[Content]:
    """A new file at `path`, which takes the place of an old one when the block ends without an error.

    Writers take turns, in all processes: they share the name of the unfinished file, so that one left by a kill is overwritten.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    with FileLock(path.with_name(f".{path.name}.lock")):
        try:
            with open(unfinished, "wb") as file:
                file.write(bytes(START))
                content = Content(file)
                yield content
                header = Header(kind, generation, content.count, content.width, content.size, content.crc)
                file.seek(0)
                file.write(header.packed())
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


def read_header(path: Path, kind: bytes) -> Header:
    """What a file says of itself, after a look at its size; its content is not read.

    Raises:
        ValueError: it is no whole file of this kind, or one of another version.
        OSError: there is none, or it cannot be read.
    """
    with open(path, "rb") as file:
        start, size = file.read(START), os.fstat(file.fileno()).st_size
    packed, code = start[: LAYOUT.size], start[LAYOUT.size : LAYOUT.size + 4]
    if len(start) < START or not start.startswith(MAGIC):
        raise ValueError(f"{path.name} is no file of a gallery")
    magic, version, found, *numbers = LAYOUT.unpack(packed)
    if struct.pack("<I", zlib.crc32(packed)) != code:
        raise ValueError(f"the header of {path.name} is damaged")
    if version != VERSION or found != kind:
        raise ValueError(f"{path.name} is of kind {found!r}, version {version}; expected {kind!r}, version {VERSION}")
    header = Header(found, *numbers)
    if size != START + header.size:
        raise ValueError(f"{path.name} has {size:,} of {START + header.size:,} bytes")
    return header


def is_intact(path: Path, header: Header) -> bool:
    """Whether the content is what was written; reads all of it."""
    code = 0
    with open(path, "rb") as file:
        file.seek(START)
        while data := file.read(CHUNK):
            code = zlib.crc32(data, code)
    return code == header.crc
