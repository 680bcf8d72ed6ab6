"""The gallery in a folder: SQLite is the only truth; what is searched is a matrix that is made from it (`live.py`).

Write-ahead log: readers go on beside a writer. `begin immediate`: writers take turns. A process that is killed loses no more
than the call that it was in.
"""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from caan.search.engine import Content, Engine, Folder, Photo, Size
from caan.search.live import CODES, LiveRows
from caan.search.live import FILE as MATRIX
from caan.search.sqlite import FILE, TOKENS, checked, connect, damage, file_bytes, require_gallery, unpack, within

PAGE = 20_000  # rows that are read at once
PUT = (
    "insert into photos (root, path, size, mtime_ns, content, problem) values (?, ?, ?, ?, ?, ?) on conflict (root, path) do "
    "update set size = excluded.size, mtime_ns = excluded.mtime_ns, content = excluded.content, problem = excluded.problem"
)
OWN = [FILE, *(FILE + end for end in ("-wal", "-shm", "-journal"))]  # files of a gallery, and of its unfinished ones
OWN += [form.format(name) for name in (MATRIX, CODES) for form in ("{}", ".{}.tmp", ".{}.lock")]
PARAMETERS = 500  # of one statement; SQLite takes 999 or more


class EmbeddedEngine(Engine):
    """A gallery in a folder of this machine, which is made where it is missing.

    Args:
        folder: where its files are. create: make it where there is none.

    Raises:
        ValueError: the folder holds something else, a damaged gallery or one of a later format, or there is none. Nothing in it
            is changed.
    """

    def __init__(self, folder: Path, create: bool = True):
        self.folder, self.uri = folder, str(folder)
        require_gallery(folder, create)
        self._lock = threading.RLock()  # the page answers in several threads
        self._database = connect(folder / FILE)
        self._live = LiveRows(folder, self._rows, self._ids, self._generation)
        self._last_folder: tuple[int, Folder, np.ndarray] | None = None  # generation, and what `_contents_in` found of it

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, checked(self.folder):
            yield self._database

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Several reads of one state."""
        with self._reading() as database:
            database.execute("begin")
            try:
                yield database
            finally:
                database.execute("commit")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, from here on the only one; undone on any error."""
        with self._lock, checked(self.folder):
            self._database.execute("begin immediate")
            try:
                yield self._database
                self._database.execute("update counters set value = value + 1 where name = 'generation'")
                self._database.execute("commit")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("rollback")
                raise

    def settings(self) -> dict[str, str]:
        with self._reading() as database:
            return dict(database.execute("select name, value from settings"))

    def set_settings(self, settings: dict[str, str]) -> None:
        with self._writing() as database:
            database.executemany("insert or replace into settings values (?, ?)", settings.items())

    def roots(self) -> list[bytes]:
        with self._reading() as database:
            return [root for (root,) in database.execute("select path from roots order by id")]

    def add_root(self, root: bytes) -> None:
        with self._writing() as database:
            database.execute("insert or ignore into roots (path) values (?)", (root,))

    def move_root(self, old: bytes, new: bytes) -> None:
        with self._writing() as database:
            if database.execute("select 1 from roots where path = ?", (new,)).fetchone():
                raise ValueError(f"{new.decode(errors='backslashreplace')} is a root of the gallery already.")
            if not database.execute("update roots set path = ? where path = ?", (new, old)).rowcount:
                raise ValueError(f"{old.decode(errors='backslashreplace')} is no root of the gallery.")

    def remove_root(self, root: bytes) -> None:
        with self._writing() as database:
            database.execute("delete from photos where root = (select id from roots where path = ?)", (root,))
            database.execute("delete from roots where path = ?", (root,))

    def photos(self, folder: Folder | None = None) -> Iterator[Photo]:
        """By number, or within a folder by path: each page goes on where an index has the next row."""
        where, values = within(folder)
        by, tables = ("photos.id", "photos cross join roots") if folder is None else ("photos.path", "roots cross join photos")
        query = (
            f"select {by}, roots.path, photos.path, size, mtime_ns, hash, problem from {tables} on roots.id = root "
            f"left join contents on contents.id = content where {by} > ? and {where} order by {by} limit {PAGE}"
        )
        last = 0 if folder is None else b""
        while True:
            with self._reading() as database:
                rows = database.execute(query, (last, *values)).fetchall()
            for _, root, path, size, mtime_ns, content, problem in rows:
                yield Photo(root, path, size, mtime_ns, content or b"", problem)
            if len(rows) < PAGE:
                return
            last = rows[-1][0]

    def known(self, hashes: Collection[bytes]) -> set[bytes]:
        return set(self._numbers(hashes))

    def put(self, photos: Sequence[Photo], contents: Sequence[Content] = ()) -> list[Photo]:
        with self._writing() as database:
            self._add(database, contents)
            roots = dict(database.execute("select path, id from roots"))
            numbers = self._numbers({photo.content for photo in photos if photo.content})
            left = [photo for photo in photos if photo.root not in roots or (photo.content and photo.content not in numbers)]
            database.executemany(
                PUT,
                [
                    (roots[photo.root], photo.path, photo.size, photo.mtime_ns, numbers.get(photo.content), photo.problem)
                    for photo in photos
                    if photo.root in roots and (not photo.content or photo.content in numbers)
                ],
            )
        return left

    @staticmethod
    def _add(database: sqlite3.Connection, contents: Sequence[Content]) -> None:
        last = database.execute("select coalesce(max(id), 0) from contents").fetchone()[0]
        for number, content in enumerate(contents, max(last + 1, time.time_ns())):
            vector = np.ascontiguousarray(content.vector, dtype="<f2").tobytes()
            added = database.execute("insert or ignore into contents values (?, ?, ?)", (number, content.hash, vector))
            if added.rowcount:
                database.execute("insert into thumbnails values (?, ?)", (number, content.thumbnail))

    def drop(self, photos: Iterable[Photo]) -> int:
        with self._writing() as database:
            statement = "delete from photos where path = ? and root = (select id from roots where path = ?)"
            return sum(database.execute(statement, (photo.path, photo.root)).rowcount for photo in photos)

    def sweep(self) -> int:
        with self._writing() as database:
            statement = "delete from contents where id not in (select content from photos where content is not null)"
            return database.execute(statement).rowcount

    def nearest(self, query: np.ndarray, count: int, folder: Folder | None = None) -> list[tuple[bytes, float]]:
        with self._snapshot() as database:
            allowed = None if folder is None else self._contents_in(folder)
            scores, ids = self._live.search(np.asarray(query, dtype=np.float32), count, allowed)
            hashes = {number: self._hash(database, number) for number in ids}
        return [(hashes[number], score) for number, score in zip(ids, scores)]

    def prepare(self) -> None:
        with self._snapshot():
            self._live.prepare()

    @staticmethod
    def _hash(database: sqlite3.Connection, number: int) -> bytes:
        return database.execute("select hash from contents where id = ?", (number,)).fetchone()[0]

    def _contents_in(self, folder: Folder) -> np.ndarray:
        """Numbers of the contents with a photo in a folder, ascending; kept, since people search on where they are."""
        generation = self._generation()
        if self._last_folder is None or self._last_folder[:2] != (generation, folder):
            where, values = within(folder)
            query = f"select content from photos join roots on roots.id = root where content is not null and {where}"
            rows = self._database.execute(query, values)
            self._last_folder = generation, folder, np.unique(np.fromiter((number for (number,) in rows), dtype=np.int64))
        return self._last_folder[2]

    def files(self, hashes: Sequence[bytes], folder: Folder | None = None) -> dict[bytes, list[Photo]]:
        found: dict[bytes, list[Photo]] = {content: [] for content in hashes}
        where, values = within(folder)
        query = (
            "select roots.path, photos.path, size, mtime_ns, hash, problem from contents "  # cross: in this order
            f"cross join photos on contents.id = content cross join roots on roots.id = root where hash = ? and {where} "
            "order by root, photos.path"
        )
        with self._reading() as database:
            for content in found:
                found[content] = [Photo(*row) for row in database.execute(query, (content, *values))]
        return found

    def vectors(self, hashes: Sequence[bytes]) -> np.ndarray:
        with self._reading() as database:
            query = "select vector from contents where hash = ?"
            rows = [database.execute(query, (content,)).fetchone() for content in hashes]
        width = max((len(row[0]) for row in rows if row), default=0)
        return unpack([row[0] if row else bytes(width) for row in rows])

    def count(self) -> int:
        with self._snapshot():
            return self._live.count()

    def sample(self, count: int) -> np.ndarray:
        with self._snapshot():
            return self._live.sample(count)

    def thumbnail(self, content: bytes) -> bytes | None:
        with self._reading() as database:
            query = "select jpeg from thumbnails join contents on contents.id = content where hash = ?"
            row = database.execute(query, (content,)).fetchone()
        return row[0] if row else None

    def keep_tokens(self, tokens: Mapping[bytes, bytes]) -> None:
        with self._writing() as database:
            database.execute(TOKENS)
            rows = [(number, tokens[content]) for content, number in self._numbers(tokens).items()]
            database.executemany("insert or replace into tokens values (?, ?)", rows)

    def tokens(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        query = "select packed from contents left join tokens on content = id where hash = ?"
        with self._snapshot() as database:
            if not database.execute("select 1 from sqlite_master where name = 'tokens'").fetchone():
                return super().tokens(hashes)
            rows = [database.execute(query, (content,)).fetchone() for content in hashes]
        return [row[0] if row else None for row in rows]

    def size(self) -> Size:
        with self._reading() as database:
            one = lambda query: database.execute(query).fetchone()[0]  # noqa: E731
            free = one("pragma page_size") * one("pragma freelist_count")
            photos, unreadable = one("select count(*) from photos"), one("select count(*) from photos where content is null")
            contents = one("select count(*) from contents")
            width = one("select coalesce((select length(vector) / 2 from contents limit 1), 0)")
        total = sum(map(file_bytes, self.folder.iterdir()))
        return Size(photos - unreadable, contents, unreadable, width, total - free, total)

    def verify(self) -> list[str]:
        with self._reading() as database:
            return damage(database) or self._live.verify()

    def remove(self) -> None:
        """Deletes the gallery's own files, and the folder where nothing else is in it."""
        self.close()
        for name in OWN:
            (self.folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other files, or a link
            self.folder.rmdir()

    def close(self) -> None:
        with self._lock:
            self._live.close()
            self._database.close()

    def _numbers(self, hashes: Collection[bytes]) -> dict[bytes, int]:
        """The number of each content that is known."""
        found: dict[bytes, int] = {}
        waiting = list(hashes)
        with self._reading() as database:
            for start in range(0, len(waiting), PARAMETERS):
                part = waiting[start : start + PARAMETERS]
                marks = ", ".join("?" * len(part))
                found.update(database.execute(f"select hash, id from contents where hash in ({marks})", part))
        return found

    def _generation(self) -> int:
        return self._database.execute("select value from counters where name = 'generation'").fetchone()[0]

    def _ids(self) -> np.ndarray:
        """Numbers of all contents, ascending; without `order by` SQLite reads the index of hashes and no vector."""
        cursor = self._database.execute("select id from contents")
        return np.sort(np.fromiter((number for (number,) in cursor), dtype=np.int64))

    def _rows(self, ids: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers (n,), ascending, and vectors (n, width) float16 of some contents, or of all, in parts."""
        after, left = 0, ids
        while left is None or len(left):
            if left is None:
                query, values = f"id > ? order by id limit {PAGE}", [after]
            else:
                query, values = f"id in ({', '.join('?' * len(left[:PARAMETERS]))}) order by id", left[:PARAMETERS].tolist()
                left = left[PARAMETERS:]
            rows = self._database.execute(f"select id, vector from contents where {query}", values).fetchall()
            if rows:
                vectors = np.frombuffer(b"".join(vector for _, vector in rows), dtype="<f2").reshape(len(rows), -1)
                yield np.array([number for number, _ in rows], dtype=np.int64), vectors
                after = rows[-1][0]
            elif left is None:
                return
