"""The photo files of a folder, as a gallery sees them: told by suffix, sizes and times, and the hash of their bytes."""

import fnmatch
import functools
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from caan.search.engine import Folder, Photo
from pipeline_caan import image_suffixes, read_folders, show_path

CHUNK = 1 << 20  # bytes that are hashed at once
THREADS = 4  # that hash: a disk or a network answers several at once


@dataclass
class Scan:
    """What is in a folder: `photos` (their contents not read yet, b""), and how many entries were left out, by reason."""

    photos: list[Photo] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def scan_folder(folder: Folder, exclude: Sequence[str] = ()) -> Scan:
    """The photos at and below a folder, sorted by path.

    Links to folders are followed, each folder once; hidden entries and those of operating systems (`@eaDir`, `.thumbnails`,
    `System Volume Information`) are left out.

    Args:
        exclude: patterns of files or folders below the root, such as `drafts` or `*.png`, in which * stands for slashes too.

    Raises:
        ValueError: there is no such folder.
    """
    place, root = Path(folder_path(folder)), Path(os.fsdecode(folder.root))
    if not place.is_dir():
        raise ValueError(f"There is no folder {show_path(place)}: is a disk not connected? The gallery keeps its photos.")
    suffixes, scan, hidden = image_suffixes(), Scan(), list[str]()
    for files, problems in read_folders(place, hidden):
        scan.left_out.update(problem.rpartition("(")[2].rstrip(")") for problem in problems)
        for file in files:
            below = os.fsencode(file.relative_to(root).as_posix())
            if is_excluded(os.fsdecode(below), exclude):
                scan.left_out["excluded"] += 1
            elif file.suffix.lower() not in suffixes:
                scan.left_out[f"{file.suffix.lower()} is no picture" if file.suffix else "no suffix"] += 1
            else:
                scan.photos += stat_photo(file, folder.root, below)
    scan.left_out.update(map(why_hidden, hidden))
    scan.photos.sort(key=lambda photo: photo.path)
    return scan


def why_hidden(name: str) -> str:
    """Why a file, or a folder (with a slash behind its name), is left out, in words that fall together for many."""
    if name.endswith("/"):
        return f"folder {show_path(name)}"
    return "AppleDouble file (._*)" if name.startswith("._") else "hidden file (.*)"


def is_excluded(path: str, exclude: Sequence[str]) -> bool:
    """Whether a path below a root, or a folder above it, is of one of the patterns."""
    places = [path, *map(str, PurePosixPath(path).parents)][:-1]  # the last is the root
    return any(fnmatch.fnmatch(place, pattern.rstrip("/")) for place in places for pattern in exclude)


def stat_photo(file: Path, root: bytes, path: bytes) -> list[Photo]:
    """The photo of a file, without its content; empty where it has gone since it was listed."""
    try:
        status = file.stat()
    except OSError:
        return []
    return [Photo(root, path, status.st_size, status.st_mtime_ns, b"")]


def gone(photos: Iterable[Photo]) -> Iterator[Photo]:
    """Those of photos that a scan did not find, without those that nobody can tell of: the file, or a folder above it, is there
    but cannot be read now."""
    listable = functools.cache(lambda folder: answers(lambda place: os.scandir(place).close(), folder))
    for photo in photos:
        folders = (os.path.join(os.fsdecode(photo.root), above) for above in PurePath(os.fsdecode(photo.path)).parents)
        if all(map(listable, folders)) and answers(os.stat, full_path(photo)):
            yield photo


def answers(call: Callable[[str], object], path: str) -> bool:
    """Whether the system tells of a file or folder: that it is there, or that it is not."""
    try:
        call(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True


def unchanged(photo: Photo) -> bool:
    """Whether a file is as it was when it was listed."""
    try:
        status = os.stat(full_path(photo))
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (photo.size, photo.mtime_ns)


def full_path(photo: Photo) -> str:
    """Where a photo is, as Python's calls on files take it; bytes that are no UTF-8 by surrogateescape."""
    return os.path.join(os.fsdecode(photo.root), os.fsdecode(photo.path))


def hash_file(path: str) -> bytes:
    """SHA-256 of a file's bytes. Raises OSError where it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
    return digest.digest()


def hash_all(photos: Iterable[Photo]) -> Iterator[bytes | str]:
    """The hash of each photo's bytes, or why it cannot be read."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(hash_or_problem, photos)


def hash_or_problem(photo: Photo) -> bytes | str:
    """The hash of a file's bytes, or why it cannot be read."""
    try:
        return hash_file(full_path(photo))
    except OSError as error:
        return f"Cannot read the image {show_path(full_path(photo))}: {error.strerror or error}."


def folder_path(folder: Folder) -> str:
    """Where a folder is, as `full_path` says of a photo."""
    return os.path.join(os.fsdecode(folder.root), os.fsdecode(folder.path)) if folder.path else os.fsdecode(folder.root)
