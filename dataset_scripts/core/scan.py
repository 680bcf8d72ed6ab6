"""One pass over a data set's folders: which pictures are there, and a fingerprint of them.

`os.scandir` gives name, size and time of a file in one system call each, so 150,000 files take about a second and
nothing is opened. The fingerprint (names, sizes, modification times) goes into the cache key of the builder: a file
that was added, removed or changed gives a new cache, never stale rows. What cannot be read is listed with the reason;
the folder check (`core.check`) names it.
"""

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from dataset_scripts.core.entries import NO_UTF8, Entries, image_suffixes, read_folder, shown
from dataset_scripts.core.layouts import Benchmark, ClassNames, Source


@dataclass
class ClassFolder:
    """The pictures of one class in one source.

    Attributes:
        label: class name as in the class lists.
        source: the source it belongs to.
        folder: path relative to ``data_dir``, with forward slashes.
        files: sorted names of its pictures, those of `broken` left out.
        broken: name as shown -> why the picture cannot be read.
        digest: hash of names, sizes and modification times, and of `broken`.
    """

    label: str
    source: Source
    folder: str
    files: list[str]
    broken: dict[str, str] = field(default_factory=dict)
    digest: str = ""


@dataclass
class Listing:
    """What a data set's folder holds.

    Attributes:
        data_dir: absolute path.
        roots: role of a source -> its folder relative to `data_dir`, or None where it is absent.
        passed_over: further folders that would also do for a source (the first is read).
        classes: one entry a class and source, in the order of the class list.
        unknown: (source, folder name) of folders that are no class of the list.
        broken: path as shown -> why a class folder cannot be read.
        skipped: path as shown -> why a folder or link is not read.
        loose_files: number of pictures that lie beside the class folders and belong to no class.
        hidden_files: number of files whose name begins with a dot.
        other_files: number of files that are not pictures.
    """

    data_dir: str
    roots: dict[str, str | None]
    passed_over: list[str] = field(default_factory=list)
    classes: list[ClassFolder] = field(default_factory=list)
    unknown: list[tuple[Source, str]] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    loose_files: int = 0
    hidden_files: int = 0
    other_files: int = 0

    def fingerprint(self) -> str:
        """Hash of every picture's path, size and modification time."""
        digest = hashlib.blake2b(self.data_dir.encode(), digest_size=16)
        for part in self.classes:
            digest.update(f"\0{part.folder}\0{part.label}\0{part.digest}".encode())
        digest.update(repr(sorted(self.broken.items())).encode())
        return digest.hexdigest()

    def without(self, files: Collection[str]) -> "Listing":
        """The same without the pictures whose paths, relative to `data_dir`, are in `files`."""
        classes = [replace(part, files=[f for f in part.files if f"{part.folder}/{f}" not in files]) for part in self.classes]
        return replace(self, classes=classes) if files else self

    def of(self, source: Source) -> list[ClassFolder]:
        """The class folders of one source."""
        return [part for part in self.classes if part.source == source]


def scan(data_dir: str, benchmark: Benchmark, classes: list[str]) -> Listing:
    """List the pictures of `benchmark` under `data_dir`.

    Args:
        data_dir: the folder a user names.
        benchmark: which sources to look for.
        classes: names of the class lists; their order is the order of the result.

    Raises:
        FileNotFoundError: `data_dir` does not exist or holds none of the sources; the message says what is accepted.
        ValueError: the path of `data_dir` is no UTF-8.
    """
    data_dir = os.path.abspath(data_dir)
    if shown(data_dir) != data_dir:
        raise ValueError(f"data_dir {shown(data_dir)}: {NO_UTF8}")
    found = benchmark.locate(data_dir)
    if not any(found.values()):
        raise FileNotFoundError(no_data_message(data_dir, benchmark))
    listing = Listing(data_dir, {role: paths[0] if paths else None for role, paths in found.items()})
    names = ClassNames(classes, benchmark.aliases)
    for source in benchmark.sources:
        listing.passed_over += found[source.role][1:]
        if found[source.role]:
            _scan_source(listing, source, found[source.role][0], names)
    order = {name: i for i, name in enumerate(classes)}
    roles = {source.role: i for i, source in enumerate(benchmark.sources)}
    listing.classes.sort(key=lambda part: (order[part.label], roles[part.source.role]))
    return listing


def no_data_message(data_dir: str, benchmark: Benchmark) -> str:
    """Why nothing was found, which layouts are accepted, and where the archives are to be had."""
    problem = "holds none of its folders" if os.path.isdir(data_dir) else "does not exist"
    return (
        f"{benchmark.title}: data_dir {data_dir} {problem}. Accepted, in any mixture:\n"
        f"{benchmark.describe_layouts()}\nWhere to get it: {benchmark.home}"
    )


def class_folders(data_dir: str, root: str, svg: bool = False) -> Entries:
    """What lies in a source's folder `root`; its `folders` are those of classes, `svg` is as in `Source`.

    Raises:
        PermissionError: it cannot be read; the message names it.
    """
    try:
        return read_folder(os.path.join(data_dir, root), image_suffixes(svg))
    except PermissionError as error:
        raise PermissionError(f"{os.path.join(data_dir, root)} cannot be read: you have no right to.") from error


def _scan_source(listing: Listing, source: Source, root: str, names: ClassNames) -> None:
    entries, seen = class_folders(listing.data_dir, root, source.svg), set()
    listing.loose_files += len(entries.pictures) + len(entries.broken)
    _note(listing, root, entries)
    listing.broken |= {f"{_posix(root)}/{name}": why for name, why in entries.broken_folders.items()}
    # An exact spelling comes before any other folder that means the same class.
    for folder in sorted(entries.folders, key=lambda name: (name not in names.classes, name)):
        label = names.resolve(folder)
        if label is None or label in seen:
            listing.unknown.append((source, folder))
            continue
        seen.add(label)
        _scan_class(listing, label, source, os.path.join(root, folder))


def _scan_class(listing: Listing, label: str, source: Source, folder: str) -> None:
    path = _posix(folder)
    try:
        entries = read_folder(os.path.join(listing.data_dir, folder), image_suffixes(source.svg))
    except OSError as error:
        listing.broken[path] = f"folder: {str(error.strerror).lower()}"
        return
    _note(listing, folder, entries)
    inner = sorted([*map(shown, entries.folders), *entries.broken_folders])
    listing.skipped |= {f"{path}/{name}": "folder inside a class folder" for name in inner}
    found = sorted(entries.pictures)
    digest = hashlib.blake2b(repr((found, sorted(entries.broken.items()))).encode(), digest_size=16).hexdigest()
    listing.classes.append(ClassFolder(label, source, path, [name for name, _, _ in found], entries.broken, digest))


def _note(listing: Listing, folder: str, entries: Entries) -> None:
    """Adds what is not read to the listing."""
    listing.skipped |= {f"{_posix(folder)}/{name}": why for name, why in sorted(entries.skipped.items())}
    listing.hidden_files += entries.hidden_files
    listing.other_files += entries.other_files


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")
