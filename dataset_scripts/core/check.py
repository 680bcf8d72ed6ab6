"""The folder check: what was found, what was expected, what is missing, misspelt, empty or corrupt. Nothing is left out
silently.

A folder is *partial* when a class of the lists has no sketch or no photo, or when a source holds over one per cent
fewer pictures than were published (the sources themselves differ by less: Sketchy's paper counts 75,471 sketches,
the published lists 75,481). A partial folder stops the build unless ``allow_partial`` is given.
"""

import os
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool

from tqdm.auto import tqdm

from dataset_scripts.core.faults import fault_of
from dataset_scripts.core.layouts import Benchmark, ClassNames, Pairing, Source
from dataset_scripts.core.pairs import Pairs
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
        corrupt: path, relative to ``data_dir`` -> why: empty, unreadable, or with `verify` not decodable or a blank sketch.
    """

    lines: list[str]
    missing: dict[str, list[str]] = field(default_factory=dict)
    misspelt: dict[str, str] = field(default_factory=dict)
    short: list[Source] = field(default_factory=list)
    corrupt: dict[str, str] = field(default_factory=dict)

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
        verify: decode every picture (minutes) instead of looking at names and sizes alone.
    """
    report = FolderReport([f"{benchmark.title} {config} in {listing.data_dir}"])
    report.corrupt = find_corrupt(listing, verify)
    sound = listing.without(report.corrupt)
    for source in benchmark.sources:
        _check_source(report, sound, source, len(split.classes), duplicates)
    _check_classes(report, sound, split)
    _check_unknown(report, listing, benchmark, split)
    _check_pairs(report, sound, benchmark)
    _check_ignored(report, listing)
    if report.corrupt:
        named = [f"{path} ({why})" for path, why in report.corrupt.items()]
        report.lines.append(f"  corrupt or unreadable ({len(named):,}): {_some(named)}")
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


def _check_pairs(report: FolderReport, listing: Listing, benchmark: Benchmark) -> None:
    alone = Pairs(listing, benchmark.pairing).without_photo(listing) if benchmark.pairing is Pairing.ALWAYS else []
    if alone:
        report.lines.append(f"  sketches whose photo is not there ({len(alone):,}): {_some(alone)}")


def _check_ignored(report: FolderReport, listing: Listing) -> None:
    if listing.passed_over:
        report.lines.append(f"  not read, another form of the same folder is: {', '.join(listing.passed_over)}")
    if listing.skipped:
        named = [f"{path} ({why})" for path, why in listing.skipped.items()]
        report.lines.append(f"  not read ({len(named):,}): {_some(named)}")
    counts = {
        "pictures outside the class folders": listing.loose_files,
        "hidden files": listing.hidden_files,
        "files that are not pictures": listing.other_files,
    }
    ignored = [f"{count:,} {what}" for what, count in counts.items() if count]
    if ignored:
        report.lines.append(f"  ignored: {', '.join(ignored)}")


def require_usable(report: FolderReport, allow_partial: bool, skip_corrupt: bool) -> None:
    """Stop on a partial folder or corrupt files unless told to go on.

    Raises:
        ValueError: carries the whole report and the options to give.
    """
    cures = []
    if report.partial and not allow_partial:
        cures.append("The folder is not complete. allow_partial=True (--allow_partial) goes on with what is there.")
    if report.corrupt and not skip_corrupt:
        cures.append("Replace the corrupt files, or leave them out with skip_corrupt=True (--skip_corrupt).")
    if cures:
        raise ValueError("\n".join([str(report), *cures]))


def find_corrupt(listing: Listing, verify: bool, num_threads: int = 8) -> dict[str, str]:
    """Path, relative to ``data_dir`` -> what is wrong, in the order of the classes; `verify` decodes every picture."""
    files = [(f"{part.folder}/{name}", part.source.modality) for part in listing.classes for name in part.files]
    undecoded = {}
    if verify:
        with ThreadPool(num_threads) as pool:  # decoders release the interpreter lock
            faults = pool.imap(lambda file: fault_of(os.path.join(listing.data_dir, file[0]), file[1]), files, chunksize=64)
            progress = tqdm(faults, total=len(files), desc="verify", unit=" files")
            undecoded = {path: fault for (path, _), fault in zip(files, progress) if fault}
    unread = {f"{part.folder}/{name}": why for part in listing.classes for name, why in part.broken.items()}
    order = {part.folder: i for i, part in enumerate(listing.classes)}
    parts = {**unread, **undecoded}
    return listing.broken | {path: parts[path] for path in sorted(parts, key=lambda p: (order[p.rpartition("/")[0]], p))}


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
