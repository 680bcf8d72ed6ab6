"""One pass over a data set's folders: which pictures are there, and a fingerprint of them.

`os.scandir` gives name, size and time of a file in one system call each, so 150,000 files take about a second and
nothing is opened. The fingerprint (names, sizes, modification times) goes into the cache key of the builder: a file
that was added, removed or changed gives a new cache, never stale rows.
"""

import hashlib
import os
from dataclasses import dataclass, field

from dataset_scripts.core.layouts import Benchmark, ClassNames, Source

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


@dataclass
class ClassFolder:
    """The pictures of one class in one source.

    Attributes:
        label: class name as in the class lists.
        source: the source it belongs to.
        folder: path relative to ``data_dir``, with forward slashes.
        files: sorted names of its pictures.
        empty: those of zero bytes.
        digest: hash of names, sizes and modification times.
    """

    label: str
    source: Source
    folder: str
    files: list[str]
    empty: list[str] = field(default_factory=list)
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
        other_files: number of files that are not pictures.
    """

    data_dir: str
    roots: dict[str, str | None]
    passed_over: list[str] = field(default_factory=list)
    classes: list[ClassFolder] = field(default_factory=list)
    unknown: list[tuple[Source, str]] = field(default_factory=list)
    other_files: int = 0

    def fingerprint(self) -> str:
        """Hash of every picture's path, size and modification time."""
        digest = hashlib.blake2b(self.data_dir.encode(), digest_size=16)
        for part in self.classes:
            digest.update(f"\0{part.folder}\0{part.label}\0{part.digest}".encode())
        return digest.hexdigest()

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
    """
    data_dir = os.path.abspath(data_dir)
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


def _scan_source(listing: Listing, source: Source, root: str, names: ClassNames) -> None:
    seen = set()
    with os.scandir(os.path.join(listing.data_dir, root)) as entries:
        # An exact spelling comes before any other folder that means the same class.
        folders = sorted((e.name for e in entries if e.is_dir()), key=lambda name: (name not in names.classes, name))
    for folder in folders:
        label = names.resolve(folder)
        if label is None or label in seen:
            listing.unknown.append((source, folder))
            continue
        seen.add(label)
        part, others = _scan_class(listing.data_dir, label, source, os.path.join(root, folder))
        listing.classes.append(part)
        listing.other_files += others


def _scan_class(data_dir: str, label: str, source: Source, folder: str) -> tuple[ClassFolder, int]:
    found, others = [], 0
    with os.scandir(os.path.join(data_dir, folder)) as entries:
        for entry in entries:
            if not entry.name.lower().endswith(IMAGE_SUFFIXES) or entry.name.startswith("."):
                others += 1
                continue
            status = entry.stat()
            found.append((entry.name, status.st_size, status.st_mtime_ns))
    found.sort()
    digest = hashlib.blake2b(repr(found).encode(), digest_size=16).hexdigest()
    files, empty = [name for name, _, _ in found], [name for name, size, _ in found if not size]
    return ClassFolder(label, source, folder.replace(os.sep, "/"), files, empty, digest), others
