"""How a gallery comes to hold what is in a folder: what is new is encoded, what moved is found by its hash, what went is
removed."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from caan.search.encoding import CHANGED, Encoded, PhotoEncoder
from caan.search.engine import UNREADABLE, Content, Engine, Folder, Photo
from caan.search.photos import folder_path, full_path, gone, hash_file, scan_folder
from pipeline_caan import show_path

COMMIT = 2.0  # seconds of work that a kill loses at most, beside the batches that are being read
HASHED = 64  # files that are hashed before the gallery is asked which it knows
AGAIN = -1  # mtime of a photo that could not be opened, which a change of its rights does not change
THREADS = 4  # that hash: a disk or a network answers several at once


@dataclass
class Plan:
    """What differs between a folder and what a gallery holds of it.

    new and changed: files to read; gone: photos whose files are not there; unchanged: how many are. left_out: entries of the
    folder that are no photos, by reason.
    """

    new: list[Photo] = field(default_factory=list)
    changed: list[Photo] = field(default_factory=list)
    gone: list[Photo] = field(default_factory=list)
    unchanged: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass
class Changes:
    """What was done for a folder: files that were encoded, that the gallery knew by their bytes (moved, or copies), that could
    not be read with why, that were removed, and that were as before; entries that are no photos, by reason; seconds."""

    folder: str = ""
    encoded: int = 0
    known: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    removed: int = 0
    unchanged: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @classmethod
    def planned(cls, folder: str, plan: Plan) -> "Changes":
        """What a plan would come to, where no file only moved and each can be read."""
        return cls(
            folder, len(plan.new) + len(plan.changed), removed=len(plan.gone), unchanged=plan.unchanged, left_out=plan.left_out
        )


def plan_refresh(engine: Engine, folder: Folder, exclude: Sequence[str] = (), retry: bool = False) -> Plan:
    """Compares a folder with a gallery, by path, size and time.

    retry: files that could not be read count as changed.

    Raises:
        ValueError: the folder is not there.
    """
    scan = scan_folder(folder, exclude)
    before = {photo.path: photo for photo in engine.photos(folder)}
    plan = Plan(left_out=scan.left_out)
    for photo in scan.photos:
        known = before.pop(photo.path, None)
        if known is None:
            plan.new.append(photo)
        elif (known.size, known.mtime_ns) != (photo.size, photo.mtime_ns) or (retry and known.content == UNREADABLE):
            plan.changed.append(photo)
        else:
            plan.unchanged += 1
    plan.gone = list(gone(before.values()))
    plan.unchanged += len(before) - len(plan.gone)
    return plan


def plan_all(
    engine: Engine, folders: Sequence[Folder], exclude: Sequence[str], retry: bool, empty: bool
) -> tuple[dict[Folder, Plan], list[str]]:
    """The plans of folders, and what is wrong with those that have none: not there, or, unless `empty`, without any photo."""
    plans, problems = dict[Folder, Plan](), list[str]()
    for folder in folders:
        try:
            plan = plan_refresh(engine, folder, exclude, retry)
            if not empty:
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


class Refresh:
    """Brings a gallery up to a plan. Work is committed every `COMMIT` seconds; what was interrupted goes on with the next plan.

    Args:
        on_progress: called with the number of files that were finished since its last call.
    """

    def __init__(self, engine: Engine, encoder: PhotoEncoder, on_progress: Callable[[int], object] = lambda count: None):
        self.engine, self.encoder, self.on_progress = engine, encoder, on_progress
        self.changes = Changes()
        self._photos: list[Photo] = []  # to be put, with `_contents`
        self._contents: list[Content] = []
        self._waiting: dict[bytes, list[Photo]] = {}  # copies of what is being encoded
        self._encoded: set[bytes] = set()
        self._committed = time.monotonic()

    def run(self, plan: Plan, folder: str = "") -> Changes:
        """Adds what the plan of a folder says; what is gone stays. Whatever stops it, what was encoded is kept."""
        began = time.monotonic()
        try:
            for batch in self.encoder.encode(self._batches([*plan.new, *plan.changed])):
                for encoded in batch:
                    self._take(encoded)
                self._commit_in_time()
        finally:
            self._commit()
        self.changes.folder, self.changes.unchanged, self.changes.left_out = folder, plan.unchanged, plan.left_out
        self.changes.seconds = time.monotonic() - began
        return self.changes

    def _batches(self, photos: Sequence[Photo]) -> Iterator[list[Photo]]:
        """Photos to encode, in batches; what the gallery knows by its bytes is put without."""
        batch: list[Photo] = []
        for part in in_parts(photos, HASHED):
            hashed = self._hash(part)
            known = self.engine.known({photo.content for photo in hashed}) | self._encoded
            for photo in hashed:
                if photo.content in known:
                    self.changes.known += 1
                    self._finish(photo)
                elif photo.content in self._waiting:
                    self._waiting[photo.content].append(photo)
                else:
                    self._waiting[photo.content] = []
                    batch.append(photo)
                if len(batch) == self.encoder.batch_size:
                    yield batch
                    batch = []
            self._commit_in_time()
        if batch:
            yield batch

    def _hash(self, photos: Sequence[Photo]) -> list[Photo]:
        """The photos with the hashes of their bytes; those that cannot be opened are done."""
        with ThreadPoolExecutor(THREADS) as pool:
            results = list(pool.map(hash_or_problem, photos))
        for photo, result in zip(photos, results):
            if isinstance(result, str):
                self._fail(photo, result, again=True)
        return [photo._replace(content=result) for photo, result in zip(photos, results) if isinstance(result, bytes)]

    def _take(self, encoded: Encoded) -> None:
        """An encoded photo, and its copies among the new files."""
        copies = self._waiting.pop(encoded.photo.content)
        if encoded.vector is None:
            for photo in (encoded.photo, *copies):
                self._fail(photo, encoded.problem, encoded.problem == CHANGED)
            return
        self._contents.append(Content(encoded.photo.content, encoded.vector, encoded.thumbnail))
        self._encoded.add(encoded.photo.content)
        self.changes.encoded += 1
        self.changes.known += len(copies)
        for photo in (encoded.photo, *copies):
            self._finish(photo)

    def _fail(self, photo: Photo, problem: str, again: bool = False) -> None:
        """Notes a photo that could not be read; again: the next refresh tries it, changed or not."""
        self.changes.problems[full_path(photo)] = problem
        self._finish(photo._replace(content=UNREADABLE, problem=problem, mtime_ns=AGAIN if again else photo.mtime_ns))

    def _finish(self, photo: Photo) -> None:
        self._photos.append(photo)
        self.on_progress(1)

    def _commit_in_time(self) -> None:
        if time.monotonic() - self._committed > COMMIT:
            self._commit()

    def _commit(self) -> None:
        """What is done goes to disk. A content that another process removed meanwhile is found by the next refresh."""
        if self._photos:
            self.engine.put(self._photos, self._contents)
        self._photos, self._contents = [], []
        self._committed = time.monotonic()


def hash_or_problem(photo: Photo) -> bytes | str:
    """The hash of a file's bytes, or why it cannot be read."""
    try:
        return hash_file(full_path(photo))
    except OSError as error:
        return f"Cannot read the image {show_path(full_path(photo))}: {error.strerror or error}."


def in_parts(items: Sequence, size: int) -> Iterator[list]:
    """Lists of at most `size` items, in order."""
    remaining = iter(items)
    while part := list(itertools.islice(remaining, size)):
        yield part
