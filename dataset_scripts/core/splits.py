"""Zero-shot splits: which classes are seen, and which of their pictures are held out.

The class lists are package data (``splits/<benchmark>_<config>_{train,test}.txt``, spelled as in the archives): the
ones of ZSE-SBIR and SAKE, and of sem-pcyc where it differs.

``validation`` is made of seen classes alone, because a model that is selected on unseen classes is no longer
zero-shot. It needs both sides: sketches to search with, and photos to search in that were not trained on.

- Sketches: SAKE published a list of held-out sketches for Sketchy 100_25 (50 a class) and TU-Berlin 220_30 (10 a
  class); they are shipped as ``splits/<benchmark>_<config>_validation.txt`` and used as they are. ZSE-SBIR's 104_21
  training list leaves out 50 a class too, other ones, which it does not name. Where no list exists the rule below
  takes as many.
- Photos: nobody published held-out photos; all of them are trained on, and SAKE searches them. A share of each seen
  class's photos is held out by the same rule (``validation_photos``, 0.1; 0 trains on all photos, as published, and
  leaves validation without photos).
- The rule orders the pictures of a class by a hash of class and file stem and takes the first. It does not depend on
  the layout, on the file type, on the spelling of the folder, or on the config; the two copies of a doubled photo
  fall on the same side. At most a fifth of a class's sketches are taken, which matters only for partial data.
"""

import hashlib
from dataclasses import dataclass, replace
from importlib import resources

from dataset_scripts.core.layouts import Benchmark
from dataset_scripts.core.scan import ClassFolder, Listing
from dataset_scripts.core.texts import read_lines

SPLITS = ("train", "validation", "test")
LARGEST_HELD_OUT_SHARE = 5  # one in five


@dataclass(frozen=True)
class ZeroShotSplit:
    """Classes of a config and its published hold-out.

    Attributes:
        seen: classes to train on.
        unseen: classes to test on; disjoint from `seen`.
        held_out: class -> stems of the sketches held out by a published list, or None where the rule decides.
    """

    seen: list[str]
    unseen: list[str]
    held_out: dict[str, set[str]] | None = None

    @property
    def classes(self) -> list[str]:
        """All classes, seen first: the order of the labels."""
        return self.seen + self.unseen


def read_split(benchmark: str, config: str) -> ZeroShotSplit:
    """Class lists and hold-out list of `config`, from the package's ``splits``.

    Raises:
        FileNotFoundError: no such lists.
        ValueError: a class is both seen and unseen.
    """
    folder = resources.files("dataset_scripts") / "splits"
    seen, unseen = (read_lines(folder / f"{benchmark}_{config}_{part}.txt") for part in ("train", "test"))
    both = sorted(set(seen) & set(unseen))
    if both:
        raise ValueError(f"{benchmark} {config}: seen and unseen at once: {', '.join(both)}")
    path = folder / f"{benchmark}_{config}_validation.txt"
    return ZeroShotSplit(seen, unseen, _by_class(read_lines(path)) if path.is_file() else None)


def _by_class(lines: list[str]) -> dict[str, set[str]]:
    """``<class>/<stem>`` lines -> class -> stems."""
    held_out: dict[str, set[str]] = {}
    for line in lines:
        label, stem = line.split("/")
        held_out.setdefault(label, set()).add(stem)
    return held_out


def stem(file: str) -> str:
    """File name without its suffix: what identifies a picture in every layout."""
    return file.rpartition(".")[0]


def first_by_hash(label: str, stems: set[str], count: int) -> set[str]:
    """The `count` stems that come first in the order of a hash of ``label/stem``."""
    return set(sorted(stems, key=lambda s: hashlib.blake2b(f"{label}/{s}".encode(), digest_size=8).digest())[:count])


def held_out_sketches(label: str, stems: set[str], split: ZeroShotSplit, count: int) -> set[str]:
    """Stems of a seen class's held-out sketches: the published list's, or by the rule `count`, at most a fifth."""
    if split.held_out is not None:
        return split.held_out.get(label, set()) & stems
    return first_by_hash(label, stems, min(count, len(stems) // LARGEST_HELD_OUT_SHARE))


def held_out_photos(label: str, stems: set[str], share: float) -> set[str]:
    """Stems of a seen class's held-out photos: `share` of them by the rule, rounded, at least one of two."""
    count = max(round(share * len(stems)), 1) if share and len(stems) > 1 else 0
    return first_by_hash(label, stems, count)


def drop_copies(parts: list[ClassFolder]) -> list[ClassFolder]:
    """Leave one copy of every photo: files of a source that is a copy go where the other source has the same class and stem."""
    have = {(p.source.role, p.label): {stem(f) for f in p.files} for p in parts}
    kept = []
    for part in parts:
        copies = have.get((part.source.copy_of, part.label), set())
        kept.append(replace(part, files=[f for f in part.files if stem(f) not in copies]) if copies else part)
    return kept


def split_rows(
    listing: Listing, benchmark: Benchmark, split: ZeroShotSplit, validation_photos: float, duplicates: bool
) -> dict[str, list[ClassFolder]]:
    """Assign every picture to a split.

    Args:
        listing: what is on disk.
        benchmark: gives the number of held-out sketches.
        split: classes and hold-out list.
        validation_photos: share of each seen class's photos that is held out.
        duplicates: keep both copies of doubly listed photos.

    Returns:
        Split -> class folders, each with the files of that split alone, in the order of the labels; empty ones left out.
    """
    parts = listing.classes if duplicates else drop_copies(listing.classes)
    stems: dict[tuple[str, str], set[str]] = {}
    for part in parts:
        stems.setdefault((part.label, part.source.modality), set()).update(stem(f) for f in part.files)
    seen = set(split.seen)
    held = {}
    for (label, modality), names in stems.items():
        if label in seen and modality == "sketch":
            held[label, modality] = held_out_sketches(label, names, split, benchmark.validation_sketches)
        elif label in seen:
            held[label, modality] = held_out_photos(label, names, validation_photos)
    rows: dict[str, list[ClassFolder]] = {name: [] for name in SPLITS}
    for part in parts:
        out = held.get((part.label, part.source.modality))
        if out is None:
            rows["test"].append(part)
        else:
            rows["train"].append(replace(part, files=[f for f in part.files if stem(f) not in out]))
            rows["validation"].append(replace(part, files=[f for f in part.files if stem(f) in out]))
    return {name: [part for part in parts if part.files] for name, parts in rows.items()}
