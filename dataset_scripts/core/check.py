"""The folder check: what was found, what was expected, what is missing, misspelt, empty or corrupt. Nothing is left out
silently.

A folder is *partial* when a class of the lists has no sketch or no photo, or when a source holds over one per cent
fewer pictures than were published (the sources themselves differ by less: Sketchy's paper counts 75,471 sketches,
the published lists 75,481). A partial folder stops the build unless ``allow_partial`` is given.
"""

import os
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool

from PIL import Image
from tqdm.auto import tqdm

from dataset_scripts.core.layouts import Benchmark, ClassNames, Source
from dataset_scripts.core.scan import Listing
from dataset_scripts.core.splits import ZeroShotSplit

TOLERATED_SHORTFALL = 0.01
SHOWN = 10  # names listed before "and N more"; missing classes are always listed in full


@dataclass
class FolderReport:
    """Outcome of the folder check; `str` gives the text that is printed.

    Attributes:
        lines: the text.
        missing: modality -> classes without a picture of it.
        misspelt: folder -> the class it most likely means.
        short: sources that are absent or hold fewer pictures than published.
        corrupt: paths, relative to ``data_dir``, of pictures that are empty or could not be decoded.
    """

    lines: list[str]
    missing: dict[str, list[str]] = field(default_factory=dict)
    misspelt: dict[str, str] = field(default_factory=dict)
    short: list[Source] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)

    @property
    def partial(self) -> bool:
        """Whether something that was published is not there."""
        return bool(self.short) or any(self.missing.values())

    def __str__(self) -> str:
        return "\n".join(self.lines)


def check_folder(
    listing: Listing, benchmark: Benchmark, config: str, split: ZeroShotSplit, duplicates: bool = False, verify: bool = False
) -> FolderReport:
    """Compare `listing` with what was published.

    Args:
        listing: what is on disk.
        benchmark: what was published.
        config: name of the config, for the text.
        split: its classes.
        duplicates: both copies of doubled photos are wanted, so both sources are needed.
        verify: decode every picture (minutes) instead of looking for empty files alone.
    """
    report = FolderReport([f"{benchmark.title} {config} in {listing.data_dir}"])
    for source in benchmark.sources:
        _check_source(report, listing, source, len(split.classes), duplicates)
    _check_classes(report, listing, split)
    _check_unknown(report, listing, benchmark, split)
    if listing.passed_over:
        report.lines.append(f"  not read, another form of the same folder is: {', '.join(listing.passed_over)}")
    if listing.other_files:
        report.lines.append(f"  {listing.other_files:,} files that are not pictures were ignored")
    report.corrupt = [f"{part.folder}/{name}" for part in listing.classes for name in part.empty]
    if verify:
        report.corrupt = find_corrupt(listing)
    if report.corrupt:
        report.lines.append(f"  corrupt or empty files ({len(report.corrupt):,}): {_some(report.corrupt)}")
    return report


def _check_source(report: FolderReport, listing: Listing, source: Source, num_classes: int, duplicates: bool) -> None:
    root, parts = listing.roots[source.role], listing.of(source)
    count = sum(len(part.files) for part in parts)
    expected = "" if source.expected is None else f" of {source.expected:,}"
    if root is None:
        text = f"not found ({' | '.join(source.candidates)}), 0{expected} files"
    else:
        text = f"{root}: {len(parts)} of {num_classes} classes, {count:,}{expected} files"
    # The originals are inside the extended photos: without duplicates they add nothing once those are there.
    contained = source.copy_of and not duplicates and listing.roots[source.copy_of]
    if source.expected and count < source.expected * (1 - TOLERATED_SHORTFALL) and not contained:
        report.short.append(source)
        text += "  <- fewer than published"
    report.lines.append(f"  {source.role:16} {text}")


def _check_classes(report: FolderReport, listing: Listing, split: ZeroShotSplit) -> None:
    for modality in ("sketch", "photo"):
        present = {part.label for part in listing.classes if part.source.modality == modality and part.files}
        report.missing[modality] = [name for name in split.classes if name not in present]
    sketchless, photoless = (set(report.missing[modality]) for modality in ("sketch", "photo"))
    groups = {
        "missing classes": sketchless & photoless,
        "classes without a sketch": sketchless - photoless,
        "classes without a photo": photoless - sketchless,
    }
    for what, names in groups.items():
        if names:
            count = len(names & set(split.unseen))
            report.lines.append(
                f"  {what} ({len(names)}; {count} of the {len(split.unseen)} unseen): {', '.join(sorted(names))}"
            )


def _check_unknown(report: FolderReport, listing: Listing, benchmark: Benchmark, split: ZeroShotSplit) -> None:
    names, strangers = ClassNames(split.classes, benchmark.aliases), []
    for source, folder in listing.unknown:
        path, label = f"{listing.roots[source.role]}/{folder}", names.resolve(folder)
        if label is not None:
            report.lines.append(f"  not read: {path}, another folder of that source is already class {label!r}; merge them")
            continue
        nearest = names.nearest(folder, report.missing[source.modality])
        if nearest is None:
            strangers.append(path)
        else:
            report.misspelt[path] = nearest
            report.lines.append(f"  misspelt? {path}: the nearest missing class is {nearest!r}; rename the folder to that")
    if strangers:
        report.lines.append(f"  not in the class lists ({len(strangers)}): {_some(strangers)}")


def require_usable(report: FolderReport, allow_partial: bool, skip_corrupt: bool) -> None:
    """Stop on a partial folder or corrupt files unless told to go on.

    Raises:
        ValueError: carries the whole report and the option to give.
    """
    if report.partial and not allow_partial:
        raise ValueError(
            f"{report}\nThe folder is not complete. allow_partial=True (--allow_partial) goes on with what is there."
        )
    if report.corrupt and not skip_corrupt:
        raise ValueError(f"{report}\nReplace these files, or leave them out with skip_corrupt=True (--skip_corrupt).")


def find_corrupt(listing: Listing, num_threads: int = 8) -> list[str]:
    """Decode every picture; return the relative paths of those that fail, in order."""
    files = [f"{part.folder}/{name}" for part in listing.classes for name in part.files]
    with ThreadPool(num_threads) as pool:  # decoders release the interpreter lock
        sound = pool.imap(lambda file: is_sound(os.path.join(listing.data_dir, file)), files, chunksize=64)
        return [file for file, ok in zip(files, tqdm(sound, total=len(files), desc="verify", unit=" files")) if not ok]


def is_sound(file) -> bool:
    """Whether a path or a file object decodes to the last pixel; `Image.verify` would let a truncated JPEG pass."""
    try:
        with Image.open(file) as image:
            image.load()
    except Exception:  # whatever a decoder raises is its verdict on the file
        return False
    return True


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
