"""What differs between a folder and what a gallery holds of it, and which photos are not taken out without a yes."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tqdm.auto import tqdm

from caan.search.engine import UNREADABLE, Engine, Folder, Photo
from caan.search.photos import folder_path, full_path, gone, hash_all, scan_folder
from pipeline_caan import show_path

# Photos of folders without any photo, from which on a yes is asked for: a tenth of the root's, within these bounds.
FEW, MANY, SHARE = 5, 100, 0.1
SHOWN = 3  # folders that a question names


@dataclass
class Plan:
    """What differs between a folder and what a gallery holds of it.

    new and changed: files to read; gone: photos whose files are not there; unchanged: how many are. left_out: entries of the
    folder that are no photos, by reason. holding: folders of the root, as paths below it, that photos lie in or below.
    """

    new: list[Photo] = field(default_factory=list)
    changed: list[Photo] = field(default_factory=list)
    gone: list[Photo] = field(default_factory=list)
    unchanged: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    holding: set[bytes] = field(default_factory=set)


@dataclass(frozen=True)
class Comparison:
    """How a folder is compared: exclude: patterns; retry: files that could not be read count as changed; check: so do those
    whose bytes are others, though size and time are the same, for which every file is read; progress: with a bar."""

    exclude: Sequence[str] = ()
    retry: bool = False
    check: bool = False
    progress: bool = False

    def same(self, known: Photo, now: Photo) -> bool:
        """Whether a file looks as it did when it was read."""
        again = known.content == UNREADABLE and (self.retry or self.check)
        return (known.size, known.mtime_ns) == (now.size, now.mtime_ns) and not again


def plan_refresh(engine: Engine, folder: Folder, how: Comparison) -> Plan:
    """Compares a folder with a gallery, by path, size and time.

    Raises:
        ValueError: the folder is not there.
    """
    scan = scan_folder(folder, how.exclude)
    before = {photo.path: photo for photo in engine.photos(folder)}
    plan = Plan(left_out=scan.left_out, holding=holding_folders(scan.photos))
    same = []
    for photo in scan.photos:
        known = before.pop(photo.path, None)
        if known is None:
            plan.new.append(photo)
        elif how.same(known, photo):
            same.append(known)
        else:
            plan.changed.append(photo)
    others = list(other_bytes(same, folder, how.progress)) if how.check else []
    plan.changed += others
    plan.gone = list(gone(before.values()))
    plan.unchanged = len(same) - len(others) + len(before) - len(plan.gone)
    return plan


def other_bytes(photos: Sequence[Photo], folder: Folder, progress: bool) -> Iterator[Photo]:
    """Those of photos whose files hold other bytes than those that the gallery knows, or cannot be read."""
    name = f"checking {show_path(folder_path(folder))}"
    hashes = tqdm(hash_all(photos), name, len(photos), unit="photo", disable=not (progress and photos))
    return (photo for photo, found in zip(photos, hashes) if found != photo.content)


def plan_all(engine: Engine, folders: Sequence[Folder], how: Comparison, yes: bool) -> tuple[dict[Folder, Plan], list[str]]:
    """The plans of folders, and what is wrong with those that have none: not there, or, unless `yes`, without any photo."""
    plans, problems = dict[Folder, Plan](), list[str]()
    for folder in folders:
        try:
            plan = plan_refresh(engine, folder, how)
            if not yes:
                require_not_empty(plan, show_path(folder_path(folder)))
            plans[folder] = plan
        except ValueError as error:
            problems.append(str(error))
    return plans, problems


def require_not_empty(plan: Plan, folder: str) -> None:
    """Raises ValueError where a folder without any photo would empty the gallery of what it has of it: mostly a disk that is
    not mounted."""
    if plan.gone and not (plan.new or plan.changed or plan.unchanged):
        raise ValueError(
            f"{folder} holds no photo any more, and the gallery has {len(plan.gone)} from there: is a disk not connected? "
            "Nothing was removed; --yes removes them."
        )


def split_gone(engine: Engine, plans: Sequence[Plan], dry_run: bool = False) -> tuple[set[Photo], list[str]]:
    """Photos that are not removed without a yes, since their disk may be away, and why, a line a folder.

    They are those of folders below a root that are empty now, however few they were: so is the folder that a disk is mounted
    on. And those of folders that have gone, or hold other things alone, where they are many together. Photos that only moved
    are in none of them; after a dry run those are known by size and time.
    """
    kept, lines = set[Photo](), list[str]()
    moved = likely_moved(plans) if dry_run else moved_in(engine, plans)
    for plan in plans:
        empty, bare = defaultdict[str, list[Photo]](list), defaultdict[str, list[Photo]](list)
        for photo in plan.gone:
            place = bare_folder(photo, plan.holding)
            if place and not moved(photo) and not os.path.lexists(full_path(photo)):  # else it is excluded now
                (empty if is_empty(place) else bare)[place].append(photo)
        held = plan.unchanged + len(plan.changed) + len(plan.gone)
        if sum(map(len, bare.values())) < min(max(FEW, SHARE * held), MANY):
            bare.clear()
        asked = sorted([*empty.items(), *bare.items()], key=lambda item: -len(item[1]))
        kept.update(photo for _, photos in asked for photo in photos)
        lines += [question(place, len(photos)) for place, photos in asked[:SHOWN]]
        lines += [f"... and {len(asked) - SHOWN} more folders"] if len(asked) > SHOWN else []
    return kept, lines


def moved_in(engine: Engine, plans: Sequence[Plan]) -> Callable[[Photo], bool]:
    """Whether a photo that has gone is in the gallery at another place too, or was no picture."""
    gone = {(photo.root, photo.path) for plan in plans for photo in plan.gone}
    files = engine.files(list({photo.content for plan in plans for photo in plan.gone if photo.content}))
    there = {content for content, photos in files.items() if any((photo.root, photo.path) not in gone for photo in photos)}
    return lambda photo: not photo.content or photo.content in there


def likely_moved(plans: Sequence[Plan]) -> Callable[[Photo], bool]:
    """Whether a new file has the size and time of a photo, which a move keeps."""
    new = {(photo.size, photo.mtime_ns) for plan in plans for photo in plan.new}
    return lambda photo: not photo.content or (photo.size, photo.mtime_ns) in new


def question(place: str, count: int) -> str:
    """Why photos of a folder stay."""
    state = "is empty" if is_empty(place) else "holds no photo any more" if os.path.isdir(place) else "has gone"
    return (
        f"{show_path(place)} {state}, and the gallery has {count:,} photos from there: is a disk not connected? They stay; "
        "--yes removes them."
    )


def bare_folder(photo: Photo, holding: set[bytes]) -> str | None:
    """The uppermost folder above a photo, below its root, that holds no photo now; None where each holds one."""
    for above in reversed(folders_above(photo.path)):
        if above not in holding:
            return folder_path(Folder(photo.root, above))
    return None


def folders_above(path: bytes) -> list[bytes]:
    """The folders between a path and its root, the nearest first."""
    found = []
    while path := path.rpartition(b"/")[0]:
        found.append(path)
    return found


def holding_folders(photos: Iterable[Photo]) -> set[bytes]:
    """The folders that photos lie in or below, as paths below their root."""
    found = set[bytes]()
    for parent in {photo.path.rpartition(b"/")[0] for photo in photos}:
        found.update([parent, *folders_above(parent)])
    return found


def is_empty(place: str) -> bool:
    """Whether a folder is there, with nothing in it."""
    try:
        with os.scandir(place) as entries:
            return next(entries, None) is None
    except OSError:
        return False
