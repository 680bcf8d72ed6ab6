"""How a gallery comes to hold what a plan (`plan.py`) says is new in a folder: it is encoded, and what moved found by its
hash."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tqdm.auto import tqdm

from caan.search.encoder import Encoder
from caan.search.encoding import CHANGED, Encoded, PhotoEncoder
from caan.search.engine import UNREADABLE, Content, Engine, Folder, Photo
from caan.search.photos import folder_path, full_path, hash_all
from caan.search.plan import Plan, split_gone
from pipeline_caan import show_path

COMMIT = 2.0  # seconds of work that a kill loses at most, beside the batches that are being read
HASHED = 64  # files that are hashed before the gallery is asked which it knows
AGAIN = -1  # mtime of a photo that could not be opened, which a change of its rights does not change


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
        results = list(hash_all(photos))
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


def add_new(
    engine: Engine, model: Encoder, plans: Mapping[Folder, Plan], batch_size: int, num_workers: int, progress: bool
) -> list[Changes]:
    """Adds what the plans of folders say is new or changed. Fewer processes where there are few photos: each takes a second to
    start."""
    done = []
    for place, plan in plans.items():
        total, name = len(plan.new) + len(plan.changed), show_path(folder_path(place))
        workers = min(num_workers, total // (2 * batch_size))
        with tqdm(total=total, desc=name, unit="photo", disable=not (progress and total)) as bar:
            encoder = PhotoEncoder(model.model, model.processor, batch_size, workers)
            done.append(Refresh(engine, encoder, bar.update).run(plan, name))
    return done


def drop_gone(engine: Engine, plans: Sequence[Plan], done: Sequence[Changes], yes: bool, dry_run: bool) -> list[str]:
    """Removes what has gone, when all is added: what moved between folders was found by its hash. Returns why photos stay that
    have gone too (`split_gone`)."""
    kept, problems = (set[Photo](), list[str]()) if yes else split_gone(engine, plans, dry_run)
    for plan, changes in zip(plans, done):
        leaving = [photo for photo in plan.gone if photo not in kept]
        changes.removed = len(leaving) if dry_run else engine.drop(leaving)
    if not dry_run:
        engine.sweep()
    return problems


def in_parts(items: Sequence, size: int) -> Iterator[list]:
    """Lists of at most `size` items, in order."""
    remaining = iter(items)
    while part := list(itertools.islice(remaining, size)):
        yield part
